package clientsync

import (
	"context"
	"time"

	"hanse/federation/id"
	"hanse/node/store"
)

// A room that was joined without its members isn't shown to clients which want all members, before these are there: they would take
// those few that are known for all, and encrypt for nobody else. Then it is as if the user had just come in. Clients that load members
// lazily ask for them when they need them, and wait then; they are shown the room at once. Deployed servers do it alike. Most rooms
// are small and have their members a moment after the join: for so long an answer waits, so that who asks right after a join finds
// the room.

// settling is how long an answer waits for the members of a room from when it was first seen without them.
const settling = time.Second

// publishing is how long it waits for the news that a room is whole where the tables have said so already: they are a moment ahead.
const publishing = 5 * time.Millisecond

// wholeness is whether a room's state isn't whole, and since when it is, as was read at a position.
type wholeness struct {
	partial bool
	seen    time.Time      // when it was first read that it is partial
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
	now := wholeness{at: s.stream.Now().Position, seen: time.Now()}
	if r.wholeness.partial {
		now.seen = r.wholeness.seen
	}
	var err error
	if now.partial, now.since, err = s.store.Wholeness(ctx, room); err == nil {
		r.wholeness = now
	}
	return now, err
}

// membersCame tells whether the members of a room, which was joined without them, came after a position.
func (s *Syncer) membersCame(ctx context.Context, room id.RoomID, after store.Position) (bool, error) {
	whole, err := s.wholeness(ctx, room)
	return !whole.partial && whole.since > after, err
}

// shown tells whether a joined room is in the answer, and whether it is so as if the user had just come in.
func (b *builder) shown(ctx context.Context, room id.RoomID) (shown, fresh bool, err error) {
	fresh = b.fresh(room)
	if b.request.Filter.Room.State.LazyLoadMembers {
		return true, fresh, nil
	}
	whole, err := b.wholeness(ctx, room)
	if err != nil {
		return false, fresh, err
	}
	switch {
	case whole.partial && fresh:
		b.unsettled = max(b.unsettled, settling-time.Since(whole.seen))
		return false, fresh, nil
	case whole.partial:
		b.idle = max(b.idle, settling-time.Since(whole.seen))
		return false, fresh, nil
	case whole.since > b.now.Position: // a moment ago
		b.unsettled = max(b.unsettled, publishing)
		return false, fresh, nil
	}
	if whole.since > b.since() {
		fresh, b.becameWhole = true, true
	}
	return true, fresh, nil
}
