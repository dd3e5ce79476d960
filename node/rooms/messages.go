package rooms

import (
	"context"
	"errors"
	"math"
	"slices"

	"hanse/federation"
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
	w := walk{
		r: r, sight: s, room: req.Room, at: r.from(req), to: req.until(), match: req.Match,
		limit: min(max(req.Limit, 1), r.limits.Page), scan: r.limits.Scan, remote: s.joined,
	}
	if !req.Backwards {
		w.dir, w.remote = store.Forward, false
	}
	start := w.at
	if err := w.run(ctx); err != nil {
		return Page{}, err
	}
	return Page{Events: w.events, Start: start.point(), End: w.at.point(), More: !w.ended || len(w.events) > 0}, nil
}

// place is a point as a walk needs it: before it are the events before at in the order of depth whose positions are less
// than below.
type place struct {
	at    store.Topological
	below store.Position
}

// anywhere is the bound of a place that goes by depth alone.
const anywhere = store.Position(math.MaxInt64)

func (p Point) place() place {
	switch {
	case p.Stream > 0:
		return place{store.End(), p.Stream + 1}
	case p.Below > 0:
		return place{p.Topological, p.Below}
	}
	return place{p.Topological, anywhere}
}

func (p place) point() Point {
	if p.below == anywhere {
		return Point{Topological: p.at}
	}
	return Point{Topological: p.at, Below: p.below}
}

// follows tells whether an event is before the place.
func (p place) follows(row store.EventRow) bool {
	return row.Position < p.below && row.Topological().Before(p.at)
}

// byPosition tells whether the place is one in the commit order alone, as those of /sync are.
func (p place) byPosition() bool { return p.at == store.End() && p.below < anywhere }

// from is where a page begins: paging backwards from nowhere, behind the newest event.
func (r *Rooms) from(req MessagesRequest) place {
	switch {
	case req.From != Point{}:
		return req.From.place()
	case req.Backwards:
		return place{store.End(), r.store.Position() + 1}
	}
	return place{store.Beginning(), anywhere}
}

// until is where it ends at the latest.
func (req MessagesRequest) until() place {
	switch {
	case req.To != Point{}:
		return req.To.place()
	case req.Backwards:
		return place{store.Beginning(), anywhere}
	}
	return place{store.End(), anywhere}
}

// walk reads a room's history in one direction until a page is full: in the order of depth, except between two places
// of the commit order, and forwards from one, where it goes by position, as /sync does.
type walk struct {
	r     *Rooms
	sight sight
	room  id.RoomID
	at    place // where it stands
	to    place
	dir   store.Direction
	match func(store.EventRow) bool

	limit  int  // how many events are wanted
	scan   int  // how many may be read for them
	remote bool // other servers may be asked
	asked  int  // how often they were

	gaveUp   bool  // they had nothing for a hole
	unfilled int64 // the depth of the events above that one

	events []store.EventRow
	bytes  int  // of events
	read   int  // how many events were read
	weight int  // their bytes
	ended  bool // there is no more
}

const (
	// pageBytes bounds what the events of a page weigh, in bytes: a thousand usual ones are less. A page of the largest is short, and the next
	// one goes on behind it. scanBytes bounds those that are read for it.
	pageBytes = 2 << 20
	scanBytes = 16 * pageBytes
	// readFirst is how many events are read before it is known how large they are.
	readFirst = 32
)

// maxRemoteAsks bounds how often one page asks other servers: a client waits for it. If there is a hole still, the page ends
// there: the next one asks on.
const maxRemoteAsks = 3

func (w *walk) run(ctx context.Context) error {
	for !w.ended && len(w.events) < w.limit && w.scan > 0 && w.bytes < pageBytes && w.weight < scanBytes {
		n := min(w.limit-len(w.events), w.scan, w.fitting())
		rows, next, ended, err := w.rows(ctx, n)
		if err != nil {
			return err
		}
		atHole := false
		if w.remote {
			filled, hole, err := w.fill(ctx, rows, ended)
			if err != nil {
				return err
			}
			if filled {
				continue // the same page anew, now without the hole
			}
			if above := downTo(rows, hole); len(above) > 0 {
				rows, atHole = above, true
				next, ended = place{above[len(above)-1].Topological(), w.at.below}, false
			}
		}
		w.scan -= max(len(rows), 1)
		if err := w.take(ctx, rows); err != nil {
			return err
		}
		if w.at, w.ended = next, ended; atHole {
			return nil
		}
	}
	return nil
}

// fitting is how many more events fit into a page, by those that were read.
func (w *walk) fitting() int {
	if w.read == 0 {
		return readFirst
	}
	return max(readFirst/4, (pageBytes-w.bytes)/max(1, w.weight/w.read))
}

// downTo are the rows that are as deep as a hole at least; none where there is no hole.
func downTo(rows []store.EventRow, hole int64) []store.EventRow {
	if hole == noHole {
		return nil
	}
	n := 0
	for n < len(rows) && rows[n].Event.Depth() >= hole {
		n++
	}
	return rows[:n]
}

// noHole is the depth of no hole.
const noHole = int64(math.MinInt64)

