package rooms

import (
	"context"
	"slices"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/node/store"
)

// Break gives a room's machine something that makes it panic.
func (r *Rooms) Break(ctx context.Context, roomID id.RoomID) error {
	_, err := r.step(ctx, roomID, room.Receive{Origin: "x.test", Events: []*event.Event{nil}}, store.CommitOptions{})
	return err
}

// LastCreated sets the time of the newest create event, in milliseconds since the epoch: the next one's is later.
func (r *Rooms) LastCreated(ts int64) { r.created.Store(ts) }

// Overfill has a room without its whole state hold as many events to be judged again as it may: our join, many times over.
func (r *Rooms) Overfill(ctx context.Context, roomID id.RoomID) error {
	return r.look(ctx, roomID, func(m *room.Machine, _ room.Source) error {
		for p := m.Partial(); !m.Full(); {
			p.Unsure = append(p.Unsure, slices.Repeat(p.Unsure[:1], 1000)...)
		}
		return nil
	})
}

// InMemory is how many nodes of its state a room's machine holds in memory.
func (r *Rooms) InMemory(ctx context.Context, roomID id.RoomID) (nodes int, err error) {
	err = r.look(ctx, roomID, func(m *room.Machine, _ room.Source) error {
		for range m.Current().Nodes(func(roomstate.Hash) bool { return false }) {
			nodes++
		}
		return nil
	})
	return nodes, err
}
