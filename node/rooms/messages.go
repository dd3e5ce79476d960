package rooms

import (
	"context"
	"math"

	"hanse/federation/id"
	"hanse/node/store"
)

// Messages returns a page of a room's history. Paging backwards, it asks other servers where ours has a hole or ends.
//
// spec:client-server-api#get_matrixclientv3roomsroomidmessages
func (r *Rooms) Messages(ctx context.Context, req MessagesRequest) (Page, error) {
	s, err := r.sightOf(ctx, req.User, req.Room)
	if err != nil {
		return Page{}, err
	}
	if s.member.EventID == "" {
		// Not a member: only what is world readable, and an error rather than an empty page where nothing is.
		if _, err := r.stateFor(ctx, req.User, req.Room); err != nil {
			return Page{}, err
		}
	}
	from, err := r.place(ctx, req.Room, req.From, req.Backwards)
	if err != nil {
		return Page{}, err
	}
	to, err := r.place(ctx, req.Room, req.To, req.Backwards)
	if err != nil {
		return Page{}, err
	}
	if req.To == (Point{}) {
		to = store.Topological{}
	}
	w := walk{
		r: r, sight: s, room: req.Room, at: from, to: to, match: req.Match,
		limit: min(max(req.Limit, 1), r.limits.Page), scan: r.limits.Scan, remote: s.joined,
	}
	if !req.Backwards {
		w.dir, w.remote = store.Forward, false
	}
	if err := w.run(ctx); err != nil {
		return Page{}, err
	}
	return Page{Events: w.events, Start: Point{Topological: from}, End: Point{Topological: w.at}, More: !w.ended}, nil
}

// place turns a point into a place in the order of depth. Paging backwards from nowhere begins at the newest event.
func (r *Rooms) place(ctx context.Context, roomID id.RoomID, p Point, backwards bool) (store.Topological, error) {
	switch {
	case p.Stream > 0:
		at, err := r.store.TopologicalAt(ctx, roomID, p.Stream)
		if !backwards && err == nil {
			at.Position-- // what comes next may have the same depth
		}
		return at, err
	case p != Point{}:
		return p.Topological, nil
	case !backwards:
		return store.Beginning(), nil
	}
	rows, _, err := r.store.Page(ctx, roomID, store.End(), store.Backward, 1, store.Topological{})
	if err != nil || len(rows) == 0 {
		return store.End(), err
	}
	newest := rows[0].Topological()
	return store.Topological{Depth: newest.Depth, Position: newest.Position + 1}, nil
}

// walk reads a room's history in one direction until a page is full.
type walk struct {
	r     *Rooms
	sight sight
	room  id.RoomID
	at    store.Topological // where it stands
	to    store.Topological // zero: no end
	dir   store.Direction
	match func(store.EventRow) bool

	limit  int  // how many events are wanted
	scan   int  // how many may be read for them
	remote bool // other servers may be asked
	asked  int  // how often they were

	events []store.EventRow
	ended  bool // there is no more
}

// maxRemoteAsks bounds how often one page asks other servers: a client waits for it.
const maxRemoteAsks = 3

func (w *walk) run(ctx context.Context) error {
	for !w.ended && len(w.events) < w.limit && w.scan > 0 {
		n := min(w.limit-len(w.events), w.scan)
		rows, next, err := w.r.store.Page(ctx, w.room, w.at, w.dir, n, w.to)
		if err != nil {
			return err
		}
		short := len(rows) < n
		if w.remote && w.asked < maxRemoteAsks {
			filled, err := w.fill(ctx, rows, short)
			if err != nil {
				return err
			}
			if filled {
				continue // the same page anew, now without the hole
			}
		}
		w.scan -= len(rows)
		if err := w.take(ctx, rows); err != nil {
			return err
		}
		w.ended = short
		if len(rows) > 0 {
			w.at = next
		}
	}
	return nil
}

// take keeps those of the rows that the user may see and the filter wants.
func (w *walk) take(ctx context.Context, rows []store.EventRow) error {
	visible, err := w.r.visible(ctx, w.sight, rows)
	if err != nil {
		return err
	}
	for _, row := range visible {
		if w.match == nil || w.match(row) {
			w.events = append(w.events, row)
		}
	}
	return nil
}

// fill closes a hole in the part of the history that the rows cover, or goes on below its end. It reports whether
// anything new came.
func (w *walk) fill(ctx context.Context, rows []store.EventRow, short bool) (bool, error) {
	gaps, err := w.r.store.BackwardExtremities(ctx, w.room, maxGaps)
	if err != nil || len(gaps) == 0 {
		return false, err
	}
	lowest := int64(math.MinInt64)
	if !short {
		lowest = rows[len(rows)-1].Event.Depth()
	}
	var missing []id.EventID
	for _, gap := range gaps {
		if gap.Depth >= lowest && gap.Depth <= w.at.Depth {
			missing = append(missing, gap.Missing)
		}
	}
	if len(missing) == 0 {
		return false, nil
	}
	w.asked++
	return w.r.backfill(ctx, w.room, missing)
}

// Context returns an event with up to limit events around it, half before and half after.
//
// spec:client-server-api#get_matrixclientv3roomsroomidcontexteventid
func (r *Rooms) Context(ctx context.Context, user id.UserID, roomID id.RoomID, eventID id.EventID, limit int, match func(store.EventRow) bool) (Context, error) {
	row, err := r.Event(ctx, user, roomID, eventID)
	if err != nil {
		return Context{}, err
	}
	s, err := r.sightOf(ctx, user, roomID)
	if err != nil {
		return Context{}, err
	}
	limit = min(max(limit, 0), r.limits.Page)
	before := walk{
		r: r, sight: s, room: roomID, at: row.Topological(), dir: store.Backward, match: match,
		limit: limit / 2, scan: r.limits.Scan, remote: s.joined,
	}
	after := before
	after.dir, after.limit, after.remote = store.Forward, limit-limit/2, false
	// Forward from an event means from just behind it.
	for _, w := range []*walk{&before, &after} {
		if err := w.run(ctx); err != nil {
			return Context{}, err
		}
	}
	last := row
	if n := len(after.events); n > 0 {
		last = after.events[n-1]
	}
	c := Context{
		Event: row, Before: before.events, After: after.events,
		Start: Point{Topological: before.at}, End: Point{Topological: after.at},
	}
	state, ok, err := r.store.StateAfter(ctx, last.Event.ID())
	if err != nil || !ok {
		return c, err
	}
	c.State, err = r.store.StateEvents(ctx, state)
	return c, err
}
