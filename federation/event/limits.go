package event

const (
	// MaxSize is the greatest size of an event in bytes: the canonical JSON of the federation
	// format, with hashes and signatures. unsigned does not count: servers on the way change
	// it, so that it can't decide whether an event is valid. An event_id counts where the
	// format has one.
	//
	// spec:client-server-api#size-limits
	MaxSize = 65536

	// MaxKeyLength is the greatest length of type and state_key in bytes. sender, room_id and
	// event_id are held to the same number by package id.
	//
	// spec:client-server-api#size-limits
	MaxKeyLength = 255

	// MaxPrevEvents and MaxAuthEvents are the greatest lengths of the lists in an event.
	//
	// spec:rooms/v4#event-format
	MaxPrevEvents = 20
	MaxAuthEvents = 10

	// maxRaw bounds what is read at all, before unsigned is dropped and escapes are decoded:
	// six times MaxSize for an event written in \u escapes alone, and room for unsigned,
	// where invites carry state.
	maxRaw = 1 << 20

	// maxErrorText bounds what an error repeats of an event.
	maxErrorText = 64
)
