package rooms

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/node/store"
)

// task is one thing to be done in a room's turn, and where its answer goes.
type task struct {
	input  room.Input                             // what the machine is stepped with; nil: only look is done
	opts   store.CommitOptions                    // goes with the commit; a client transaction's EventID is filled in
	look   func(*room.Machine, room.Source) error // reads the machine, before a step; an error ends the task
	fresh  func() *room.Machine                   // makes the machine if the store has none; nil: M_NOT_FOUND
	of     *room.Machine                          // set: the input is meant for this machine only (Provide)
	from   id.ServerName                          // Adopt and what belongs to it: who gave the room
	settle bool                                   // answer when the input's events have been decided, fetches included

	answer chan answer // capacity 1; nil: nobody asks
}

type answer struct {
	result room.Result
	err    error
}

// actor is one loaded room.
type actor struct {
	r    *Rooms
	room id.RoomID
	wake chan struct{} // capacity 1: look at the fields below

	place    *list.Element // guarded by r.mu
	queue    []*task       // guarded by r.mu
	retiring bool          // guarded by r.mu
	fetching int           // guarded by r.mu: fetches running
	// announced tells the store that the commit of what is queued won't come, or has come: guarded by r.mu.
	announced  func()
	committing bool // guarded by r.mu: flying isn't nil; what is queued can't share its transaction and isn't announced

	// Owned by the actor's goroutine (run):
	machine   *room.Machine // nil: not loaded
	flying    *batch        // being committed; nil: nothing is
	filling   *batch        // decided, waits for flying
	spare     *batch        // empty, the next to be filled; nil while there is a flying one
	unsettled []*unsettled  // on disk, but events of theirs still wait for fetches
	done      chan error    // capacity 1: flying's commit has ended

	came map[id.EventID]store.Arrival // owned by the actor: how those came that wait

	mergeAfter time.Time   // owned by the actor: until then its extremities are left alone
	merging    atomic.Bool // a goroutine of bound runs

	made int // how many entries of states were made since they were read; owned by the actor

	resets, merges atomic.Int64 // since it was loaded; see Live
}

func newActor(r *Rooms, roomID id.RoomID) *actor {
	return &actor{r: r, room: roomID, wake: make(chan struct{}, 1), done: make(chan error, 1), filling: newBatch(), spare: newBatch()}
}

// poke wakes the actor.
func (a *actor) poke() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// run is the actor's goroutine: it takes what is queued, steps the machine with it and commits, one commit at a time.
// What is decided while a commit is on its way to the disk shares the next one.
func (a *actor) run(ctx context.Context) {
	idle := time.NewTimer(a.r.limits.Idle)
	defer idle.Stop()
	for {
		quiet := false
		select {
		case <-a.wake:
		case err := <-a.done:
			a.committed(err)
			a.launch(ctx, nil) // the disk has something to do while more is decided
		case <-idle.C:
			quiet = true
		case <-ctx.Done():
			a.end()
			return
		}
		idle.Reset(a.r.limits.Idle)
		tasks, more, announced := a.r.take(a, a.r.limits.Batch-len(a.filling.waiting))
		for _, t := range tasks {
			a.do(ctx, t)
		}
		if launched := a.launch(ctx, announced); !launched && announced != nil {
			announced()
		}
		if more && len(a.filling.waiting) < a.r.limits.Batch {
			a.poke()
		}
		if (quiet || a.r.told(a)) && a.r.retire(a) {
			return
		}
	}
}

// do does one task. Its answer comes with the commit.
func (a *actor) do(ctx context.Context, t *task) {
	if t.of != nil && t.of != a.machine {
		return // the machine that asked is gone; what it waited for is staged
	}
	if apart(t.input) {
		a.flush(ctx)
	}
	if err := a.load(ctx, t); err != nil {
		t.reply(answer{err: err})
		return
	}
	src := a.source(ctx)
	if used, err := a.usedTxn(ctx, t); used || err != nil {
		return
	}
	if t.look != nil {
		if err := t.look(a.machine, src); err != nil || t.input == nil {
			t.reply(answer{err: err})
			return
		}
	}
	result, err := a.step(t.input, src)
	if err != nil {
		a.failed(t, err)
		return
	}
	if a.machine.RoomID() == "" {
		a.machine = nil // the room didn't come to be
	}
	opts, err := a.redactions(ctx, t, result.Commit, src)
	if err != nil {
		a.failed(t, err)
		return
	}
	a.arrivals(t, result)
	a.r.cfg.Judged(a.room, a.origin(t), result.Verdicts)
	a.noteResets(t.input, result.Commit)
	a.merges.Add(merges(result.Commit))
	a.fetch(result.Fetch)
	a.filling.add(t, result, opts)
}

// apart tells whether what was decided before an input must be on disk when it is decided about: because it decides anew what others have
// decided.
func apart(in room.Input) bool {
	switch in.(type) {
	case room.Adopt, room.Complete:
		return true
	}
	return false
}

// step steps the machine. What other servers send must never stop more than their own room: a panic is this step's error.
func (a *actor) step(in room.Input, src room.Source) (result room.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return a.machine.Step(time.Now(), in, src)
}

// failed drops the machine, which can't go on. What it decided before is good and is committed.
func (a *actor) failed(t *task, err error) {
	a.machine = nil
	err = fmt.Errorf("rooms: %s: %w", a.room, err)
	a.abandon(err)
	if !errors.Is(err, context.Canceled) {
		a.r.log.Error("a room could not decide what came, and who sent it was told so; the room is loaded anew", "room", a.room, "error", err)
	}
	t.reply(answer{err: err})
}

