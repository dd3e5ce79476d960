package rooms

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"hanse/federation/client"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/node/store"
)

// A room that was joined without all of its members (room.PartialState) gets its whole state in the background: from the server that
// it was joined through, or any other that is in it. What one gave stays, should it die half-way; the next is asked for the rest.

const (
	// wholeAtOnce is how many rooms get their whole state at a time: each may hold a state's JSON in memory.
	wholeAtOnce = 4
	// wholeServers is how many servers are asked in one round.
	wholeServers = 10
	// strictRounds is after how many rounds an answer that differs from what we joined with is taken though others were not to be reached.
	strictRounds = 4
	// lostRounds is after how many rounds, some ten minutes, nobody is thought to have the state any more, though some were not to be reached.
	lostRounds = 8
	// wholePause is the pause after the first round without success; it doubles with each, up to wholePauseMost.
	wholePause     = 5 * time.Second
	wholePauseMost = 10 * time.Minute
	// fullPause is when users may try again who were refused because too much has happened without the whole state.
	fullPause = 30 * time.Second
	// keysTime is how long the state of a room waits for the keys of servers that can't be reached: one that starts anew is back by then.
	// Events of those that stay away are left out, as at a full join: in a large room there is always one.
	keysTime = 30 * time.Second
)

// gettingWhole is a room that gets its whole state.
type gettingWhole struct {
	began   time.Time
	through id.ServerName // guarded by Rooms.mu: the server to ask first; "": none
	again   bool          // guarded by Rooms.mu: the room was left and joined anew meanwhile
	anew    chan struct{} // capacity 1: again is set, or a server that was out speaks again
	done    chan struct{} // closed in the end
	// out is guarded by Rooms.mu: when servers that were asked in the last round couldn't answer.
	out   map[id.ServerName]time.Time
	pause time.Duration // guarded by Rooms.mu: after that round
}

// Retry says that a server spoke to us, so it is up: rooms whose members it couldn't give are asked for again now, unless it was asked
// just before: one may speak all the time and never be able to answer this.
func (r *Rooms) Retry(server id.ServerName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, g := range r.partial {
		if at, ok := g.out[server]; ok && time.Since(at) >= max(wholePause, g.pause/8) {
			delete(g.out, server)
			g.through = server
			g.wake()
		}
	}
}

// wake ends the pause. The caller holds Rooms.mu.
func (g *gettingWhole) wake() {
	select {
	case g.anew <- struct{}{}:
	default:
	}
}

// getWhole starts to get the whole state of a room, after some time. through is asked first; it may be "".
func (r *Rooms) getWhole(roomID id.RoomID, through id.ServerName, after time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if g := r.partial[roomID]; g != nil {
		g.through, g.again = through, true
		g.wake()
		return
	}
	g := &gettingWhole{began: time.Now(), through: through, anew: make(chan struct{}, 1), done: make(chan struct{})}
	started := r.startLocked(func(ctx context.Context) {
		select {
		case <-time.After(after):
		case <-ctx.Done():
		}
		for again := true; again; again = r.ended(ctx, roomID, g) {
			r.makeWhole(ctx, roomID, g)
		}
	})
	if started {
		r.partial[roomID] = g
	}
}

// ended takes a room out whose state is whole, unless it was joined anew.
func (r *Rooms) ended(ctx context.Context, roomID id.RoomID, g *gettingWhole) (again bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if g.again && ctx.Err() == nil {
		g.again = false
		return true
	}
	delete(r.partial, roomID)
	close(g.done)
	return false
}

// getAllWhole goes on, after a start, with what was under way: when this server answers, since those that are asked may ask for its keys.
func (r *Rooms) getAllWhole(ctx context.Context) {
	var list []store.PartialRoom
	if !r.untilRead(ctx, "can't read which rooms lack members; they lack them until it can be read", func() (err error) {
		list, err = r.store.PartialRooms(ctx)
		return err
	}) {
		return
	}
	for _, p := range list {
		r.getWhole(p.RoomID, "", r.limits.CatchUpAfter)
	}
}

