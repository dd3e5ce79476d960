package store

import (
	"hanse/federation/id"
)

// Kind is what a notice is about.
type Kind int

const (
	// KindEvents is a room's commit.
	KindEvents Kind = iota
	// KindMembership is a membership outside the rooms we take part in (invite, knock, leave), or a forgotten room.
	KindMembership
	// KindReceipt is a read receipt.
	KindReceipt
	// KindAccountData is a user's account data, of a room or global; tags too.
	KindAccountData
)

// Notice says that something is durable. It is a wake-up, not the data: the tables are the truth.
type Notice struct {
	Position Position
	Kind     Kind
	Room     id.RoomID   // "" when not about a room
	Users    []id.UserID // local users concerned beside the room's joined ones: new members, invited, left; the owner of account data
	// Servers are those that get an event or a receipt of this commit, for the sender.
	Servers []id.ServerName
}
