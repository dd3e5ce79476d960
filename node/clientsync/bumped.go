package clientsync

import (
	"context"
	"slices"

	"hanse/federation/id"
	"hanse/node/store"
)

// bumpTypes are the events that people take for activity in a room, as the proposal of simplified sliding sync (MSC4186) has them;
// polls and shared positions also under the names that clients still use for them.
var bumpTypes = [...]string{
	"m.room.create", "m.room.message", "m.room.encrypted", "m.sticker", "m.call.invite",
	"m.poll.start", "org.matrix.msc3381.poll.start", "m.beacon_info", "org.matrix.msc3672.beacon_info",
}

// bump is the newest of a room's events that are activity, as was found when a position was the newest. Guarded by the room's mu.
type bump struct{ newest, at store.Position }

// Bumped is the position of a room's newest event that people take for activity; 0 if none of the room's live events is. Of more
// than maxScan others after it, it is where the search ended.
func (s *Syncer) Bumped(ctx context.Context, room id.RoomID, upto store.Position) (store.Position, error) {
	r := s.recentRoom(room)
	r.mu.Lock()
	known := r.bump
	r.mu.Unlock()
	if known.at >= upto {
		return min(known.newest, upto), nil
	}
	found, err := s.lastBump(ctx, room, known.at, upto)
	if err != nil {
		return 0, err
	}
	found = max(found, known.newest)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bump.at < upto {
		r.bump = bump{found, upto}
	}
	return found, nil
}

// lastBump looks at the events of (after, upto], the newest first.
func (s *Syncer) lastBump(ctx context.Context, room id.RoomID, after, upto store.Position) (store.Position, error) {
	if !s.stream.RoomSince(room, after).Events {
		return 0, nil
	}
	entries, from, err := s.recent(ctx, room, after, upto)
	if err != nil {
		return 0, err
	}
	for _, e := range slices.Backward(entries) {
		if slices.Contains(bumpTypes[:], e.Event.Type()) {
			return e.Position, nil
		}
	}
	for scanned := len(entries); from > after; {
		rows, more, err := s.store.Timeline(ctx, room, after, from, unreadChunk, true)
		if err != nil {
			return 0, err
		}
		for _, row := range rows {
			if slices.Contains(bumpTypes[:], row.Event.Type()) {
				return row.Position, nil
			}
		}
		if !more {
			return 0, nil
		}
		from = rows[len(rows)-1].Position - 1
		if scanned += len(rows); scanned >= maxScan {
			return from, nil
		}
	}
	return 0, nil
}
