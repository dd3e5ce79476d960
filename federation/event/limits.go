package event

const (
	// MaxSize is the greatest size of an event in bytes: the canonical JSON of the federation
	// format, with hashes and signatures. unsigned does not count: servers on the way change
	// it, so that it can't decide whether an event is valid. An event_id counts where the
	// format has one.
	//
	// spec:client-server-api#size-limits
	MaxSize = 65536

	// MaxKeyLength is the greatest length of type and state_key in bytes; of those of others in characters, where the room version
	// has KeysInCharacters. sender, room_id and
	// event_id are held to the same number by package id.
	//
	// spec:client-server-api#size-limits
	MaxKeyLength = 255

	// MaxPrevEvents and MaxAuthEvents are the greatest lengths of the lists in a new event. Old ones have as many as fit into MaxSize.
	//
	// spec:rooms/v4#event-format
	MaxPrevEvents = 20
	MaxAuthEvents = 10

	// MaxSharedDepth is the greatest depth that all servers take. Room versions 1 to 5 have 2^63−1 as the limit, but Synapse drops
	// what is beyond canonical JSON in every version, and with it events whose prev events are such: who builds on one is not
	// heard any more. Package room keeps our events below it and off those of others.
	MaxSharedDepth = 1<<53 - 1

	// maxNesting is how deep arrays and objects may stand in each other in an event. The
	// specification is silent; the parsers of deployed servers refuse the 128th level and the
	// event is dropped, so that we don't build on events that others never get. It is far
	// beyond any real event.
	maxNesting = 127

	// maxRaw bounds what is read at all, before unsigned is dropped and escapes are decoded:
	// six times MaxSize for an event written in \u escapes alone, and room for unsigned,
	// where invites carry state.
	maxRaw = 1 << 20
)
