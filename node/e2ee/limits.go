package e2ee

import "time"

// All bounds of the package, each with its reason.
const (
	// feedBuffer is how many notices may wait; when there are more, all servers with something waiting are woken.
	feedBuffer = 8192
	// maxOneTimeKeys is what is kept of a device's one-time keys; clients keep some 50 here.
	maxOneTimeKeys = 1000
	// maxKeyBytes bounds one key with its signatures; real ones have less than 2 KiB.
	maxKeyBytes = 64 << 10
	// maxMessageBytes bounds the content of a message to a device: that of an event, of which deployed clients' have a tenth. A /sync has a
	// hundred of them.
	maxMessageBytes = 64 << 10
	// maxNameBytes bounds identifiers of devices, algorithms and keys.
	maxNameBytes = 255
	// maxUsers bounds one question for keys: some rooms' worth of members.
	maxUsers = 100_000
	// maxDevices bounds one user's list: deployed servers have users with some thousand forgotten logins.
	maxDevices = 10_000
	// listsAtOnce is up to how many users of a server are asked for whole lists while a client waits; more are asked for in
	// one question, and their lists later.
	listsAtOnce = 20
	// defaultTimeout and maxTimeout bound how long other servers are waited for. spec:client-server-api#post_matrixclientv3keysquery
	defaultTimeout = 10 * time.Second
	maxTimeout     = time.Minute
	// serversAtOnce is how many servers one request asks at a time: all but of the largest rooms.
	serversAtOnce = 500
	// resyncTick is how often it is looked for lists to be fetched again; resyncParallel how many are fetched at once, and
	// serverParallel of one server. firstWait and maxWait are how long a server that can't be asked, or takes longer than slow,
	// is left alone.
	resyncTick     = 30 * time.Second
	resyncParallel = 32
	serverParallel = 4
	resyncPage     = 2000
	slow           = 5 * time.Second
	firstWait      = 10 * time.Second
	maxWait        = time.Hour
	maxPatience    = 10_000
	// maxStream is the greatest stream_id: what JSON of Matrix can hold.
	maxStream = 1<<53 - 1
)
