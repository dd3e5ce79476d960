package resolver

import "time"

const (
	// maxTargets bounds the addresses tried for one server: each costs a connection time-out when it's dead.
	maxTargets = 16
	// maxServices bounds the SRV records of one name that are followed: each costs address look-ups.
	maxServices = 8
	// maxAddresses bounds the addresses taken of one name.
	maxAddresses = 8
	// maxAliases bounds a chain of CNAME records, which may loop.
	maxAliases = 8
	// maxCached bounds the names held in each cache (well-known, addresses, services); some 200 bytes each.
	maxCached = 20_000

	// wellKnownTimeout bounds a whole well-known request with its redirects; the next steps wait for it.
	wellKnownTimeout = 10 * time.Second
	// connectTimeout bounds connecting to one address of a web server.
	connectTimeout = 5 * time.Second
	// maxWellKnown bounds the body: the answer is a single name, some servers send their client's part along.
	maxWellKnown = 64 << 10
	// maxWellKnownHeader bounds the header; big sites set many cookies.
	maxWellKnownHeader = 64 << 10
	// maxRedirects bounds redirects, which may loop.
	maxRedirects = 5
	// wellKnownDefault and wellKnownMax are the recommended lifetimes of an answer without caching headers, and with.
	//
	// spec:server-server-api#resolving-server-names
	wellKnownDefault = 24 * time.Hour
	wellKnownMax     = 48 * time.Hour
	// staleMax is how old an answer of any kind may be that counts on while there is none, as web servers and DNS servers are down for
	// hours; staleTTL is how long it does until they are asked again, which may take some seconds.
	staleMax = wellKnownMax
	staleTTL = 5 * time.Minute
	// wellKnownMin bounds them from below: busy servers ask for the same name many times a second.
	wellKnownMin = 5 * time.Minute
	// firstRetry is how long the first failure of well-known counts; it doubles with each further one up to
	// lastRetry, the recommended maximum.
	//
	// spec:server-server-api#resolving-server-names
	firstRetry = 10 * time.Second
	lastRetry  = time.Hour
	// forgottenRetry is the pause after a failure that Forget leaves in force.
	forgottenRetry = 5 * time.Second

	// dnsTimeout bounds one question to one DNS server, dnsTries how often the list of servers is gone through.
	dnsTimeout = 3 * time.Second
	dnsTries   = 2
	// minTTL and maxTTL bound how long DNS answers count: names are asked for many times a second, and a change has to
	// be seen within the hour.
	minTTL = 5 * time.Second
	maxTTL = time.Hour
	// systemTTL is for addresses from the system's resolver, which doesn't tell.
	systemTTL = time.Minute
	// absentTTL is how long "no such record" counts.
	absentTTL = time.Minute
	// failedTTL is how long a failed look-up counts.
	failedTTL = 5 * time.Second
)
