package bench

import "time"

const (
	// requestTimeout bounds every call to a server under test: it may be drowned in work, but it has to answer. A join of
	// 10,000 members takes Synapse about a minute.
	requestTimeout = 3 * time.Minute
	// settleTimeout is how long a scenario waits for a server to finish what it has taken.
	settleTimeout = 90 * time.Second
	// scenarioTimeout bounds one scenario on one server, so that a server that hangs costs a bounded time.
	scenarioTimeout = 10 * time.Minute
	// maxBody bounds a request or an answer that is read: the state of a room of maxMembers is about 70 MB.
	maxBody = 256 << 20

	// maxMembers bounds --members: the events of a room are kept in memory, about 1.5 KB each.
	maxMembers = 100_000
	// maxBranches bounds --branches; each branch costs an event and a transaction.
	maxBranches = 500
	// maxMissed bounds --missed: beyond the outbox of most servers, and what a test signs in a moment.
	maxMissed = 20_000
	// maxDestinations bounds --destinations: each is a listener, and keeps what it got until it was checked.
	maxDestinations = 1000
	// maxWaiters bounds --clients: registering one costs a server a password hash.
	maxWaiters = 500
	// maxDuration bounds --duration of the overload: the events of a run are kept in memory.
	maxDuration = 2 * time.Minute

	// transactionPDUs is how many events a full transaction has. spec:server-server-api#transactions
	transactionPDUs = 50
	// missedPerAnswer is how many events the bench answers to get_missing_events and backfill, as deployed servers do.
	missedPerAnswer = 100
	// maxPages bounds the reading of a room's history.
	maxPages = 2000
	// pageSize is how many events are asked of /messages at a time; servers may give fewer.
	pageSize = 500
)
