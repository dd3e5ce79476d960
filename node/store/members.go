package store

import (
	"encoding/json"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

// Membership is one user's membership of one room, as the room's current state has it, or, for rooms this server
// takes no part in, as the last invite, knock or leave said.
type Membership struct {
	RoomID     id.RoomID
	User       id.UserID
	Membership string // join, invite, knock, leave, ban
	EventID    id.EventID
	Sender     id.UserID
	Position   Position // when it became so
	Forgotten  bool
	// OutOfRoom says that the membership did not come with the room's state; Stripped is the state that came with it.
	OutOfRoom bool
	Stripped  []json.RawMessage
}

// MemberFilter selects in [Store.Members]; the zero value takes all.
type MemberFilter struct {
	Membership    string // only this one
	NotMembership string // all but this one
	Local         bool   // only this server's users
	Limit         int    // 0 = no limit
}

// OutOfRoom is a membership event of a local user in a room this server takes no part in: an invite received
// by federation, our own knock sent, a leave that rejects the invite or takes back the knock.
type OutOfRoom struct {
	RoomID   id.RoomID
	Rules    *roomversion.Rules
	Event    *event.Event
	User     id.UserID
	Stripped []json.RawMessage // stripped state that came along; ignored for a leave
}
