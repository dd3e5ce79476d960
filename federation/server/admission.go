package server

import (
	"container/list"
	"context"
	"sync"
	"time"

	"hanse/federation/id"
)

// admission bounds the transactions that are worked on at once: more than keep the machine busy would only make each of
// them take longer. Some more wait for a moment, in their order; the rest are told to come again. A transaction that waits
// for another server isn't worked on: see Pause.
type admission struct {
	atOnce, queue, perOrigin int
	patience                 time.Duration

	mu      sync.Mutex
	running int                   // guarded by mu
	waiting list.List             // guarded by mu: of chan struct{}, closed when its turn has come
	origins map[id.ServerName]int // guarded by mu: transactions that run, wait or pause
}

func newAdmission(limits Limits) *admission {
	return &admission{
		atOnce: limits.Transactions, queue: transactionsWaiting * limits.Transactions, perOrigin: 2 * limits.Transactions,
		patience: transactionPatience, origins: make(map[id.ServerName]int),
	}
}

// crowded tells whether a transaction would be refused now, so that its body need not be read. origin isn't proved yet.
func (a *admission) crowded(origin id.ServerName) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.waiting.Len() >= a.queue || a.origins[origin] >= a.perOrigin
}

// enter waits for the transaction's turn; nil means that it doesn't come, or not soon.
func (a *admission) enter(ctx context.Context, origin id.ServerName) *turn {
	a.mu.Lock()
	if a.origins[origin] >= a.perOrigin || a.running >= a.atOnce && a.waiting.Len() >= a.queue {
		a.mu.Unlock()
		return nil
	}
	a.origins[origin]++
	t := &turn{of: a, origin: origin}
	if a.running < a.atOnce {
		a.running++
		a.mu.Unlock()
		return t
	}
	called := make(chan struct{})
	place := a.waiting.PushBack(called)
	a.mu.Unlock()
	patience := time.NewTimer(a.patience)
	defer patience.Stop()
	select {
	case <-called:
		return t
	case <-ctx.Done():
	case <-patience.C:
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-called: // just now
		return t
	default:
	}
	a.waiting.Remove(place)
	a.forget(origin)
	return nil
}

// next gives a turn that has ended to who waits for longest. mu is held.
func (a *admission) next() {
	if a.running--; a.running >= a.atOnce || a.waiting.Len() == 0 {
		return
	}
	a.running++
	close(a.waiting.Remove(a.waiting.Front()).(chan struct{}))
}

// forget counts a transaction less. mu is held.
func (a *admission) forget(origin id.ServerName) {
	if a.origins[origin]--; a.origins[origin] == 0 {
		delete(a.origins, origin)
	}
}

// turn is a transaction that was let in.
type turn struct {
	of     *admission
	origin id.ServerName
	paused int // guarded by of.mu
}

// leave ends the turn.
func (t *turn) leave() {
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	if t.paused == 0 {
		t.of.next()
	}
	t.paused = -1
	t.of.forget(t.origin)
}

// pause lets another in until resume, which doesn't wait: the transaction has waited already.
func (t *turn) pause() (resume func()) {
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	if t.paused < 0 {
		return func() {} // its peer has gone, it goes on uncounted
	}
	if t.paused++; t.paused == 1 {
		t.of.next()
	}
	return func() {
		t.of.mu.Lock()
		defer t.of.mu.Unlock()
		if t.paused < 0 {
			return
		}
		if t.paused--; t.paused == 0 {
			t.of.running++
		}
	}
}

// turnKey is the key of a context's turn.
type turnKey struct{}

// Pause tells that what ctx is of waits for another server until resume is called: it then doesn't count among the
// transactions that are worked on, and others get their turn. A context that is of no transaction is none's.
func Pause(ctx context.Context) (resume func()) {
	t, ok := ctx.Value(turnKey{}).(*turn)
	if !ok {
		return func() {}
	}
	return t.pause()
}
