package ephemeral

import "time"

// All bounds of the package, each with its reason.
const (
	// maxTypingTimeout is the longest a typing notice lasts without being renewed; clients renew every 20 to 30 s.
	maxTypingTimeout     = 2 * time.Minute
	defaultTypingTimeout = 30 * time.Second
	// remoteTypingLife is how long another server's typing notice lasts: they renew it within a minute, as we do
	// after renewTyping, and one that never stops must end.
	remoteTypingLife = time.Minute
	renewTyping      = 40 * time.Second
	// maxTypingInRoom and maxTypingRooms bound the memory that typing can take; more are left out, and nobody reads
	// a list of a thousand names.
	maxTypingInRoom = 1000
	maxTypingRooms  = 100_000
	// maxReceiptsInEDU bounds the work of one m.receipt; deployed servers send one or a few.
	maxReceiptsInEDU = 1000
	// maxThreadBytes is the length of an event ID.
	maxThreadBytes = 255
	// flushGap is how often a server is told of typing and receipts: with a thousand servers in a room each transaction more
	// is a thousand. It is also how often receipts of others are written. What comes after a pause goes at once.
	flushGap = time.Second
	// maxOutgoing and maxIncoming bound what gathers between: more than the users of a large node type or read in a second.
	maxOutgoing = 10_000
	maxIncoming = 10_000
	// retoldFor is of how long before the last receipt other servers are told again after a start: longer than a receipt waits
	// for its turn and a transaction for its answer. retoldPositions bounds how far back in what was stored they are looked for.
	retoldFor       = time.Minute
	retoldPositions = 100_000
	// retellPause is how long it waits before it tries again after the store has failed.
	retellPause = 5 * time.Second
	// activeFor is how long who did something counts as currently active, idleAfter how long until who does nothing is
	// unavailable, and offlineAfter until who asks for nothing is offline: clients ask again at once, and may be cut off
	// for a moment. spec:client-server-api/modules/presence#idle-timeout
	activeFor    = time.Minute
	idleAfter    = 5 * time.Minute
	offlineAfter = 45 * time.Second
	// seenBefore is how long before the last request that was noted before a start somebody made theirs who may have been there:
	// requests of a device are noted every 5 minutes.
	seenBefore = 10 * time.Minute
	// presenceTick is how exactly they end, sweepPresence how exactly remotePresenceLife does.
	presenceTick  = 5 * time.Second
	sweepPresence = time.Minute
	// What has changed of users' presence is told at once after a pause, else every flushGap, or so seldom that telling takes
	// a tenth of a core at most: tellingClient is ten times what a client takes that waits and is told, tellingServer ten times
	// what a transaction to a server takes. Deployed servers spread what they tell of presence over 30 s too.
	tellingClient = time.Millisecond
	tellingServer = 20 * time.Millisecond
	maxClientGap  = 10 * time.Second
	maxServerGap  = 30 * time.Second
	// maxToldParts and maxToldNames bound what is remembered of the last tellings: what comes while a client is between two
	// requests, some megabytes.
	maxToldParts = 100
	maxToldNames = 100_000
	// remotePresenceLife is how long it is believed what another server told, renewPresence how often others are told
	// again: deployed servers have 30 and 25 minutes too.
	remotePresenceLife = 30 * time.Minute
	renewPresence      = 25 * time.Minute
	// maxPresent bounds of how many users of other servers presence is known, some 400 bytes each, and a half of it of how many who
	// are offline. Those of ours are as many as there are accounts.
	maxPresent = 100_000
	// maxEarlyPresence bounds of how many users is kept what was told before they are known to be in a room: those who are there of some
	// large rooms. It is some megabytes, with status messages as long as may be some 15, and is kept for remotePresenceLife at most.
	maxEarlyPresence = 10_000
	// maxPresentDevices bounds how many devices of a user count, some 100 bytes each; the one seen longest ago gives way.
	maxPresentDevices = 20
	// maxPresenceTold bounds how many are told of at a time.
	maxPresenceTold = 2000
	// maxPresenceSent bounds how many EDUs of presence go out at a time, those to each server counted: the sender keeps some 100,000
	// of all kinds, and what is beyond it is lost.
	maxPresenceSent = 50_000
	// maxPresenceInEDU is what deployed servers send at a time, maxPresenceReceived what is read of one that sends more.
	maxPresenceInEDU    = 50
	maxPresenceReceived = 1000
	// MaxStatusMsg bounds the message of a user's status, in bytes.
	MaxStatusMsg = 1000
	// joinNotices is how many commits may wait until it is looked at who joined or left in them. Of more it isn't looked who joined.
	joinNotices = 8192
	// statusGap is how often status messages that changed are stored: people set them some times a day.
	statusGap = 10 * time.Second
	// maxAgo bounds how long ago a user was active.
	maxAgo = 10 * 365 * 24 * time.Hour
	// forgetQuiet is how long a room where nobody types any more is remembered: longer than a client that is online
	// goes without syncing, so that each sees the empty list.
	forgetQuiet = 10 * time.Minute
	// expiryTick is how exactly typing ends: clients may say that it is for a tenth of a second.
	expiryTick = 250 * time.Millisecond
)
