package store

import (
	"container/heap"
	"context"
	"maps"
	"math"
	"slices"

	"hanse/federation/id"
	"hanse/federation/room"
)

// BackwardExtremities lists what a room's history lacks, deepest first: where backfilling goes on.
func (s *Store) BackwardExtremities(ctx context.Context, r id.RoomID, limit int) ([]Gap, error) {
	return s.BackwardExtremitiesBetween(ctx, r, math.MinInt64, math.MaxInt64, limit)
}

// BackwardExtremitiesBetween lists those below events of these depths.
func (s *Store) BackwardExtremitiesBetween(ctx context.Context, r id.RoomID, lowest, highest int64, limit int) ([]Gap, error) {
	ref, err := s.rooms.find(ctx, r)
	if err != nil || ref == nil {
		return nil, err
	}
	return readRows(ctx, s, `SELECT missing, child, depth FROM gaps WHERE room = $1 AND depth BETWEEN $2 AND $3
		ORDER BY depth DESC, missing, child LIMIT $4`,
		[]any{ref.number, lowest, highest, limit}, func(g *Gap) []any { return []any{&g.Missing, &g.Child, &g.Depth} })
}

// knownGaps tells which of the events are missing so far.
func (s *Store) knownGaps(ctx context.Context, r id.RoomID, ids []id.EventID) ([]id.EventID, error) {
	if _, none := s.gapless.get(r); none {
		return nil, nil
	}
	if ids = s.unheard.heard(ids); len(ids) == 0 {
		return nil, nil
	}
	gaps, err := s.BackwardExtremities(ctx, r, 1)
	if err != nil {
		return nil, err
	}
	if len(gaps) == 0 {
		s.gapless.put(r, struct{}{}) // the room's owner makes no other commit meanwhile
		return nil, nil
	}
	known, err := mapOf[id.EventID, bool](ctx, s, "SELECT missing, 1 FROM gaps WHERE missing IN (%s)", nil, ids)
	return slices.Collect(maps.Keys(known)), err
}

// History walks along prev events from the given events, which are part of it: events of the room that are not rejected,
// deepest first, at most limit. It answers /backfill.
//
// spec:server-server-api#backfilling-and-retrieving-missing-events
func (s *Store) History(ctx context.Context, r id.RoomID, from []id.EventID, limit int) ([]EventRow, error) {
	w := walk{store: s, room: r, seen: map[id.EventID]bool{}}
	if err := w.add(ctx, from); err != nil {
		return nil, err
	}
	return w.events(ctx, math.MinInt64, limit)
}

// MissingEvents walks along prev events from latest, which are no part of it, up to earliest, which are none either,
// and no deeper than minDepth: at most limit events that are not rejected, the nearest to latest, oldest first. It answers
// /get_missing_events.
//
// spec:server-server-api#backfilling-and-retrieving-missing-events
func (s *Store) MissingEvents(ctx context.Context, r id.RoomID, latest, earliest []id.EventID, minDepth int64, limit int) ([]EventRow, error) {
	w := walk{store: s, room: r, seen: map[id.EventID]bool{}}
	for _, e := range earliest {
		w.seen[e] = true
	}
	tops, err := s.stored(ctx, latest)
	if err != nil {
		return nil, err
	}
	for _, e := range latest {
		w.seen[e] = true
	}
	for _, e := range latest {
		if top := tops[e]; top != nil && top.room.roomID == r {
			if err := w.add(ctx, top.event.PrevEvents()); err != nil {
				return nil, err
			}
		}
	}
	events, err := w.events(ctx, minDepth, limit)
	slices.Reverse(events)
	return events, err
}

// walk is a walk along prev events, deepest first.
type walk struct {
	store *Store
	room  id.RoomID
	seen  map[id.EventID]bool
	queue byDepth
}

// add queues events not seen before. Those that are not stored, outliers or of another room end the walk there. walkEvents bounds the whole of it.
func (w *walk) add(ctx context.Context, ids []id.EventID) error {
	var next []id.EventID
	for _, e := range ids {
		if !w.seen[e] && len(w.seen) < walkEvents {
			w.seen[e] = true
			next = append(next, e)
		}
	}
	rows, err := w.store.stored(ctx, next)
	if err != nil {
		return err
	}
	for _, e := range next {
		row := rows[e]
		if row != nil && !row.outlier() && row.room.roomID == w.room {
			heap.Push(&w.queue, row)
		}
	}
	return nil
}

// events goes on with the walk: at most limit events that are not rejected, none less deep than minDepth.
func (w *walk) events(ctx context.Context, minDepth int64, limit int) (events []EventRow, err error) {
	for len(events) < limit && w.queue.Len() > 0 {
		e := heap.Pop(&w.queue).(*storedEvent)
		if e.event.Depth() < minDepth {
			continue
		}
		if e.status != room.Rejected {
			events = append(events, e.row())
		}
		if err := w.add(ctx, e.event.PrevEvents()); err != nil {
			return nil, err
		}
	}
	return events, nil
}

// byDepth is a heap of events, the deepest first, then the newest.
type byDepth []*storedEvent

func (h byDepth) Len() int { return len(h) }
func (h byDepth) Less(i, j int) bool {
	if a, b := h[i].event.Depth(), h[j].event.Depth(); a != b {
		return a > b
	}
	return h[i].position > h[j].position
}
func (h byDepth) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *byDepth) Push(x any)   { *h = append(*h, x.(*storedEvent)) }
func (h *byDepth) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
