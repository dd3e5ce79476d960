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
	// forgetQuiet is how long a room where nobody types any more is remembered: longer than a client that is online
	// goes without syncing, so that each sees the empty list.
	forgetQuiet = 10 * time.Minute
	// expiryTick is how exactly typing ends.
	expiryTick = time.Second
)
