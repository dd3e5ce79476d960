package store

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"hanse/federation/id"
)

// Topological is a place in a room's order of depth, the order of /messages. Depth comes from events, so from
// other servers: it orders, it proves nothing. Position decides among equal depths.
type Topological struct {
	Depth    int64
	Position Position
}

// Topological is the row's place.
func (r EventRow) Topological() Topological { return Topological{r.Event.Depth(), r.Position} }

// Before says whether t comes before o.
func (t Topological) Before(o Topological) bool {
	if t.Depth != o.Depth {
		return t.Depth < o.Depth
	}
	return t.Position < o.Position
}

// Direction is the way [Store.Page] walks.
type Direction int

const (
	// Backward goes to older events.
	Backward Direction = iota
	// Forward goes to newer events.
	Forward
)

// Timeline reads the accepted events of a room with positions in (after, upto], as /sync shows them: history that came
// later has no part in it (give a negative after to see that too). Of more than limit events the newest are given
// if newestFirst, else the oldest, in that order; more says that there were others.
func (s *Store) Timeline(ctx context.Context, r id.RoomID, after, upto Position, limit int, newestFirst bool) (events []EventRow, more bool, err error) {
	ref, err := s.rooms.find(ctx, r)
	if err != nil || ref == nil {
		return nil, false, err
	}
	recent, indexed := s.tail.entries(ref.number)
	recent = slices.DeleteFunc(slices.Clone(recent), func(e tailEntry) bool { return e.position <= after || e.position > upto })
	if newestFirst {
		slices.Reverse(recent)
		if events, err = s.tailRows(ctx, recent[:min(len(recent), limit+1)]); err != nil {
			return nil, false, err
		}
	}
	if left := limit + 1 - len(events); left > 0 && after < indexed {
		rows, err := s.indexedTimeline(ctx, ref, after, min(upto, indexed), left, newestFirst)
		if err != nil {
			return nil, false, err
		}
		events = append(events, rows...)
	}
	if left := limit + 1 - len(events); left > 0 && !newestFirst {
		rows, err := s.tailRows(ctx, recent[:min(len(recent), left)])
		if err != nil {
			return nil, false, err
		}
		events = append(events, rows...)
	}
	if len(events) > limit {
		return events[:limit], true, nil
	}
	return events, false, nil
}

// indexedTimeline is Timeline without what the tail has.
func (s *Store) indexedTimeline(ctx context.Context, ref *roomRef, after, upto Position, limit int, newestFirst bool) ([]EventRow, error) {
	order := "ASC"
	if newestFirst {
		order = "DESC"
	}
	return s.eventRows(ctx, `SELECT `+eventColumns+` FROM timeline JOIN events ON events.number = timeline.number
		WHERE timeline.room = $1 AND timeline.position > $2 AND timeline.position <= $3
		ORDER BY timeline.position `+order+` LIMIT $4`, ref.number, int64(after), int64(upto), limit)
}

// tailRows reads the events of the tail; most are in memory.
func (s *Store) tailRows(ctx context.Context, entries []tailEntry) ([]EventRow, error) {
	ids := make([]id.EventID, len(entries))
	for i, e := range entries {
		ids[i] = e.eventID
	}
	rows, err := s.stored(ctx, ids)
	if err != nil {
		return nil, err
	}
	events := make([]EventRow, len(ids))
	for i, e := range ids {
		if rows[e] == nil {
			return nil, fmt.Errorf("store: the event %s is in the tail, but not stored", e)
		}
		events[i] = rows[e].row()
	}
	return events, nil
}

// Page reads the accepted events of a room in order of depth, then position: strictly beyond from in the direction
// given, not beyond to (the zero to is no end). next is where the following page starts; no events: from.
func (s *Store) Page(ctx context.Context, r id.RoomID, from Topological, dir Direction, limit int, to Topological) (events []EventRow, next Topological, err error) {
	ref, err := s.rooms.find(ctx, r)
	if err != nil || ref == nil {
		return nil, from, err
	}
	if to == (Topological{}) {
		to = first
		if dir == Forward {
			to = last
		}
	}
	recent, indexed := s.tail.entries(ref.number)
	if events, err = s.tailRows(ctx, pageOf(recent, from, dir, limit, to)); err != nil {
		return nil, from, err
	}
	// Row values compare the pair in one go, in both databases.
	bounds, order := "(depth, position) < ($2, $3) AND (depth, position) >= ($4, $5)", "depth DESC, position DESC"
	if dir == Forward {
		bounds, order = "(depth, position) > ($2, $3) AND (depth, position) <= ($4, $5)", "depth ASC, position ASC"
	}
	older, err := s.eventRows(ctx, `SELECT `+eventColumns+` FROM (SELECT number FROM timeline WHERE room = $1 AND `+bounds+`
		AND position <= $6 ORDER BY `+order+` LIMIT $7) AS page JOIN events ON events.number = page.number`,
		ref.number, from.Depth, int64(from.Position), to.Depth, int64(to.Position), int64(indexed), limit)
	if err != nil {
		return nil, from, err
	}
	events = append(events, older...)
	slices.SortFunc(events, func(a, b EventRow) int { return dir.compare(a.Topological(), b.Topological()) })
	events = events[:min(len(events), limit)]
	if len(events) == 0 {
		return nil, from, nil
	}
	return events, events[len(events)-1].Topological(), nil
}

// pageOf are those entries that may be on a page, in its order.
func pageOf(entries []tailEntry, from Topological, dir Direction, limit int, to Topological) []tailEntry {
	var page []tailEntry
	for _, e := range entries {
		if at := e.topological(); dir.compare(from, at) < 0 && dir.compare(at, to) <= 0 {
			page = append(page, e)
		}
	}
	slices.SortFunc(page, func(a, b tailEntry) int { return dir.compare(a.topological(), b.topological()) })
	return page[:min(len(page), limit)]
}

// compare orders places as a walk in this direction meets them.
func (d Direction) compare(a, b Topological) int {
	if d == Backward {
		a, b = b, a
	}
	return cmp.Or(cmp.Compare(a.Depth, b.Depth), cmp.Compare(a.Position, b.Position))
}

// first and last are before and after everything.
var (
	first = Topological{Depth: math.MinInt64, Position: math.MinInt64}
	last  = Topological{Depth: math.MaxInt64, Position: math.MaxInt64}
)

// Beginning is the place before all events of a room, to start a page from.
func Beginning() Topological { return first }

// End is the place after all events; see Beginning.
func End() Topological { return last }