// rows gives the next n events of the order, the place behind them, and whether they are the last. Not all of them are
// between the places: take leaves the others out.
func (w *walk) rows(ctx context.Context, n int) (rows []store.EventRow, next place, ended bool, err error) {
	next = w.at
	switch {
	case w.dir == store.Forward && w.at.byPosition():
		rows, more, err := w.r.store.Timeline(ctx, w.room, w.at.below-1, w.to.below-1, n, false)
		if len(rows) > 0 {
			next.below = rows[len(rows)-1].Position + 1
		}
		return rows, next, !more, err
	case w.at.byPosition() && w.to.byPosition():
		rows, more, err := w.r.store.Timeline(ctx, w.room, w.to.below-1, w.at.below-1, n, true)
		if len(rows) > 0 {
			next.below = rows[len(rows)-1].Position
		}
		return rows, next, !more, err
	}
	bound := w.to.at
	if w.dir == store.Backward && w.to.below < anywhere {
		bound = store.Beginning() // what came later is wanted however deep it stands
	}
	from := w.at.at
	if w.dir == store.Forward && from != store.Beginning() {
		from.Position-- // a place is before the event that it is named by, whichever way one goes
	}
	rows, at, err := w.r.store.Page(ctx, w.room, from, w.dir, n, bound)
	if len(rows) == 0 {
		at = w.at.at
	} else if w.dir == store.Forward {
		at.Position++
	}
	next, ended = place{at, w.at.below}, len(rows) < n
	if ended && w.dir == store.Forward && w.at.below < anywhere {
		next, ended = place{store.End(), w.at.below}, false // go on by position
	}
	return rows, next, ended, err
}

// take keeps those of the rows that are between the places, that the user may see and that the filter wants.
func (w *walk) take(ctx context.Context, rows []store.EventRow) error {
	for _, row := range rows {
		w.read++
		w.weight += row.Event.Size()
	}
	from, to := w.at, w.to
	rows = slices.DeleteFunc(rows, func(row store.EventRow) bool {
		if w.dir == store.Backward {
			return row.Position >= from.below || to.follows(row)
		}
		return !from.byPosition() && row.Position >= from.below || !to.follows(row)
	})
	visible, err := w.r.visible(ctx, w.sight, rows)
	if err != nil {
		return err
	}
	for _, row := range visible {
		if w.match == nil || w.match(row) {
			w.events = append(w.events, row)
			w.bytes += row.Event.Size()
		}
	}
	return nil
}

// fill closes a hole in the part of the history that the rows cover, or goes on below its end. It reports whether
// anything new came, or else the depth of the events above a hole that the next page may fill.
func (w *walk) fill(ctx context.Context, rows []store.EventRow, short bool) (filled bool, hole int64, err error) {
	if w.at.byPosition() && w.to.byPosition() {
		return false, noHole, nil
	}
	lowest, highest := noHole, w.at.at.Depth
	if !short {
		lowest = rows[len(rows)-1].Event.Depth()
	}
	if w.gaveUp {
		highest = min(highest, w.unfilled-1)
	}
	gaps, err := w.r.store.BackwardExtremitiesBetween(ctx, w.room, lowest, highest, maxGaps)
	if err != nil || len(gaps) == 0 {
		return false, noHole, err
	}
	if w.asked >= maxRemoteAsks {
		return false, gaps[0].Depth, nil
	}
	w.asked++
	missing := make([]id.EventID, len(gaps))
	for i, gap := range gaps {
		missing[i] = gap.Missing
	}
	if filled, err = w.r.backfill(ctx, w.room, missing); filled || err != nil {
		return filled, noHole, err
	}
	// Nobody has it: what is below is shown, down to the next hole. No client waits for more in vain.
	w.gaveUp, w.unfilled, w.asked = true, gaps[len(gaps)-1].Depth, maxRemoteAsks
	return w.fill(ctx, rows, short)
}

// Context returns an event with up to limit events around it, half before and half after.
//
// spec:client-server-api#get_matrixclientv3roomsroomidcontexteventid
func (r *Rooms) Context(ctx context.Context, user id.UserID, roomID id.RoomID, eventID id.EventID, limit int, match func(store.EventRow) bool) (Context, error) {
	limit = min(max(limit, 0), r.limits.Page)
	around, err := r.Around(ctx, user, roomID, eventID, limit/2, limit-limit/2, match)
	if wire, ok := errors.AsType[*federation.Error](err); ok && wire.Code == federation.CodeNotFound {
		// Who sees nothing of the room is told that, not that there is no such event.
		if _, denied := r.stateFor(ctx, user, roomID); denied != nil {
			return Context{}, denied
		}
	}
	return around, err
}

// Around is Context with so many events before and after.
func (r *Rooms) Around(ctx context.Context, user id.UserID, roomID id.RoomID, eventID id.EventID, earlier, later int, match func(store.EventRow) bool) (Context, error) {
	row, err := r.Event(ctx, user, roomID, eventID)
	if err != nil {
		return Context{}, err
	}
	s, err := r.sightOf(ctx, user, roomID)
	if err != nil {
		return Context{}, err
	}
	before := walk{
		r: r, sight: s, room: roomID, at: place{row.Topological(), anywhere}, to: place{store.Beginning(), anywhere}, match: match,
		limit: min(max(earlier, 0), r.limits.Page), scan: r.limits.Scan, remote: s.joined,
	}
	after := before
	after.dir, after.to, after.limit, after.remote = store.Forward, place{store.End(), anywhere}, min(max(later, 0), r.limits.Page), false
	after.at.at.Position++ // just behind the event
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
		Start: before.at.point(), End: after.at.point(),
	}
	c.State, _, err = r.store.StateAfter(ctx, last.Event.ID())
	return c, err
}
