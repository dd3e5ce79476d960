package rooms

import (
	"encoding/json"

	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
	"hanse/node/store"
)

// StateEvent is one state event a client wishes for: initial_state of /createRoom.
type StateEvent struct {
	Type     string          `json:"type"`
	StateKey string          `json:"state_key"`
	Content  json.RawMessage `json:"content"`
}

// CreateRequest is a /createRoom (spec:client-server-api#post_matrixclientv3createroom). JSON objects may be empty
// when not given.
type CreateRequest struct {
	Creator            id.UserID
	Version            roomversion.Version // "" = the configured default
	Preset             string              // private_chat, trusted_private_chat, public_chat; "" = by Visibility
	Visibility         string              // public or private; "" = private
	Alias              string              // the local part wished for; "" = none
	Name, Topic        string
	Invite             []id.UserID
	Invite3PID         int             // how many third-party invites were asked for; more than 0 is refused
	CreationContent    json.RawMessage // object
	InitialState       []StateEvent
	PowerLevelOverride json.RawMessage // object
	Direct             bool            // is_direct
}

// SendRequest is one event a user of ours sends. A state event has a StateKey.
type SendRequest struct {
	Room     id.RoomID
	Sender   id.UserID
	Type     string
	StateKey *string
	Content  json.RawMessage
	Redacts  id.EventID // of m.room.redaction: put where the room version wants it
	TS       int64      // ms since the epoch; 0 = now. For application services (?ts=)
	// Device and TxnID, if both are set, make the request idempotent: the second one with the same values gets the
	// event ID of the first (spec:client-server-api#transaction-identifiers).
	Device string
	TxnID  string
}

// JoinRequest is a join by room ID or alias.
type JoinRequest struct {
	User id.UserID
	// Room is the room's ID; an alias was resolved before (node/directory), its servers are in Via.
	Room id.RoomID
	Via  []id.ServerName
	// Content holds further members of the membership event's content ("reason"); may be empty. membership and
	// join_authorised_via_users_server in it are overwritten, displayname and avatar_url come from the profile
	// unless given.
	Content json.RawMessage
}

// KnockRequest is a knock on a room.
type KnockRequest struct {
	User   id.UserID
	Room   id.RoomID
	Via    []id.ServerName
	Reason string
}

// MembershipRequest is what a user of ours does to another's membership: invite, kick, ban, unban.
type MembershipRequest struct {
	Room   id.RoomID
	Sender id.UserID
	Target id.UserID
	Reason string
	Direct bool // invites only: is_direct
}

// Point is a place in a room's history: events are before it or after it. The zero Point is the room's end when paging
// backwards, its beginning when paging forwards.
type Point struct {
	// Topological is a place in the order of depth, unless Stream is set.
	Topological store.Topological
	// Below, if > 0, makes all events at or after this position be after the point, whatever their depth.
	Below store.Position
	// Told, if > 0, is the position as of which members are asked for.
	Told   store.Position
	Stream store.Position // > 0: a place in the commit order (a sync token): just after that position
}

// MessagesRequest asks for a page of a room's history.
type MessagesRequest struct {
	User      id.UserID
	Room      id.RoomID
	From, To  Point // To zero: no end
	Backwards bool
	Limit     int                       // bounded by Limits.Page
	Match     func(store.EventRow) bool // nil = all; the client's filter
}

// Page is a part of a room's history that a user may see.
type Page struct {
	Events     []store.EventRow // in the order asked for
	Start, End Point            // End is where the next page starts
	More       bool             // false: the page is empty, and the end (or beginning) of the history was reached
}

// Context is an event and what stands around it.
type Context struct {
	Event         store.EventRow
	Before, After []store.EventRow // Before: newest first
	Start, End    Point            // tokens to page on from: backwards from Start, forwards from End
	State         roomstate.Map    // the state after the last event returned
}

// MembersRequest asks for the membership events of a room.
type MembersRequest struct {
	User          id.UserID
	Room          id.RoomID
	At            Point  // zero: now
	Membership    string // only these; "" = all
	NotMembership string // not these; "" = none
}
