package rooms

import (
	"context"
	"fmt"
	"math"
	"slices"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/node/store"
)

const (
	// dateWindow is how many events on each side of the place that belongs to a time are looked at: clocks differ, so an
	// event's time and its depth don't always go together.
	dateWindow = 100
	// dateProbe is how many events tell whether a place is before or after a time.
	dateProbe = 15
	// datePages is how many more such windows are looked at for another server. Users of ours have as many as Limits.Scan lets.
	datePages = 5
	// dateServers is how many servers are asked for an event closer than ours.
	dateServers = 3
	// dateBackfills is how many pages of history are fetched to get at such an event.
	dateBackfills = 5
)

// TimestampToEvent gives the event, visible to the user, that is closest to a time: the first at or after it or, going
// back, the last at or before it. Where our history has a hole at that time, other servers are asked.
//
// spec:client-server-api#get_matrixclientv1roomsroomidtimestamp_to_event
func (r *Rooms) TimestampToEvent(ctx context.Context, user id.UserID, req federation.TimestampRequest) (federation.TimestampResponse, error) {
	s, err := r.sightOf(ctx, user, req.RoomID)
	if err != nil {
		return federation.TimestampResponse{}, err
	}
	if _, err := r.stateFor(ctx, user, req.RoomID); err != nil {
		return federation.TimestampResponse{}, err
	}
	d := dating{r: r, req: req, pages: r.limits.Scan / dateWindow, visible: func(ctx context.Context, rows []store.EventRow) ([]store.EventRow, error) {
		return r.visible(ctx, s, rows)
	}}
	found, hole, err := d.search(ctx)
	if err != nil {
		return federation.TimestampResponse{}, err
	}
	if hole && s.joined {
		if found, err = d.elsewhere(ctx, found); err != nil {
			return federation.TimestampResponse{}, err
		}
	}
	return d.answer(found)
}

// ServerTimestampToEvent answers /timestamp_to_event from what we have.
//
// spec:server-server-api#get_matrixfederationv1timestamp_to_eventroomid
func (r *Rooms) ServerTimestampToEvent(ctx context.Context, origin id.ServerName, req federation.TimestampRequest) (federation.TimestampResponse, error) {
	if err := r.mayRead(ctx, origin, req.RoomID); err != nil {
		return federation.TimestampResponse{}, err
	}
	d := dating{r: r, req: req, pages: datePages, visible: func(ctx context.Context, rows []store.EventRow) ([]store.EventRow, error) {
		hidden, err := r.hiddenFrom(ctx, origin, rows)
		if err != nil {
			return nil, err
		}
		var kept []store.EventRow
		for i, row := range rows {
			if !hidden[i] {
				kept = append(kept, row)
			}
		}
		return kept, nil
	}}
	found, _, err := d.search(ctx)
	if err != nil {
		return federation.TimestampResponse{}, err
	}
	return d.answer(found)
}

// dating is the search for the event of a time.
type dating struct {
	r       *Rooms
	req     federation.TimestampRequest
	pages   int // looked at beyond the window, at most
	visible func(context.Context, []store.EventRow) ([]store.EventRow, error)
}

// dated is an event and its time; the zero value is none.
type dated = federation.TimestampResponse

// search finds the event among those that we have, and says whether history is missing where it was found. Events are
// kept in the order of their depth, in which times mostly grow: the place is found by halving, the event around it.
func (d *dating) search(ctx context.Context) (found dated, hole bool, err error) {
	place, err := d.place(ctx)
	if err != nil {
		return found, false, err
	}
	above, upper, err := d.r.store.Page(ctx, d.req.RoomID, place, store.Forward, dateWindow, store.Topological{})
	if err != nil {
		return found, false, err
	}
	if place.Position < math.MaxInt64 {
		place.Position++ // pages begin beyond a place, and at the place itself may be an event
	}
	below, lower, err := d.r.store.Page(ctx, d.req.RoomID, place, store.Backward, dateWindow, store.Topological{})
	if err != nil {
		return found, false, err
	}
	around := slices.Clone(below)
	slices.Reverse(around)
	around = append(around, above...)
	if !d.req.Forward {
		slices.Reverse(around)
	}
	if found, err = d.closest(ctx, around); err != nil {
		return found, false, err
	}
	if found.EventID == "" {
		found, err = d.beyond(ctx, lower, upper)
		if err != nil {
			return found, false, err
		}
	}
	lowest, highest := int64(math.MinInt64), int64(math.MaxInt64)
	if len(below) > 0 {
		lowest = below[0].Event.Depth() + 1
	}
	if len(above) > 0 {
		highest = above[0].Event.Depth()
	}
	gaps, err := d.r.store.BackwardExtremitiesBetween(ctx, d.req.RoomID, lowest, highest, 1)
	return found, len(gaps) > 0, err
}

// closest is the one of some events, in the direction asked for, that answers the question best: of those of one time the first in that direction.
func (d *dating) closest(ctx context.Context, rows []store.EventRow) (found dated, err error) {
	rows, err = d.visible(ctx, slices.DeleteFunc(rows, func(row store.EventRow) bool { return row.Status != room.Accepted }))
	for _, row := range rows {
		if e := (dated{EventID: row.Event.ID(), OriginServerTS: row.Event.OriginServerTS()}); d.closer(e, found) {
			found = e
		}
	}
	return found, err
}

