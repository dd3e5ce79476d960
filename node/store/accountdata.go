package store

import (
	"encoding/json"

	"hanse/federation/id"
)

// AccountData is one entry of a user's account data; tags and fully-read markers are entries of a room's.
type AccountData struct {
	Room     id.RoomID // "" = global
	Type     string
	Content  json.RawMessage // {} once deleted, so that /sync tells of it
	Position Position
}
