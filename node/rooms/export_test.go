package rooms

import (
	"context"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/node/store"
)

// Break gives a room's machine something that makes it panic.
func (r *Rooms) Break(ctx context.Context, roomID id.RoomID) error {
	_, err := r.step(ctx, roomID, room.Receive{Origin: "x.test", Events: []*event.Event{nil}}, store.CommitOptions{})
	return err
}
