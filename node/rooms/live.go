package rooms

import (
	"context"

	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/node/store"
)

// Live is what is known of a room that is in memory.
type Live struct {
	Queued   int   // inputs that wait for the room's turn
	Fetching int   // fetches under way
	Resets   int64 // current state events that gave way to older ones, or to nothing, since the room was loaded
	Merges   int64 // events at which branches of the room met, since then
}

// Live tells of a room that is in memory; false if it isn't.
func (r *Rooms) Live(roomID id.RoomID) (Live, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.actors[roomID]
	if a == nil {
		return Live{}, false
	}
	return Live{Queued: len(a.queue), Fetching: a.fetching, Resets: a.resets.Load(), Merges: a.merges.Load()}, true
}

// Queued is the number of inputs that wait for their room's turn, in all rooms.
func (r *Rooms) Queued() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, a := range r.actors {
		n += len(a.queue)
	}
	return n
}

// Fetching is the number of fetches under way, in all rooms.
func (r *Rooms) Fetching() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, a := range r.actors {
		n += a.fetching
	}
	return n
}

// Missing tells what a received event waits for; false if it doesn't wait. What was staged before the last start is taken
// up first.
func (r *Rooms) Missing(ctx context.Context, roomID id.RoomID, eventID id.EventID) (missing room.Missing, waits bool, err error) {
	if _, err := r.step(ctx, roomID, room.Resume{}, store.CommitOptions{}); err != nil {
		return room.Missing{}, false, err
	}
	err = r.look(ctx, roomID, func(m *room.Machine, _ room.Source) error {
		missing, waits = m.Missing(eventID)
		return nil
	})
	return missing, waits, err
}

// merges counts the events of a commit that have more than one prev event: at each, branches of the room met.
func merges(c room.Commit) int64 {
	n := int64(0)
	for _, e := range c.Events {
		if !e.Outlier && len(e.Event.PrevEvents()) > 1 {
			n++
		}
	}
	return n
}
