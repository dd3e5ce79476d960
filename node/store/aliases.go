package store

import (
	"hanse/federation/id"
)

// Alias is a local room alias.
type Alias struct {
	Alias   id.RoomAlias
	RoomID  id.RoomID
	Creator id.UserID
}
