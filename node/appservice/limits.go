package appservice

import "time"

// All bounds of the package, each with its reason.
const (
	// maxFileBytes, maxNamespaces and maxRegexBytes bound a registration: those of deployed bridges have a kilobyte. maxTokenBytes is
	// what the client-server API takes.
	maxFileBytes  = 1 << 20
	maxNamespaces = 200
	maxRegexBytes = 1000
	maxTokenBytes = 1024
	maxIDBytes    = 255
	maxProtocols  = 100
	// maxRegexSteps bounds what a regular expression costs: "[a-z]{1000}" has a thousand steps, deployed ones some dozens, and each
	// user who says something is matched with all.
	maxRegexSteps = 3000

	// maxEvents and maxTransactionBytes bound a transaction, which is kept until it is taken; one event may be larger. Synapse sends
	// as many events.
	maxEvents           = 100
	maxTransactionBytes = 1 << 20
	// scanPages bounds how many pages are looked through before what was found is sent.
	scanPages = 5
	// scanPage is how many events are looked through at a time for those that interest a service.
	scanPage = 200
	// maxRooms bounds the rooms of which is remembered who of a service's users is in them.
	maxRooms = 10_000
	// maxNotices is how much may happen before what is remembered of rooms is read anew.
	maxNotices = 4096
	// saveEvery is how often it is stored that a service has passed events that don't interest it: a start looks through them again.
	saveEvery = time.Minute
	// saveTimeout bounds the last storing.
	saveTimeout = 10 * time.Second

	// maxReceiptRooms bounds the rooms with receipts that wait for a service, maxTypingRooms those where typing has changed; more are
	// dropped.
	maxReceiptRooms = 10_000
	maxTypingRooms  = 1000
	// maxReceipts bounds the receipts of one room in a transaction, maxEphemeral its rooms and users together.
	maxReceipts  = 1000
	maxEphemeral = 200
	// presenceTick is how often it is looked who is there, for services that want to know.
	presenceTick = time.Second
	// typingBuffer is how many changes of typing may wait to be looked at.
	typingBuffer = 1024

	// maxMessages bounds the messages to devices in a transaction, as by Synapse, together with maxTransactionBytes, where one may be
	// larger.
	maxMessages = 100
	// maxAlone is how many transactions full of messages may go before events that wait.
	maxAlone = 10
	// maxKeyUsers is of how many users' devices a transaction tells what keys they have left.
	maxKeyUsers = 100
	// maxWaitingUsers bounds the users of whom is remembered that something waits for their devices. Of more it is only remembered
	// that there are more, and they are looked for, waitingPage at a time.
	maxWaitingUsers = 10_000
	waitingPage     = 200
	// maxDeviceChanges is how many changes of devices are looked through for a transaction.
	maxDeviceChanges = 500
	// maxNewcomers bounds the room whose members a service is told of as it comes to it: they may have changed their devices while they
	// shared none with it. Larger rooms are hardly encrypted. maxLeavers bounds the room whose members are looked at as it leaves
	// it: a device list too many is no harm.
	maxNewcomers = 10_000
	maxLeavers   = 500

	// firstRetry and lastRetry bound the pause after a transaction that was not taken: it doubles. An operator who restarts a bridge
	// doesn't want to wait for longer, and a bridge that asks for anything is tried at once.
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
	// readRetry is the pause after our own database could not be read.
	readRetry = 5 * time.Second

	// transactionTimeout is how long a service may take for a transaction: many handle all of it before they answer. Synapse
	// waits as long.
	transactionTimeout = time.Minute
	// pingTimeout, queryTimeout and lookupTimeout are for what a client waits for. A query is tried queryTries times, with a pause,
	// and all of it is within queryTimeout.
	pingTimeout   = 20 * time.Second
	queryTimeout  = 20 * time.Second
	queryTries    = 3
	queryPause    = 500 * time.Millisecond
	lookupTimeout = 10 * time.Second
	// dialTimeout is how long a connection may take.
	dialTimeout = 10 * time.Second
	// idleTimeout is for how long a connection is kept.
	idleTimeout = time.Minute
	// maxQueries is how many questions about users and aliases, and for third-party networks, may be with one service at a time.
	maxQueries = 32
	// maxAskers is how many may wait for answers about users and aliases of all services at a time, also for the same one: a service
	// that hangs would else keep everybody waiting whom this server serves. It is a quarter of what node/clientapi serves at once.
	maxAskers = 64

	// maxAnswerBytes bounds what is read of an answer, maxLookupBytes of one about third-party networks, shownBytes what a ping is told
	// of it.
	maxAnswerBytes = 64 << 10
	maxLookupBytes = 1 << 20
	shownBytes     = 2048
	// maxResults bounds what all services together tell about a third-party network.
	maxResults = 1000
	// protocolLife is for how long it is remembered what a service says of a protocol: clients ask whenever their directory is opened.
	protocolLife = 5 * time.Minute
)
