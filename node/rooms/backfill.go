package rooms

import (
	"context"
	"fmt"
	"time"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/keys"
)

const (
	// maxGaps bounds the backward extremities looked at for one page, and those asked for at once.
	maxGaps = 20
	// backfillServers is how many servers are asked for history before a page goes out without it.
	backfillServers = 3
	// backfillTime bounds how long a client's page waits for other servers' history.
	backfillTime = 20 * time.Second
)

// backfill asks other servers for history that we lack: the missing events and those before them. It reports whether
// anything came. That no server answers is no error: the history just ends here, for now. Several askers of the same
// history share one request, which goes on if ctx ends.
//
// spec:server-server-api#backfilling-and-retrieving-missing-events
func (r *Rooms) backfill(ctx context.Context, roomID id.RoomID, missing []id.EventID) (bool, error) {
	missing = missing[:min(len(missing), maxGaps)]
	err := r.detached(ctx, fmt.Sprintf("backfill %s %s", roomID, missing[0]), func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, backfillTime)
		defer cancel()
		return r.askHistory(ctx, roomID, missing)
	})
	if err != nil {
		r.log.Info("history could not be had from other servers", "room", roomID, "error", err)
		return false, ctx.Err()
	}
	return true, nil
}

// askHistory asks the servers of the room in turn until one gives events of which some can be used.
func (r *Rooms) askHistory(ctx context.Context, roomID id.RoomID, missing []id.EventID) error {
	info, ok, err := r.store.Room(ctx, roomID)
	if err != nil {
		return err
	}
	if !ok {
		return errUnknownRoom(roomID)
	}
	joined, err := r.store.ServersIn(ctx, roomID)
	if err != nil {
		return err
	}
	delete(joined, r.self)
	servers := byUsers(joined)
	servers = r.hung.last(servers[:min(len(servers), backfillServers)]) // who hangs is asked too: it may be the only one that has them
	last := fmt.Errorf("no other server is in the room")
	for i, server := range servers {
		asking, end := share(ctx, i < len(servers)-1)
		began := time.Now()
		raws, err := r.cfg.Client.Backfill(asking, server, roomID, r.limits.Backfill, missing)
		r.hung.asked(asking, server, began, err)
		end()
		if err != nil {
			last = err
			continue
		}
		events := r.verified(keys.GivenBy(ctx, server), info.Rules, roomID, raws)
		if len(events) == 0 {
			last = fmt.Errorf("%s gave %d events, none of them usable", server, len(raws))
			continue
		}
		// The page is read again when the events have their place, fetches of state included.
		result, err := r.ask(ctx, roomID, &task{input: room.Backfill{Origin: server, Events: events}, settle: true})
		if err != nil {
			return err
		}
		if used(result, events) {
			return nil
		}
		last = fmt.Errorf("the events that %s gave have no place here", server)
	}
	return last
}

// used tells whether any of the events has got its place in the room by this. Some may have been known before without
// one, as state.
func used(result room.Result, events []*event.Event) bool {
	of := make(map[id.EventID]bool, len(events))
	for _, e := range events {
		of[e.ID()] = true
	}
	for _, v := range result.Verdicts {
		if of[v.EventID] && !v.Duplicate && (v.Status == room.Accepted || v.Status == room.SoftFailed || v.Status == room.Rejected) {
			return true
		}
	}
	return false
}
