package federation

// Limits on what is decoded. Bytes are bounded before decoding (by federation/client and federation/server); these
// bound what a small body could otherwise blow up to.
const (
	// MaxTransactionPDUs and MaxTransactionEDUs are the spec's: spec:server-server-api#transactions.
	MaxTransactionPDUs = 50
	MaxTransactionEDUs = 100

	// MaxListPDUs bounds the events of any other list. The largest public rooms hold some 200,000 events in their
	// state and its auth chain; an entry costs 24 bytes besides its text.
	MaxListPDUs = 500_000

	// maxValue bounds one value of a large answer, in bytes: an event has 64 KiB, up to six times as much where it is escaped
	// more than it must be; servers_in_room of the largest rooms stays below 1 MiB.
	maxValue = 4 << 20

	// MaxRoomVersions bounds the `ver` parameters of make_join: twelve versions exist, unstable ones are strings of
	// the same kind.
	MaxRoomVersions = 100

	// MaxStrippedState bounds invite_room_state and knock_room_state. Servers send about ten events.
	MaxStrippedState = 100

	// MaxEventIDs bounds the event IDs of one request (latest_events, earliest_events, v). Rooms with more forward
	// extremities than this are broken; asking for some of them is enough.
	MaxEventIDs = 1000

	// MaxMediaHead bounds what an answer with media has before the media's bytes: two heads and an empty object.
	MaxMediaHead = 64 << 10

	// maxBoundary bounds the boundary of such an answer: 70 characters are allowed (RFC 2046), some write more.
	maxBoundary = 256

	// MaxAuthorization bounds one Authorization header value, in bytes: two server names of 255 bytes, a key ID and
	// a signature stay below 1,000.
	MaxAuthorization = 4096

	// MaxErrorText bounds the texts taken over from a peer's error answer, in bytes: they end in logs and in
	// answers to our clients.
	MaxErrorText = 1000
)
