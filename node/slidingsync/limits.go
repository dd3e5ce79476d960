package slidingsync

import "time"

const (
	// maxLists is the proposal's; maxListName the length of a name that deployed servers bear.
	maxLists    = 100
	maxListName = 255
	// maxRanges is how many windows of one list are looked at: clients have one, since MSC4186 has only one.
	maxRanges = 20
	// maxSubscriptions is how many rooms may be named: what a screen shows many times over.
	maxSubscriptions = 1000
	// maxRequired is how many kinds of state one list or room may ask for; maxAllRequired is that of a whole request.
	maxRequired    = 500
	maxAllRequired = 20_000
	// maxRequiredBytes bounds the types and state keys of a request's required_state, of each that is written several times once:
	// clients write a kilobyte.
	maxRequiredBytes = 128 << 10
	// maxTimeline is deployed servers' bound of a timeline that may be asked for; what is given ends at that of /sync.
	maxTimeline = 1000
	// maxNamed is how many spaces, tags, types, lists or rooms a filter or extension may name.
	maxNamed = 1000
	// maxName is the specification's bound of identifiers, event types and state keys; longer ones can't be there.
	maxName = 255
	// maxRoomsAnswered and maxEventsAnswered bound one answer: the rooms left out come with the next one, which is given at once.
	maxRoomsAnswered  = 1000
	maxEventsAnswered = 20_000
	// fewRooms is how many rooms that the client doesn't know yet an answer may have without waiting for its turn among the large ones:
	// what fills a screen or two.
	fewRooms = 40
	// maxListed is how many rooms the windows of one answer name, all together; what is behind them is left out. Windows and lists may
	// overlap, so that a short request could ask for any number.
	maxListed = 100_000

	// maxConnectionsEach is how many connections of a device are kept: clients have two or three. maxConnections is how many there
	// are at all, maxRoomsKept of how many rooms of all connections it is kept what was told of them, some 300 bytes each; members and
	// wishes that are kept count as rooms. Beyond that, and when they were not used for idle, the ones used least recently are
	// forgotten: their clients begin anew.
	maxConnectionsEach = 10
	maxConnections     = 50_000
	maxRoomsKept       = 500_000
	idle               = 7 * 24 * time.Hour
	// maxConnectionID is how long a connection's name may be.
	maxConnectionID = 255
	// maxMembersKept is of how many members a connection knows that they were told, of all rooms. What was forgotten is told again.
	maxMembersKept = 20_000
	// maxUsers is of how many users the rooms are kept in order; maxRooms of how many rooms it is known what filters ask for.
	maxUsers = 10_000
	maxRooms = 100_000
	// maxSpaces is of how many spaces the children are known.
	maxSpaces = 1000
	// maxWishBytes bounds the types and state keys of all different required_state that a connection remembers: who asks for something
	// else again and again begins anew.
	maxWishBytes = 512 << 10
	// membersPerRoom and wishBytesPerRoom are how many members and bytes of wishes take as much memory as a room of maxRoomsKept.
	membersPerRoom   = 4
	wishBytesPerRoom = 32
	// maxKeptRequired is how many kinds of wishes for state it is remembered that were fulfilled for a room.
	maxKeptRequired = 8
	// maxDirect is how many rooms of a user's account data are taken for direct chats.
	maxDirect = 10_000
	// maxChildren is how many children of a space a filter looks at.
	maxChildren = 5000
)