// load makes sure that there is a machine. It waits until what the one before decided is on disk.
func (a *actor) load(ctx context.Context, t *task) error {
	if a.machine != nil {
		return nil
	}
	a.flush(ctx)
	snapshot, ok, err := a.r.store.LoadRoom(ctx, a.room)
	switch {
	case err != nil:
		return fmt.Errorf("rooms: load %s: %w", a.room, err)
	case ok:
		if err := a.readArrivals(ctx, snapshot.Staged); err != nil {
			return fmt.Errorf("rooms: load %s: %w", a.room, err)
		}
		a.machine = room.Load(a.r.self, snapshot)
	case t.fresh != nil:
		a.machine = t.fresh()
	default:
		return errUnknownRoom(a.room)
	}
	return nil
}

// usedTxn looks whether the task's client transaction has been done before. Then the task is answered with the event
// that it made then: now if that is on disk, else when it is.
//
// spec:client-server-api#transaction-identifiers
func (a *actor) usedTxn(ctx context.Context, t *task) (bool, error) {
	for _, txn := range t.opts.ClientTxns {
		result := func(eventID id.EventID) room.Result {
			return room.Result{Verdicts: []room.Verdict{{EventID: eventID, Status: room.Accepted, Duplicate: true}}}
		}
		for _, b := range []*batch{a.filling, a.flying} {
			if b == nil {
				continue
			}
			if eventID, ok := b.txns[txnKey(txn)]; ok {
				b.waiting = append(b.waiting, waiting{t, result(eventID)})
				return true, nil
			}
		}
		eventID, ok, err := a.r.store.ClientTxn(ctx, txn.User, txn.Device, txn.Endpoint, txn.TxnID)
		if err != nil {
			t.reply(answer{err: err})
			return false, err
		}
		if ok {
			t.reply(answer{result: result(eventID)})
			return true, nil
		}
	}
	return false, nil
}

// launch sends what is filling on its way, if nothing is. queued goes with it: see store.Announce; it may be nil.
func (a *actor) launch(ctx context.Context, queued func()) (launched bool) {
	if a.flying != nil || a.filling.idle() {
		return false
	}
	a.flying, a.filling, a.spare = a.filling, a.spare, nil
	b := a.flying
	if b.commit.Empty() {
		a.committed(nil)
		return false
	}
	a.r.setCommitting(a, true)
	b.opts.Queued = queued
	inputs := len(b.waiting) // more askers of a client transaction may join them meanwhile
	go func() {              // run, flush and end wait for done before they return
		started := time.Now()
		// A commit is not taken back when the server stops: the store runs longer.
		_, err := a.r.store.Commit(context.WithoutCancel(ctx), b.commit, b.opts)
		a.r.cfg.Observe(inputs, time.Since(started))
		a.done <- err
	}()
	return true
}

// committed answers what waited for the commit.
func (a *actor) committed(err error) {
	b := a.flying
	a.flying = nil
	a.r.setCommitting(a, false)
	if err != nil {
		err = fmt.Errorf("rooms: commit to %s: %w", a.room, err)
		a.r.log.Error("what a room decided could not be stored, and its senders were told so; the room is loaded anew", "room", a.room, "error", err)
		// The machine, and what was decided on top, know what never happened.
		a.machine = nil
		a.abandon(err)
		b.waiting = append(b.waiting, a.filling.waiting...)
		a.filling, a.spare = newBatch(), newBatch()
	} else {
		a.r.cfg.Committed(b.commit)
		if changesGuests(b.commit) {
			a.r.start(func(ctx context.Context) { a.r.tryGuestsLeave(ctx, a.room) })
		}
		a.bound(b.commit)
	}
	for _, w := range b.waiting {
		switch {
		case err != nil:
			w.task.reply(answer{err: err})
		default:
			a.settle(w)
		}
	}
	if err != nil {
		return
	}
	a.reopen(b.commit)
	a.spare = b.emptied()
	if len(b.commit.Send) > 0 && a.r.cfg.Sender != nil {
		runtime.Gosched() // who was answered goes on before what is sent to others begins
		a.wakeSender(b.commit)
	}
}

// reopen has the machine read its states again, if many entries of them are in memory after a commit of some: what changed of the current one,
// and whole ones that other servers gave. What was decided meanwhile may not be stored yet: then the next commit does.
func (a *actor) reopen(c room.Commit) {
	a.made += len(c.Changes)
	for i := range c.Events {
		if c.Events[i].Given {
			a.made += c.Events[i].Before.Len()
		}
	}
	if a.made < a.r.limits.Changes || a.machine == nil {
		return
	}
	ctx := context.Background()
	stored, err := a.r.store.CurrentState(ctx, a.room)
	before := func(e id.EventID) (roomstate.Map, bool, error) { return a.r.store.StateBefore(ctx, e) }
	if err == nil && a.machine.Reopen(stored, before) {
		a.made = 0
	}
}

// wakeSender tells the sender of the destinations that have something new.
func (a *actor) wakeSender(c room.Commit) {
	var last []id.ServerName
	for _, s := range c.Send {
		if len(s.Servers) == 0 || len(s.Servers) == len(last) && &s.Servers[0] == &last[0] { // mostly all go to the same ones
			continue
		}
		last = s.Servers
		a.r.cfg.Sender.Wake(last...)
	}
}

// flush waits until all that was decided is on disk.
func (a *actor) flush(ctx context.Context) {
	for a.flying != nil || !a.filling.idle() {
		if a.launch(ctx, nil); a.flying != nil {
			a.committed(<-a.done)
		}
	}
}

// end finishes what was decided and refuses the rest.
func (a *actor) end() {
	a.flush(context.Background())
	a.abandon(ErrStopped)
	for _, t := range a.r.close(a) {
		t.reply(answer{err: ErrStopped})
	}
}

// reply answers the task.
func (t *task) reply(ans answer) {
	if t.answer != nil {
		t.answer <- ans
	}
}
