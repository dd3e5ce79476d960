package store

import "time"

// The store's bounds, each with its reason.
const (
	// queueLength is how many writes may wait for the committer. More than a few groups' worth only adds latency:
	// beyond it, writers wait in their own goroutines, so that the pressure reaches whoever makes the load.
	queueLength = 1024
	// groupOps bounds one transaction: it bounds what has to be run again when one operation fails, and the time
	// the first of a group waits for the last.
	groupOps = 512
	// patienceMax bounds how long a transaction waits for writes that are announced: less than anybody notices, more than
	// a step of a room takes.
	patienceMax = 5 * time.Millisecond
	// insertRows bounds one INSERT: beyond some dozens of rows, the cost of a statement no longer shows.
	insertRows = 64
	// queuedStatements and queuedBytes bound what is run together. The driver makes one message of it, so that it is in memory twice; the last
	// statement may be as large as insertRows of the largest events.
	queuedStatements = 32
	queuedBytes      = 1 << 20
	// listLength bounds one IN (…) list. Longer lists are read in parts.
	listLength = 256
	// retryFor is how long a transaction is tried again while the database asks for it or is away. Waiters get an
	// error after it, so that peers and clients hear 503 instead of nothing.
	retryFor = 10 * time.Second
	// retryPause is the first pause between such tries; it doubles up to retryPauseMax.
	retryPause    = 10 * time.Millisecond
	retryPauseMax = time.Second
	// connectionTries is on how many connections a read is tried that turn out to be gone: each try that fails takes up to three out of the
	// pool, which has some dozen at most.
	connectionTries = 5
	// probePause is after how long it is looked whether a database that can't be used can be again, without anybody who needs it; each
	// further look waits twice as long, up to probePauseMax. probeTimeout bounds a look.
	probePause    = time.Second
	probePauseMax = 30 * time.Second
	probeTimeout  = 10 * time.Second
	// checkPatience bounds how long Check waits for a read: probes give up after a second.
	checkPatience = 500 * time.Millisecond
	// hangsAfter is how long a write may take until it is said to hang: longer than connections take to be given up. A read may hang for
	// readHangsAfter: those before it may take long too, and have all connections.
	hangsAfter     = 15 * time.Second
	readHangsAfter = time.Minute
	// slowTransaction is how long a transaction takes that is slow: a healthy disk needs milliseconds. An operator must hear of it when
	// slowInARow are: one alone tells of a machine that was held up for a moment. sayPause is how often the log says so, or anything else
	// that a database in trouble does again and again.
	slowTransaction = 2 * time.Second
	slowInARow      = 3
	sayPause        = time.Minute
	// eventCacheBytes and stateCacheBytes bound the memory for parsed events and for nodes of states; both caches are empty at rest.
	// A state that is used holds what it made itself besides, and one node.
	eventCacheBytes = 16 << 20
	stateCacheBytes = 32 << 20
	// keptNodes is how many nodes of a commit go to the cache of those: more are a state that comes as a whole, of which few are asked for.
	keptNodes = 1024
	// stateReadTimeout bounds a read of some of a state's nodes, which takes milliseconds. The request that wants them has an end of its own.
	stateReadTimeout = 30 * time.Second
	// hoard is how many events are too many, read at once, to be kept in the cache: who reads so many reads a state of a large room, part by
	// part, which would push out what is read again.
	hoard = 1000
	// knownNodes is how many hashes of stored state nodes are remembered, to not write them again.
	knownNodes = 1 << 16
	// roomCache is how many rooms' numbers and versions are kept in memory.
	roomCache = 1 << 14
	// tailLength is how many events are moved to the indexes together: enough that a page of an index takes several even where there are
	// some hundred thousand events already, few enough that a start reads them in a moment. sweepRows is how many of them a transaction
	// takes more while the indexes are to have all soon: they take it some ms.
	tailLength = 16384
	sweepRows  = 1000
	// sweepShares is into how many shares they are split at most, each some ms of work: a share writes the upper pages of the indexes, and the
	// pages at its ends, once more. With a share in each transaction these were a sixth of a busy server's log.
	sweepShares = 32
	// citedOutliers is how many outliers a commit may have before they are left out of citations: the state of a room that
	// was joined would be a third longer to write, for questions that may never be asked.
	citedOutliers = 256
	// citedBatch is how many citing events are read at once, citedFirst how many at first: the search mostly ends there.
	citedBatch = 256
	citedFirst = 8
	// filterLeast and filterLargest are for how many keys a filter is made at least (128 KiB) and at most (8 MiB). The largest takes more, and
	// takes a key for another more often: one in 400 of so many, in 200 with 5,000,000, in 40 with filterMost. Beyond that each key is looked
	// for in the tables, and a start would read them for long. filterChunk is how many are read at once.
	filterLeast   = 1 << 16
	filterLargest = 1 << 22
	filterMost    = 1 << 23
	filterChunk   = 5000
	// unheardIDs is how many IDs are remembered that nothing names: those of the transactions that are under way.
	unheardIDs = 1 << 14
	// walkEvents bounds how many events one walk along prev events reads, whatever a peer asks for.
	walkEvents = 2000
	// outboxLog is how many rows of the outbox are kept for destinations that are behind. One that is further behind
	// gets the newest events of each room instead (catch-up).
	outboxLog = 20_000
	// outboxBehind is what is left of outboxLog's rows after destinations were moved to catch-up.
	outboxBehind = outboxLog / 2
	// keptMessages, keptBytes and keptFor bound the messages to devices that are kept for one server that is behind by more than
	// the log: those of some weeks of a busy conversation, for who is away for a season. keptChanges bounds the changes of devices
	// that are kept for it: more users are told of anew when it is back.
	keptMessages = 10_000
	keptBytes    = 32 << 20
	keptFor      = 90 * 24 * time.Hour
	keptChanges  = 1000
	// destinationSets is how many sets of destinations are kept in memory.
	destinationSets = 4096
	// keepTransactions is how long answers to inbound transactions are kept: servers retry for a day and more,
	// but with the same ID only while they have not been restarted.
	keepTransactions = 48 * time.Hour
	// remoteDevices is how many devices of another server's user updates may add up to; whole lists have their own bound.
	remoteDevices = 10_000
	// refusedFirst is after how long a device list is asked for again that its server refused, refusedMax after how long when it
	// did so often: it may not know yet that we share a room, or not know the user any more. Clients' questions go out at once.
	refusedFirst = time.Minute
	refusedMax   = 24 * time.Hour
	// maxAccountData is how many entries of account data a user has at most: some for each of thousands of rooms. maxAccountDataWeight is how many
	// bytes they have together, where one of more than smallAccountData is set. maxFilters is how many filters a user has: a client makes one or two.
	maxAccountData       = 100_000
	maxAccountDataWeight = 32 << 20
	smallAccountData     = 1 << 10
	maxFilters           = 500
	// maxKeyBackups is how many backups of room keys a user has at most, of which a client makes one when the recovery key is lost;
	// maxKeyBackupWeight how many bytes their keys have together: a million keys. keyBackupPage is how many of them are read at a time.
	maxKeyBackups      = 1000
	maxKeyBackupWeight = 1 << 30
	keyBackupPage      = 100
	// deliveredMessages and deliveredBytes bound what one request or EDU becomes for all devices together; deliveredByOthers what an EDU of another server
	// does, of which a transaction has a hundred: all of a large one for 60 devices.
	deliveredMessages = 20_000
	deliveredBytes    = 32 << 20
	deliveredByOthers = 4 << 20
	// waitingWeight bounds, for each device, what those messages weigh, in bytes, that wait for it and are of users of other servers: some 15,000 keys
	// of rooms, those of a busy season. waitingStrangers bounds those of servers that share no room with its user, and what one of their EDUs
	// becomes. waitingUsers is of how many users it is kept in memory.
	waitingWeight    = 32 << 20
	waitingStrangers = 1 << 20
	waitingUsers     = 10_000
	// untrackAtOnce is how many device lists are forgotten in one transaction.
	untrackAtOnce = 200
	// keepClientTxns is for how long a client's transaction IDs are known at least, and messages to devices that were taken. Clients give up on
	// a message long before. They end by the batch, of 2^txnBatchBits positions: some MB, of which a moved event changes an eighth of a
	// page, not one of its own. Of so many events in two weeks that there are hundreds of batches it takes a millisecond to look in all.
	txnBatchBits   = 17
	keepClientTxns = 14 * 24 * time.Hour
	// cleaning is how often what has expired is deleted, cleaningRows how much of it in one transaction.
	cleaning     = 10 * time.Minute
	cleaningRows = 5000
)
