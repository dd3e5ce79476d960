package clientsync

import "time"

const (
	// MaxToDevice is how many messages to a device one answer has. spec:client-server-api/modules/send_to_device#server-behaviour
	MaxToDevice = 100
	// DefaultTimeline is how many events of a room a client gets that asks for no number: what fills a screen.
	DefaultTimeline = 20
	// maxTimeline bounds what a client may ask for: more is what /messages is for.
	maxTimeline = 500
	// roomBytes bounds what the events of a room's timeline weigh, in bytes: hundreds of usual ones are less. What is left out is before the
	// timeline, which is limited. answerBytes bounds all events of an answer: once there are more, a room has one event, and its state is read
	// while it is told. A user can make thousands of rooms with the largest events.
	roomBytes   = 1 << 20
	answerBytes = 32 << 20
	// timelineRead is how many events are read at a time.
	timelineRead = 101
	// maxScan bounds how many events of a room are read for one timeline when a filter or the history's visibility
	// leaves most of them out.
	maxScan = 2000
	// maxHeroes is how many members help to name a room without a name. spec:client-server-api#get_matrixclientv3sync
	maxHeroes = 5
	// maxMembersCompared is of how many membership events of two states it is read whether they differ in what counts.
	maxMembersCompared = 20
	// maxRemembered is for how many rooms of devices it is remembered which members were sent (lazy loading): some
	// megabytes. What was forgotten is sent again.
	maxRemembered = 10_000
	// maxRememberedMembers bounds what is remembered of one of them.
	maxRememberedMembers = 500
	// maxUsers is of how many users the memberships are kept in memory: more than wait in /sync at a time on a node
	// of this size.
	maxUsers = 10_000
	// maxDevices is of how many devices it is known that nothing waits, and how many keys they have.
	maxDevices = 2 * maxUsers
	// maxRooms is of how many rooms the newest events are, maxRecent how many of each: what happens while a client is
	// between two requests. They are mostly the events that the store's cache has anyway.
	maxRooms  = 2000
	maxRecent = 100
	// maxReceipts is how many of a room's newest receipts are in memory: what comes while a client is between two requests.
	maxReceipts = 500
	// maxPresenceTold is of how many users a client is told at a time who is there, beyond those whose telling it waited for, and
	// of how many the store is asked at a time.
	maxPresenceTold = 2000
	// MaxStateRows is how many events of a state are read before they are told, some megabytes at most: more are read meanwhile.
	MaxStateRows = 500
	// maxStates is of how many recent places of a room the state is known without asking.
	maxStates = 64
	// maxUnread bounds how many unread notifications of a room are counted for a user: clients show "99+" long before.
	// They are at most 16 KB in memory.
	maxUnread = 500
	// maxUnreadScan bounds how many events are looked at to count what is unread of a room, where nothing is known of it
	// by an earlier count: some 20 ms. unreadChunk is how many are read at a time.
	maxUnreadScan = 2000
	unreadChunk   = 200
	// maxThreadScan is the same where only threads may be unread: clients that know threads read the main timeline by itself.
	maxThreadScan = 500
	// maxThreadHops is how far it is followed what an event relates to. spec:client-server-api/modules/receipts#threaded-read-receipts
	maxThreadHops = 3
	// maxUnreadRooms is of how many users' rooms it is known what is unread: some hundred bytes each, mostly.
	maxUnreadRooms = 100_000
	// saveUnreadAfter is after how many events of a room the count is saved, and so how many are counted anew after a
	// start. A busy room with many users would else be many writes. maxSaving is how many are saved at a time, with
	// savingPause between.
	saveUnreadAfter = 500
	maxSaving       = 8
	savingPause     = 250 * time.Millisecond
	// saveAllPart is of which part of so many events the count is saved when the server stops: of more than 20. saveAllBatch is how many are saved
	// at a time, saveAllTime for how long.
	saveAllPart  = 25
	saveAllBatch = 1000
	saveAllTime  = 5 * time.Second
	// maxNotificationScan is how many events are looked at for one page of notifications, notificationChunk how many of a
	// room are read at a time.
	maxNotificationScan = 5000
	notificationChunk   = 50
	// maxSince is how many events of a room are looked at for what is to be pushed: what is older is no news.
	maxSince = 500
)
