package users

import (
	"context"
	"slices"
	"sync"
	"time"
)

// turns lets so many at once compute; the others wait, for a bounded time, and have their turns in the order in which they came. When
// more come than can be served in time, who came last is next: some go away unserved whatever the order is, and in the order in
// which they came, those who are served would have waited for nearly as long as anybody may. Safe for concurrent use.
type turns struct {
	mu      sync.Mutex
	free    int      // guarded by mu
	waiting []waiter // guarded by mu; who came last stands last
}

type waiter struct {
	turn  chan struct{} // closed when it is
	since time.Time
}

// take waits for a turn; give must follow unless there is an error: errBusy for too many who wait, or too long a wait.
func (t *turns) take(ctx context.Context) error {
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return nil
	}
	if len(t.waiting) >= maxHashQueue {
		t.mu.Unlock()
		return errBusy
	}
	turn := make(chan struct{})
	t.waiting = append(t.waiting, waiter{turn, time.Now()})
	t.mu.Unlock()

	patience := time.NewTimer(maxHashWait)
	defer patience.Stop()
	err := errBusy
	select {
	case <-turn:
		return nil
	case <-patience.C:
	case <-ctx.Done():
		err = ctx.Err()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	at := slices.IndexFunc(t.waiting, func(w waiter) bool { return w.turn == turn })
	if at < 0 {
		return nil // it came in the last moment
	}
	t.waiting = slices.Delete(t.waiting, at, at+1)
	return err
}

// give ends a turn.
func (t *turns) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) == 0 {
		t.free++
		return
	}
	next := 0
	if time.Since(t.waiting[0].since) > maxHashWait/2 {
		next = len(t.waiting) - 1
	}
	close(t.waiting[next].turn)
	t.waiting = slices.Delete(t.waiting, next, next+1)
}
