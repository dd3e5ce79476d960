package store

import (
	"hanse/federation/id"
)

// Receipt is a user's place in a room or thread.
type Receipt struct {
	Room     id.RoomID
	Type     string // m.read, m.read.private
	User     id.UserID
	Event    id.EventID
	Thread   string // "" = unthreaded
	TS       int64  // ms, as the sender says
	Position Position
}
