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
	d := dating{r: r, req: req, visible: func(ctx context.Context, rows []store.EventRow) ([]store.EventRow, error) {
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
	d := dating{r: r, req: req, visible: func(ctx context.Context, rows []store.EventRow) ([]store.EventRow, error) {
		shown, err := r.shownToServer(ctx, origin, rows)
		if err != nil {
			return nil, err
		}
		var kept []store.EventRow
		for i, row := range rows {
			if !shown[i].IsRedacted() || row.RedactedBy != "" {
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
	below, _, err := d.r.store.Page(ctx, d.req.RoomID, place, store.Backward, dateWindow, store.Topological{})
	if err != nil {
		return found, false, err
	}
	above, _, err := d.r.store.Page(ctx, d.req.RoomID, place, store.Forward, dateWindow, store.Topological{})
	if err != nil {
		return found, false, err
	}
	rows, err := d.visible(ctx, slices.DeleteFunc(slices.Concat(below, above), func(row store.EventRow) bool { return row.Status != room.Accepted }))
	if err != nil {
		return found, false, err
	}
	for _, row := range rows {
		if e := (dated{EventID: row.Event.ID(), OriginServerTS: row.Event.OriginServerTS()}); d.closer(e, found) {
			found = e
		}
	}
	lowest, highest := int64(math.MinInt64), int64(math.MaxInt64)
	if len(below) > 0 {
		lowest = below[0].Event.Depth()
	}
	if len(above) > 0 {
		highest = above[0].Event.Depth()
	}
	gaps, err := d.r.store.BackwardExtremities(ctx, d.req.RoomID, maxGaps)
	return found, slices.ContainsFunc(gaps, func(g store.Gap) bool { return g.Depth > lowest && g.Depth <= highest }), err
}

// place is just below the first event, in the order of depth, that is not older than the time; one far from it if times
// don't grow with the depth at all.
func (d *dating) place(ctx context.Context) (store.Topological, error) {
	info, ok, err := d.r.store.Room(ctx, d.req.RoomID)
	if err != nil || !ok {
		return store.Topological{}, err
	}
	beneath := func(depth int64) store.Topological {
		return store.Topological{Depth: depth - 1, Position: math.MaxInt64}
	}
	low, high := int64(0), info.Depth+1
	for low < high {
		middle := low + (high-low)/2
		rows, _, err := d.r.store.Page(ctx, d.req.RoomID, beneath(middle), store.Forward, 1, store.Topological{})
		switch {
		case err != nil:
			return store.Topological{}, err
		case len(rows) == 0 || rows[0].Event.OriginServerTS() >= d.req.TS:
			high = middle
		default:
			low = max(middle+1, rows[0].Event.Depth()+1)
		}
	}
	return beneath(low), nil
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
