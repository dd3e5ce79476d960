package store

import (
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

// CommitOptions are things that must become durable with a room's commit or not at all.
type CommitOptions struct {
	// ClientTxns are client transactions that made events of this commit. If one was used before, nothing is
	// written and the commit fails with [ErrClientTxnUsed].
	ClientTxns []ClientTxn
	// Redactions are those to apply with this commit, in both orders of arrival: the target may be part of
	// this commit, stored before, or unknown (then the row waits; see [Store.PendingRedactions]).
	Redactions []Redaction
	// Aliases are created with the commit (createRoom). One that exists fails all with [ErrExists].
	Aliases []Alias
	// Publish sets whether the room is listed in the directory; nil leaves it.
	Publish *bool
}

// Redaction says that an accepted redaction event may redact its target (spec: the sender's power or server).
type Redaction struct{ Target, By id.EventID }

// RoomInfo is what is known of a room without its state.
type RoomInfo struct {
	RoomID  id.RoomID
	Rules   *roomversion.Rules
	Created bool         // we have the room's state: it was created or joined here once
	Joined  int          // joined members
	Local   int          // joined members of this server; 0 = we no longer take part
	Forward []id.EventID // forward extremities
	Depth   int64        // greatest depth of Forward
	// Position is of the newest commit. Public says whether the room is in the directory.
	Position Position
	Public   bool
}

// Resident says whether this server takes part in the room.
func (r RoomInfo) Resident() bool { return r.Local > 0 }

// PublishedRoom is a row of the room directory.
type PublishedRoom struct {
	RoomID id.RoomID
	Joined int
}

// stagedRow is an event received but undecided.
type stagedRow struct {
	eventID id.EventID
	event   *event.Event
}
