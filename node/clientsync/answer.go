package clientsync

import (
	"encoding/json"

	"hanse/federation/id"
	"hanse/node/ephemeral"
	"hanse/node/store"
	"hanse/node/stream"
)

// Answer is what is new for a user between two places. node/clientapi gives it the form of the API.
type Answer struct {
	Next        stream.Token
	Joined      map[id.RoomID]*JoinedRoom
	Invited     map[id.RoomID][]json.RawMessage // stripped state
	Knocked     map[id.RoomID][]json.RawMessage
	Left        map[id.RoomID]*LeftRoom
	AccountData []store.AccountData
	Devices     Devices
	Presence    []ephemeral.Presence // in order of the users
}

// Empty tells that there is nothing in it.
func (a *Answer) Empty() bool { return len(a.Presence) == 0 && a.emptyButPresence() }

func (a *Answer) emptyButPresence() bool {
	return len(a.Joined)+len(a.Invited)+len(a.Knocked)+len(a.Left)+len(a.AccountData) == 0 && !a.Devices.news
}

// JoinedRoom is what is new in a room that the user is in.
type JoinedRoom struct {
	Timeline    Timeline
	State       []Decorated // before the timeline, or after it if that was asked for
	Rest        *Rest       // of the state; nil: nothing
	Summary     *Summary    // nil: unchanged
	Typing      []id.UserID
	HasTyping   bool // Typing has changed; it may have become empty
	Receipts    []store.Receipt
	AccountData []store.AccountData
	Unread      map[string]Unread // by thread; MainThread is what is in none
}

// empty tells that nothing is new. What is new may all be before the timeline, which is limited then.
func (r *JoinedRoom) empty() bool {
	return len(r.Timeline.Events)+len(r.State)+r.Rest.Len()+len(r.Receipts)+len(r.AccountData) == 0 && !r.Timeline.Limited && r.Summary == nil && !r.HasTyping
}

// LeftRoom is what happened in a room until the user left it.
type LeftRoom struct {
	Timeline    Timeline
	State       []Decorated
	Rest        *Rest // of the state; nil: nothing
	AccountData []store.AccountData
}

// Timeline is the newest events of a span.
type Timeline struct {
	Events    []Decorated  // the oldest first
	Limited   bool         // there are more between `since` and the first
	PrevBatch stream.Place // everything before is before Events, everything else is in them or comes later
}

// Summary helps a client to name a room. spec:client-server-api#get_matrixclientv3sync
type Summary struct {
	Heroes          []id.UserID // nil where the room has a name
	Joined, Invited int
}

// What the answers are made of, for packages that take no part in storing it.
type (
	EventRow    = store.EventRow
	AccountData = store.AccountData
	Receipt     = store.Receipt
)
