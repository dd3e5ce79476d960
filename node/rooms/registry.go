package rooms

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/node/store"
)

// step has the room's machine take an input and returns what it decided, once that is on disk.
func (r *Rooms) step(ctx context.Context, roomID id.RoomID, in room.Input, opts store.CommitOptions) (room.Result, error) {
	return r.ask(ctx, roomID, &task{input: in, opts: opts})
}

// look has f read the room's machine in the room's turn. f must not keep the machine or the source.
func (r *Rooms) look(ctx context.Context, roomID id.RoomID, f func(*room.Machine, room.Source) error) error {
	_, err := r.ask(ctx, roomID, &task{look: f})
	return err
}

// ask queues a task and waits for its answer. If ctx ends first the task is done all the same.
func (r *Rooms) ask(ctx context.Context, roomID id.RoomID, t *task) (room.Result, error) {
	t.answer = make(chan answer, 1)
	if err := r.enqueue(roomID, t, r.limits.Mailbox); err != nil {
		return room.Result{}, err
	}
	return t.await(ctx)
}

// askAll queues a task in each of several rooms and waits for all answers. None of the rooms begins before all have their task:
// that their commits will come is then known before the first of them does, and they share a transaction. The error is the first
// of any room; the others have been asked all the same.
func (r *Rooms) askAll(ctx context.Context, roomIDs []id.RoomID, tasks []*task) ([]room.Result, error) {
	errs := make([]error, len(tasks))
	r.mu.Lock()
	for i, t := range tasks {
		t.answer = make(chan answer, 1)
		errs[i] = r.enqueueLocked(roomIDs[i], t, r.limits.Mailbox)
	}
	r.mu.Unlock()
	results := make([]room.Result, len(tasks))
	for i, t := range tasks {
		if errs[i] == nil {
			results[i], errs[i] = t.await(ctx)
		}
	}
	return results, cmp.Or(errs...)
}

// await waits for the task's answer.
func (t *task) await(ctx context.Context) (room.Result, error) {
	select {
	case a := <-t.answer:
		return a.result, a.err
	case <-ctx.Done():
		return room.Result{}, ctx.Err()
	}
}

// enqueue hands a task to the room's actor, which is made if there is none.
func (r *Rooms) enqueue(roomID id.RoomID, t *task, bound int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.enqueueLocked(roomID, t, bound)
}

func (r *Rooms) enqueueLocked(roomID id.RoomID, t *task, bound int) error {
	a := r.actors[roomID]
	if a == nil {
		a = newActor(r, roomID)
		if !r.startLocked(a.run) {
			return ErrStopped
		}
		r.actors[roomID] = a
		a.place = r.quiet.PushBack(a)
		r.shedLocked()
	}
	if len(a.queue) >= bound {
		return errBusy()
	}
	if r.stopped {
		return ErrStopped
	}
	a.queue = append(a.queue, t)
	a.retiring = false
	if a.announced == nil && !a.committing {
		a.announced = r.store.Announce()
	}
	r.quiet.MoveToBack(a.place)
	a.poke()
	return nil
}

// shedLocked tells the rooms used longest ago to leave memory while too many are loaded.
func (r *Rooms) shedLocked() {
	excess := r.quiet.Len() - r.limits.Loaded
	for e := r.quiet.Front(); e != nil && excess > 0; e = e.Next() {
		a := e.Value.(*actor)
		a.retiring = true
		a.poke()
		excess--
	}
}

// take gives the actor up to n of its queued tasks, and says whether there are more. With them comes the announcement of
// their commit, which the actor has to answer for; nil if there is none.
func (r *Rooms) take(a *actor, n int) (tasks []*task, more bool, announced func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	announced, a.announced = a.announced, nil
	n = min(max(n, 0), len(a.queue))
	tasks = a.queue[:n:n]
	if a.queue = a.queue[n:]; len(a.queue) == 0 {
		a.queue = nil
	}
	return tasks, len(a.queue) > 0, announced
}

// setCommitting notes whether a commit of the actor's is on its way. What was queued since the actor took its tasks isn't
// announced any more then: the writer would wait for it in vain.
func (r *Rooms) setCommitting(a *actor, committing bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a.committing = committing
	if committing && a.announced != nil {
		a.announced()
		a.announced = nil
	}
}

// retire removes an actor that has nothing to do; false if it has. An actor that waits for a fetch stays: its machine
// expects the answer.
func (r *Rooms) retire(a *actor) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(a.queue) > 0 || a.fetching > 0 || a.flying != nil || !a.filling.idle() || len(a.unsettled) > 0 {
		return false
	}
	delete(r.actors, a.room)
	r.quiet.Remove(a.place)
	return true
}

// told says whether the actor was told to retire.
func (r *Rooms) told(a *actor) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return a.retiring
}

// addFetching counts the actor's running fetches.
func (r *Rooms) addFetching(a *actor, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a.fetching += n
}

// close takes the actor out of the registry for good, and all that is queued with it.
func (r *Rooms) close(a *actor) []*task {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.actors[a.room] == a {
		delete(r.actors, a.room)
		r.quiet.Remove(a.place)
	}
	tasks := a.queue
	a.queue = nil
	if a.announced != nil {
		a.announced()
		a.announced = nil
	}
	return tasks
}

// Loaded is the number of rooms in memory.
func (r *Rooms) Loaded() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.actors)
}

// errBusy: the room has more to do than it can, now.
func errBusy() error { return federation.LimitExceeded(time.Second) }

// errUnknownRoom: this server has no state of the room.
func errUnknownRoom(roomID id.RoomID) error {
	return federation.NotFound(fmt.Sprintf("this server does not know the room %s", roomID))
}

// keyedLock is a lock a key, made when needed. Its zero value is ready.
type keyedLock struct {
	mu    sync.Mutex
	locks map[id.RoomID]*keyedEntry // guarded by mu
}

type keyedEntry struct {
	token chan struct{} // capacity 1: full = locked
	users int           // guarded by keyedLock.mu
}

// idle waits until nobody holds the key's lock, or for ctx's end. It reports whether there was anything to wait for.
func (k *keyedLock) idle(ctx context.Context, key id.RoomID) bool {
	k.mu.Lock()
	held := k.locks[key] != nil
	k.mu.Unlock()
	if !held {
		return false
	}
	unlock, err := k.lock(ctx, key)
	if err == nil {
		unlock()
	}
	return true
}

// lock waits for the key's lock, or for ctx's end.
func (k *keyedLock) lock(ctx context.Context, key id.RoomID) (unlock func(), err error) {
	k.mu.Lock()
	if k.locks == nil {
		k.locks = make(map[id.RoomID]*keyedEntry)
	}
	e := k.locks[key]
	if e == nil {
		e = &keyedEntry{token: make(chan struct{}, 1)}
		k.locks[key] = e
	}
	e.users++
	k.mu.Unlock()
	leave := func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if e.users--; e.users == 0 {
			delete(k.locks, key)
		}
	}
	select {
	case e.token <- struct{}{}:
		return func() { <-e.token; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
