package push

import (
	"context"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/node/store"
)

// Notification is an event that notifies a user.
type Notification struct {
	Position store.Position
	Event    *event.Event
	Outcome  *Outcome
	Read     bool
}

// Source finds what notifies users. node/clientsync's Syncer is one. The errors are our own trouble.
type Source interface {
	// Since gives what came after a position and notifies a user: the oldest first, of many the newest at most. Everything
	// up to upto was looked at.
	Since(ctx context.Context, user id.UserID, after store.Position, most int) (list []Notification, upto store.Position, err error)
	// Total is how many notifications a user has not read in all rooms.
	Total(ctx context.Context, user id.UserID) (int, error)
}
