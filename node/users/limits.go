package users

import "time"

// All bounds of the package, each with its reason.
const (
	// maxPasswordBytes bounds what is hashed: long enough for any passphrase, short enough that hashing costs
	// what the configured work factor says and no more.
	maxPasswordBytes = 512
	// maxBcryptBytes is how much bcrypt looks at; longer passwords are refused rather than cut.
	maxBcryptBytes = 72
	// maxDeviceIDBytes and maxDisplayNameBytes keep rows and answers small; clients use tens of bytes.
	maxDeviceIDBytes    = 255
	maxDeviceNameBytes  = 256
	maxAgentBytes       = 256     // browsers call themselves by some 150 bytes
	maxProfileKeyBytes  = 255     // spec:client-server-api#profiles, M_KEY_TOO_LARGE
	maxProfileBytes     = 1 << 16 // spec:client-server-api#profiles: a profile MUST be under 64 KiB
	maxDisplayNameBytes = 1024    // a member event carries it, and those are at most 64 KiB whole
	maxAvatarURLBytes   = 1000    // as for the display name
	// maxDevices is how many devices one account may have: a script that logs in without logging out ends here
	// instead of filling the database.
	maxDevices = 5000
	// maxGuests is how many guests there are at most: anybody makes them, from as many addresses as they have, and each is some
	// kilobytes of the database. Many times what a busy public server sees in two weeks.
	maxGuests = 10_000
	// maxFilterBytes and maxAccountDataBytes are what one value may weigh; deployed clients stay below 64 KiB but
	// for large secret storage and emoji packs.
	maxFilterBytes      = 1 << 16
	maxAccountDataBytes = 1 << 20
	maxTypeBytes        = 255
	// maxSearchResults bounds a user directory answer; clients ask for 10 to 50.
	maxSearchResults = 50
	// accessTokenBytes of randomness make guessing hopeless.
	accessTokenBytes = 32
	// accessTokenLife is for how long an access token of a client that refreshes is good: an hour without contact costs it one
	// request. loginTokenLife is for how long a token to log in with is: the specification's "few minutes".
	accessTokenLife = time.Hour
	loginTokenLife  = 2 * time.Minute
	// oauthTokenLife is for how long an access token of the OAuth 2.0 API is good, which is to be short: an hour would do for the client,
	// but somebody else who has the token has it for as long.
	oauthTokenLife = 15 * time.Minute
	// oauthCodeLife is for how long the code is good that a client gets by way of the browser: it asks at once. oauthDeviceCodeLife is
	// for how long a person may take to type one, and to log in; oauthCodeKept is for how long both are kept to notice that they are used again.
	oauthCodeLife       = time.Minute
	oauthDeviceCodeLife = 15 * time.Minute
	oauthCodeKept       = 15 * time.Minute
	// maxOAuthCodes is how many codes there are at most of each kind: anybody asks for those of devices. maxOAuthClients is how many clients, some 500
	// bytes each; oauthClientKept is after how long one goes with which nobody logged in: clients keep their ID
	// and use it at the next login, perhaps months later, and not all register again where it isn't known any more.
	maxOAuthCodes   = 10_000
	maxOAuthClients = 10_000
	oauthClientKept = 90 * 24 * time.Hour
	// refreshRepeats is for how long a refresh token of the OAuth 2.0 API gives the same again: parts of a client that don't know of each other ask within
	// seconds. maxRefreshRepeats bounds what is remembered of that: as many as 30,000 devices need.
	refreshRepeats    = 30 * time.Second
	maxRefreshRepeats = 1000
	// openIDTokenLife is for how long an OpenID token is good: whom it is given to asks at once, or comes back for another.
	openIDTokenLife = time.Hour
	// tokenCacheSize and tokenCacheLife: every request presents a token, so the common case must not read the
	// database; revocation by this process empties the entry at once, the life bounds anything else.
	tokenCacheSize = 10_000
	tokenCacheLife = time.Minute
	// lastSeenEvery is how often a device's last use is written down.
	lastSeenEvery = 5 * time.Minute
	// maxHashQueue is how many passwords may wait to be hashed or checked before new ones are refused: some 20 KiB each. Those who
	// are refused at once may be back at once, which costs processors, so it is far more than are served within maxHashWait, the
	// time for which one may wait: who logs in waits for an answer.
	maxHashQueue = 4096
	maxHashWait  = time.Second
	// maxSeenQueue is how many devices may wait to be marked as used: a lost mark costs nothing.
	maxSeenQueue = 1024
	// madeUpLength and deviceIDLength are the characters (of 32) of a user name and a device ID made by us: beyond
	// collision, and short enough to be read out.
	madeUpLength   = 16
	deviceIDLength = 10
	// maxTimeZoneBytes: the longest name in the time zone database has 32.
	maxTimeZoneBytes = 100
	// emailSessionLife is for how long the link in a mail is good, and then that it was followed: mails take minutes, people longer.
	// maxEmailSessions is how many may be under way, far above what is sent in an hour; maxClientSecretBytes is the specification's.
	// maxEmails is how many addresses an account may have; people have one or two.
	emailSessionLife     = time.Hour
	maxEmailSessions     = 10_000
	maxClientSecretBytes = 255
	maxEmails            = 20
	// searchPage and maxSearchScan bound what one user directory search reads, maxSearchRooms the rooms of each user that are
	// looked at to find one that everybody may see, and maxSearchWords the words of a name.
	searchPage     = 500
	maxSearchScan  = 5000
	maxSearchRooms = 20
	maxSearchWords = 20
	// maxReportBytes bounds why something is reported, maxReports how much a user may report in a day, and maxReportsKept how much
	// all together, until the operator deletes some: some 40 MiB, and more than anybody reads.
	maxReportBytes = 4096
	maxReports     = 500
	maxReportsKept = 10_000
)
