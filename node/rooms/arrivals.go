package rooms

import (
	"context"
	"time"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/node/store"
)

// maxArrivals bounds what is remembered of how a room's waiting events came: more don't wait.
const maxArrivals = 20_000

// readArrivals finds out how the events came that were staged before the machine was loaded.
func (a *actor) readArrivals(ctx context.Context, staged []*event.Event) error {
	a.came = nil
	if len(staged) == 0 {
		return nil
	}
	var err error
	a.came, err = a.r.store.StagedArrivals(ctx, a.room)
	return err
}

// arrivals tells how the events of a step's commit came here. What waited came when it was received, whatever it was that
// let it be judged now. Of a joined room's state it isn't kept: it came with the join.
func (a *actor) arrivals(t *task, result room.Result) {
	how, from := a.way(t)
	now := store.Arrival{How: how, From: from, At: time.Now()}
	if how == store.UnknownWay && len(a.came) == 0 {
		return
	}
	note := func(e id.EventID) {
		if earlier, waited := a.came[e]; waited {
			a.filling.arrived(e, earlier)
		} else if how != store.UnknownWay {
			a.filling.arrived(e, now)
		}
	}
	for _, c := range result.Commit.Events {
		if c.Outlier && how == store.Join {
			continue
		}
		note(c.Event.ID())
		delete(a.came, c.Event.ID())
	}
	for _, e := range result.Commit.Stage {
		note(e.ID())
	}
	a.remember(result.Verdicts, now)
}

// remember keeps how those came that wait from now on, and forgets those that were dropped.
func (a *actor) remember(verdicts []room.Verdict, now store.Arrival) {
	for _, v := range verdicts {
		switch {
		case v.Status == room.Dropped:
			delete(a.came, v.EventID)
		case v.Status == room.Waiting && !v.Duplicate && now.How != store.UnknownWay && len(a.came) < maxArrivals:
			if _, known := a.came[v.EventID]; !known {
				if a.came == nil {
					a.came = make(map[id.EventID]store.Arrival)
				}
				a.came[v.EventID] = now
			}
		}
	}
}

// way is how the events of an input come here, and from whom.
func (a *actor) way(t *task) (store.How, id.ServerName) {
	switch in := t.input.(type) {
	case room.Propose:
		return store.Local, ""
	case room.Receive:
		return store.Transaction, in.Origin
	case room.Accept:
		if in.Origin == a.r.self {
			return store.Local, ""
		}
		return store.Handshake, in.Origin
	case room.Adopt, room.Complete, room.Outliers:
		return store.Join, t.from
	case room.Backfill:
		return store.Backfill, in.Origin
	case room.Provide:
		return store.Fetched, in.From
	}
	return store.UnknownWay, ""
}

// origin is who is to blame for an input's events, "" if nobody is.
func (a *actor) origin(t *task) id.ServerName {
	_, from := a.way(t)
	return from
}
