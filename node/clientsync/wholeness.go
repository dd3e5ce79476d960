package clientsync

import (
	"context"

	"hanse/federation/id"
	"hanse/node/store"
)

// A room that was joined without its members isn't shown to clients which want all members, before these are there: they would take
// those few that are known for all, and encrypt for nobody else. Then it is as if the user had just come in. Clients that load members
// lazily ask for them when they need them, and wait then; they are shown the room at once. Deployed servers do it alike.

// wholeness is whether a room's state isn't whole, and since when it is, as was read at a position.
type wholeness struct {
	partial bool
	since   store.Position // 0: always
	at      store.Position // when it was read; 0: not yet
}

// wholeness is read anew while a room's state isn't whole, and when members have changed: one of a room that is whole becomes partial
// only by a join of ours.
func (s *Syncer) wholeness(ctx context.Context, room id.RoomID) (wholeness, error) {
	r := s.recentRoom(room)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wholeness.at != 0 && !r.wholeness.partial && len(s.stream.MembersSince([]id.RoomID{room}, r.wholeness.at)) == 0 {
		return r.wholeness, nil
	}
	now := wholeness{at: s.stream.Now().Position}
	var err error
	if now.partial, now.since, err = s.store.Wholeness(ctx, room); err == nil {
		r.wholeness = now
	}
	return now, err
}

// shown tells whether a joined room is in the answer, and whether it is so as if the user had just come in.
func (b *builder) shown(ctx context.Context, room id.RoomID) (shown, fresh bool, err error) {
	fresh = b.fresh(room)
	if b.request.Filter.Room.State.LazyLoadMembers {
		return true, fresh, nil
	}
	whole, err := b.wholeness(ctx, room)
	return !whole.partial && whole.since <= b.now.Position, fresh || whole.since > b.since(), err
}