// beyond goes on from the window, in which there is nothing to be seen, in the direction asked for: who came into the room after the time
// is shown the first that they may see.
func (d *dating) beyond(ctx context.Context, lower, upper store.Topological) (dated, error) {
	at, dir := lower, store.Backward
	if d.req.Forward {
		at, dir = upper, store.Forward
	}
	for range d.pages {
		rows, next, err := d.r.store.Page(ctx, d.req.RoomID, at, dir, dateWindow, store.Topological{})
		if err != nil || len(rows) == 0 {
			return dated{}, err
		}
		found, err := d.closest(ctx, rows)
		if err != nil || found.EventID != "" {
			return found, err
		}
		at = next
	}
	return dated{}, nil
}

// place is where, in the order of depth, the events older than the time end: the first place behind which most of the next events
// aren't older. Where times don't grow with the depth at all it may be anywhere.
func (d *dating) place(ctx context.Context) (store.Topological, error) {
	edge := func(from store.Topological, dir store.Direction, to store.Topological) (store.EventRow, bool, error) {
		rows, _, err := d.r.store.Page(ctx, d.req.RoomID, from, dir, 1, to)
		if err != nil || len(rows) == 0 {
			return store.EventRow{}, false, err
		}
		return rows[0], true, nil
	}
	deepest, ok, err := edge(behind(math.MaxInt64), store.Backward, store.Topological{})
	if err != nil || !ok {
		return store.Topological{}, err
	}
	depth, err := halve(-1, deepest.Event.Depth()-1, func(depth int64) (bool, error) { return d.past(ctx, behind(depth)) })
	if err != nil || depth < 0 {
		return behind(depth), err
	}
	// The place is among the events of this depth: the whole rest of a room, where one has claimed the greatest depth there is.
	first, ok, err := edge(behind(depth-1), store.Forward, behind(depth))
	if err != nil || !ok {
		return behind(depth), err
	}
	last, _, err := edge(behind(depth), store.Backward, behind(depth-1))
	if err != nil {
		return behind(depth), err
	}
	position, err := halve(int64(first.Position)-1, int64(last.Position)-1, func(position int64) (bool, error) {
		return d.past(ctx, store.Topological{Depth: depth, Position: store.Position(position)})
	})
	return store.Topological{Depth: depth, Position: store.Position(position)}, err
}

// behind is the place behind all events of a depth.
func behind(depth int64) store.Topological {
	return store.Topological{Depth: depth, Position: math.MaxInt64}
}

// past tells whether the time is further up than a place: most of the next events there are older. One alone may have been sent by
// a server whose clock is wrong.
func (d *dating) past(ctx context.Context, place store.Topological) (bool, error) {
	rows, _, err := d.r.store.Page(ctx, d.req.RoomID, place, store.Forward, dateProbe, store.Topological{})
	older := 0
	for _, row := range rows {
		if row.Event.OriginServerTS() < d.req.TS {
			older++
		}
	}
	return 2*older > len(rows), err
}

// halve finds the first number from low to high that isn't past, high + 1 if all are.
func halve(low, high int64, past func(int64) (bool, error)) (int64, error) {
	for low <= high {
		middle := low + (high-low)/2
		switch further, err := past(middle); {
		case err != nil:
			return 0, err
		case further:
			low = middle + 1
		default:
			high = middle - 1
		}
	}
	return low, nil
}

// closer tells whether an event answers the question better than another one.
func (d *dating) closer(e, than dated) bool {
	if d.req.Forward {
		return e.OriginServerTS >= d.req.TS && (than.EventID == "" || e.OriginServerTS < than.OriginServerTS)
	}
	return e.OriginServerTS <= d.req.TS && (than.EventID == "" || e.OriginServerTS > than.OriginServerTS)
}

// elsewhere asks other servers for a closer event than the one found, and fetches the history down to it, so that the
// client can go on from there. That none answers is no error.
func (d *dating) elsewhere(ctx context.Context, found dated) (dated, error) {
	ctx, cancel := context.WithTimeout(ctx, backfillTime)
	defer cancel()
	joined, err := d.r.store.ServersIn(ctx, d.req.RoomID)
	if err != nil {
		return found, err
	}
	delete(joined, d.r.self)
	servers := byUsers(joined)
	for _, server := range servers[:min(len(servers), dateServers)] {
		answer, err := d.r.cfg.Client.TimestampToEvent(ctx, server, d.req)
		if err != nil || !d.closer(answer, found) {
			continue
		}
		if err := d.reach(ctx, answer.EventID); err != nil {
			return found, err
		}
		if again, _, err := d.search(ctx); err == nil && again.EventID != "" && !d.closer(answer, again) {
			return again, nil
		}
		return answer, nil
	}
	return found, nil
}

// reach fetches history until an event is there, within bounds.
func (d *dating) reach(ctx context.Context, eventID id.EventID) error {
	for range dateBackfills {
		if missing, err := d.r.unplaced(ctx, []id.EventID{eventID}); err != nil || len(missing) == 0 {
			return err
		}
		gaps, err := d.r.store.BackwardExtremities(ctx, d.req.RoomID, maxGaps)
		if err != nil || len(gaps) == 0 {
			return err
		}
		missing := make([]id.EventID, len(gaps))
		for i, gap := range gaps {
			missing[i] = gap.Missing
		}
		if came, err := d.r.backfill(ctx, d.req.RoomID, missing); err != nil || !came {
			return err
		}
	}
	return nil
}

func (d *dating) answer(found dated) (federation.TimestampResponse, error) {
	if found.EventID != "" {
		return found, nil
	}
	dir := "backward"
	if d.req.Forward {
		dir = "forward"
	}
	return found, federation.NotFound(fmt.Sprintf("unable to find an event from %d in %s direction", d.req.TS, dir))
}
