package clientapi

import (
	"time"

	"hanse/federation/places"
)

// reading bounds how long an answer, or a file, may take.
var reading = places.Pace{Patience: time.Minute, BytesPerSecond: 16 << 10}

// All bounds of the package, each with its reason.
const (
	// maxBodyBytes is what a request may weigh: an event is at most 64 KiB, the greatest legitimate bodies are
	// createRoom with a long initial_state and large account data.
	maxBodyBytes = 2 << 20
	// maxBodyMemory bounds the bytes of all request bodies held at once: 64 of the largest. maxBodiesEach is one user's or
	// address's part: eight of the largest.
	maxBodyMemory = 128 << 20
	maxBodiesEach = maxBodyMemory / 8
	// maxQueue is how many requests of a kind may wait for their turn, and maxQueueWait for how long: with the work
	// itself it must stay below what a user takes for an answer. Waiting costs some 10 KiB; being sent away at once costs
	// processors, since those who don't heed it are back at once. busyRetry is when those sent away may come again.
	maxQueue     = 4096
	maxQueueWait = time.Second
	busyRetry    = 2 * time.Second
	// maxUnread bounds the bytes that answers hold whose clients don't read, beside those that have places in the lanes. One that is written
	// at once holds heldPerByte, as there is what it was made of; one that is written while it is read that for what else is in it, heldPerEvent
	// for its list of events, and heldByLater for those that are read together.
	maxUnread    = 256 << 20
	heldPerByte  = 2
	heldPerEvent = 200
	heldByLater  = 4 << 20
	// maxSends is how many sends are worked on at once: several commits' worth, so that groups are full.
	maxSends = 256
	// maxOrdinary is how many other requests are: most take a millisecond, some wait for a disk or another server.
	maxOrdinary = 256
	// maxAsking is how many of those are that may wait for other servers, beside them, and maxAskingEach how many of one user or address:
	// a server that doesn't answer holds each up to a minute.
	maxAsking     = 512
	maxAskingEach = 32
	// patientEach is how many requests of a user or address wait for its others for as long as ownPatience: as many as its clients ask at once.
	// Those of a flood wait no longer than any.
	patientEach = 32
	ownPatience = 20 * time.Second
	// maxLogins is how many logins and registrations are under way at once. Nearly all of them wait for a password's hash, for a
	// second at most (node/users), and cost what any that waits does.
	maxLogins = maxQueue
	// largeBody is from how many bytes on a body is work for the processors: no single event has as many.
	largeBody = 256 << 10
	// maxRemote is how many joins and the like are under way at once: each may wait minutes for other servers and take
	// in a room. maxRemoteEach is how many of them are one user's.
	maxRemote     = 200
	maxRemoteEach = 20
	// maxSyncs is how many clients may wait in /sync: each is a connection and two goroutines, some 30 KiB. maxSyncsEach is how many of them are
	// one user's, with some tens of clients.
	maxSyncs     = 20_000
	maxSyncsEach = 100
	// maxUploads and maxFiles are how many files are on their way in and out at once: a connection and some 100 KiB each.
	// maxUploadsEach and maxFilesEach are how many of those are one user's, as each may take its time.
	maxUploads     = 400
	maxUploadsEach = 10
	maxFiles       = 2000
	maxFilesEach   = 100
	// maxPreviewsEach is how many previews of web pages are made at once for one user, of the ten that there are for all: each may take half a minute.
	maxPreviewsEach = 3
	// fileStall is how long a file that is on its way may stand still.
	fileStall = 30 * time.Second
	// largeState is of how many events on an answer with them is the work of a large room, whatever was asked for.
	largeState = 1000
	// answerLead is how long before its /sync a device is answered which event its request made; maxAnswerWait is how long /sync waits for
	// that at most.
	answerLead    = 2 * time.Millisecond
	maxAnswerWait = 5 * time.Second
	// plainAnswer is up to how many bytes of an answer net/http counts by itself: that header then needs no room in the map.
	plainAnswer = 2048
	// fileChunk is what is handed on at once of a file that is still coming.
	fileChunk = 64 << 10
	// defaultMediaWait is the specification's for media that is not uploaded yet; maxMediaWait is what proxies bear.
	defaultMediaWait = 20 * time.Second
	maxMediaWait     = time.Minute
	// maxThumbnailSide bounds what may be asked for in pixels: more is as good as the whole picture.
	maxThumbnailSide = 1 << 16
	// maxEventBytes is the specification's size of a whole event; a longer content can't be in one.
	maxEventBytes = 65536
	// maxNameBytes is the specification's bound of event types and state keys.
	maxNameBytes = 255
	// maxPathBytes bounds the request target: five identifiers of 255 bytes, percent-encoded, and a query.
	maxPathBytes = 16 << 10
	// maxThirdPartyFields is how many fields may be looked for in a third-party network: protocols have two or three.
	maxThirdPartyFields = 32
	// maxTokenBytes is far above any token we issue; longer ones are not looked up.
	maxTokenBytes = 1024
	// maxTxnIDBytes bounds what is kept for idempotency.
	maxTxnIDBytes = 255
	// maxNextLinkBytes bounds the address to which a client wants to be led on from a mail; those of web clients have some 300.
	maxNextLinkBytes = 2048
	// maxReasonBytes bounds the reason of a leave, kick, ban or redaction: it goes into an event.
	maxReasonBytes = 4096
	// maxUIASessions and uiaSessionLife bound the interactive authentication sessions in memory: a user needs a
	// few minutes; when the table is full the oldest goes. uiaSweepEvery is how often those that have expired are dropped.
	maxUIASessions = 10_000
	uiaSessionLife = 15 * time.Minute
	uiaSweepEvery  = time.Minute
	// maxBrowserSessions and browserSessionLife bound the logins of browsers on the pages of the OAuth 2.0 API: somebody logs in, lets a client
	// in or manages the account, and is done.
	maxBrowserSessions = 10_000
	browserSessionLife = time.Hour
	// maxOAuthBytes bounds a request to the OAuth 2.0 API: what a client says of itself, or a form.
	maxOAuthBytes = 32 << 10
	// pollInterval is how often a client may ask whether a person has typed its code.
	pollInterval = 5 * time.Second
	// maxPolls bounds how many such clients are remembered: there are as many codes at most.
	maxPolls = 10_000
	// meetingLife is how long two devices may take for a login by a QR code, its person's password on the consent page included. Of the meetings
	// of one address, which may be that of a whole office, there are maxMeetingsEach, of all together maxMeetings. maxMeetingBytes bounds a message
	// as Synapse does: secrets of cross-signing and the backup have a thousand. A client that has lost an answer asks again at once: maxMeetingSent
	// answers are remembered.
	meetingLife     = 5 * time.Minute
	maxMeetingsEach = 50
	maxMeetings     = 2000
	maxMeetingBytes = 4 << 10
	maxMeetingSent  = 4
	// resetLife is how long it holds that a user lets a client replace the keys of cross-signing: the client asks again at once.
	resetLife = 10 * time.Minute
	// userCodeTries is how often a random code for a person to type may be another's: of a million million, it happens once.
	userCodeTries = 5
	// maxNonces and nonceLife are the same for shared-secret registration.
	maxNonces = 1000
	nonceLife = time.Minute
	// maxLimiters bounds the rate limiter's memory; when full, the one unused for longest goes.
	maxLimiters = 50_000
	// maxInvites, maxInitialState, maxVia bound what one request may make us do.
	maxInvites      = 500
	maxInitialState = 1000
	maxVia          = 20
	// maxRepeatedAtOnce is how many bans and rooms of a space that is replaced are written in one step: the room is another's between two.
	maxRepeatedAtOnce = 50
	// maxDeleteDevices bounds one delete_devices.
	maxDeleteDevices = 5000
	// profileParallel is how many rooms learn of a new display name at once.
	profileParallel = 8
	// backgroundLife is how long work goes on after its client has gone.
	backgroundLife = 10 * time.Minute
	// remoteProfileTimeout and remoteDirectoryTimeout bound the wait for another server where the client waits.
	remoteProfileTimeout = 20 * time.Second
	// maxPublicRooms and defaultPublicRooms bound a page of the room directory.
	maxPublicRooms     = 500
	defaultPublicRooms = 100
	// maxTypingTimeout is the longest a typing notice may last without being renewed; clients use 20 to 30 s.
	maxTypingTimeout     = 2 * time.Minute
	defaultTypingTimeout = 30 * time.Second
	// maxTags and maxTagBytes bound the tags of a room; clients show a handful. 255 bytes is the specification's.
	maxTags     = 100
	maxTagBytes = 255
	// maxAltAliases bounds the alias look-ups of one m.room.canonical_alias.
	maxAltAliases = 50
	// maxSyncTimeout is the longest a /sync waits: proxies cut connections that are silent for longer.
	maxSyncTimeout = 5 * time.Minute
	// defaultNotifications and maxNotifications bound a page of /notifications.
	defaultNotifications = 20
	maxNotifications     = 100
	// defaultPage and maxPage bound /messages and /context.
	defaultPage = 10
	maxPage     = 1000
	// maxEventFields and maxFieldDepth bound a filter's event_fields, which is gone through for each event.
	maxEventFields = 100
	maxFieldDepth  = 20
	// defaultRelations and maxRelations bound a page of /relations and /threads; the default is that of deployed servers.
	defaultRelations = 5
	maxRelations     = 100
	// defaultResults and maxResults bound a page of what was found; each result may have its surroundings.
	defaultResults = 10
	maxResults     = 50
	// defaultSurroundings (the specification's) and maxSurroundings bound the events before and after each result.
	defaultSurroundings = 5
	maxSurroundings     = 20
	// maxSurroundingBytes is from how many bytes of such events on the other results have none.
	maxSurroundingBytes = 4 << 20
	// maxTermBytes bounds the text that is searched for: a few sentences.
	maxTermBytes = 2000
	// defaultSpaceRooms and maxSpaceRooms bound a page of a space's rooms.
	defaultSpaceRooms = 50
	maxSpaceRooms     = 50
	// maxMutualRooms bounds a page of rooms that two users share: an ID has up to 255 bytes.
	maxMutualRooms = 500
	// defaultListening is how long /events waits where the client doesn't say, as with other deployed servers; maxListened bounds the
	// events of each room in an answer, as it does in /sync.
	defaultListening = 30 * time.Second
	maxListened      = 500
	// previewMessages is how many messages a look into a room has: a screen.
	previewMessages = 20
)