// awaitWhole waits until the room's state is whole, for at most the given time, or so long since it is being got; it reports whether it is.
func (r *Rooms) awaitWhole(ctx context.Context, roomID id.RoomID, most time.Duration, fromBegin bool) (bool, error) {
	r.mu.Lock()
	g := r.partial[roomID]
	r.mu.Unlock()
	if g != nil {
		if fromBegin {
			most -= time.Since(g.began)
		}
		timer := time.NewTimer(most)
		defer timer.Stop()
		select {
		case <-g.done:
		case <-timer.C:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	info, _, err := r.store.Room(ctx, roomID)
	return !info.Partial, err
}

// makeWhole asks servers until one gives the state, or nobody needs it any more. At first an answer must be what the room was joined with,
// and lack nothing; if no server has such a one, any that lets us in is taken.
func (r *Rooms) makeWhole(ctx context.Context, roomID id.RoomID, g *gettingWhole) {
	var p store.PartialRoom
	var partial bool
	r.untilRead(ctx, "can't read whether a room lacks members; it lacks them until it can be read", func() (err error) {
		p, partial, err = r.store.PartialRoom(ctx, roomID)
		return err
	})
	if !partial {
		return
	}
	began := time.Now()
	w := whole{r: r, partial: p, strict: true, unsigned: make(map[id.EventID]json.RawMessage)}
	round := 0
	for pause := wholePause; ; pause = min(2*pause, wholePauseMost) {
		round++
		r.mu.Lock()
		through := g.through
		g.out, g.pause = make(map[id.ServerName]time.Time), pause
		r.mu.Unlock()
		servers, err := r.holders(ctx, p.RoomID, through)
		if err != nil && ctx.Err() == nil {
			r.log.Error("can't read which servers have the members of a room", "room", p.RoomID, "error", err)
		}
		servers = inRound(servers, round)
		unfit, refused, over := w.askEach(ctx, g, servers, began)
		if over {
			return
		}
		if w.strict && unfit > 0 && (unfit == len(servers) || round >= strictRounds) {
			w.strict = false // nobody's is better: at once
			continue
		}
		if (round > 1 && refused == len(servers) || round >= lostRounds) && r.standIn(ctx, p) {
			return
		}
		select {
		case <-time.After(pause):
		case <-g.anew:
		case <-ctx.Done():
			return
		}
	}
}

// askEach asks servers one after the other. It tells how many gave a state that won't do, how many refused, and whether it is over: the
// state is there, or nobody needs it any more.
func (w *whole) askEach(ctx context.Context, g *gettingWhole, servers []id.ServerName, began time.Time) (unfit, refused int, over bool) {
	r, roomID := w.r, w.partial.RoomID
	for _, server := range servers {
		with := *w
		with.server, with.keys = server, time.Since(began) < keysTime
		err := with.get(ctx)
		switch {
		case err == nil:
			r.log.Info("a room that was joined without its members has them", "room", roomID, "server", server, "took", time.Since(began))
			return unfit, refused, true
		case errors.Is(err, errWhole) || ctx.Err() != nil:
			return unfit, refused, true
		}
		if _, ok := errors.AsType[*unfitState](err); ok {
			unfit++
		}
		if failed, ok := errors.AsType[*client.Error](err); ok && (failed.Unreachable() || failed.Status >= 500) {
			r.mu.Lock()
			g.out[server] = time.Now()
			r.mu.Unlock()
		} else if ok {
			refused++
		}
		r.log.Info("a server did not give the members of a room", "room", roomID, "server", server, "error", err)
		if errors.Is(err, errKeys) {
			break // the others' copies are no better
		}
	}
	return unfit, refused, false
}

// standIn has a room that was left before its state was whole, and joined again, do without the state before the first join: see
// [room.Complete]. It reports whether that could be done.
func (r *Rooms) standIn(ctx context.Context, p store.PartialRoom) bool {
	result, err := r.step(ctx, p.RoomID, room.Complete{Join: p.Join, Lost: true}, store.CommitOptions{})
	v, ok := result.Verdict(p.Join)
	if err != nil || !ok || v.Status != room.Accepted {
		return false
	}
	r.log.Info("nobody has the members of a room from before it was left any more; those of the second join stand in", "room", p.RoomID)
	return true
}

// inRound are the servers to ask in a round, counted from 1: the first one always, of the others the next ones each time.
func inRound(servers []id.ServerName, round int) []id.ServerName {
	if len(servers) <= wholeServers {
		return servers
	}
	others := servers[1:]
	from := (round - 1) * (wholeServers - 1) % len(others)
	turned := slices.Concat(others[from:], others[:from])
	return slices.Concat(servers[:1], turned[:wholeServers-1])
}

// holders are the servers to ask for a room's state: the one it was joined through first, then those with most users that we know of.
func (r *Rooms) holders(ctx context.Context, roomID id.RoomID, first id.ServerName) ([]id.ServerName, error) {
	known, err := r.store.ServersIn(ctx, roomID)
	delete(known, r.self)
	delete(known, first)
	list := byUsers(known)
	if first != "" && first != r.self {
		list = slices.Insert(list, 0, first)
	}
	return list, err
}
