package server

import (
	"container/list"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"hanse/federation/id"
)

// admission bounds the transactions that are worked on at once: more than keep the machine busy would only make each of
// them take longer. What counts is how much is in them, so that many small ones share a write to the disk as well as a few
// large ones do. Some more wait for a moment, the origins in turn; the rest are told to come again, before their body is
// read: those that would wait too long at the pace of late, and those of an origin that has more than its share of the
// queue. A transaction that waits for another server isn't worked on: see Pause.
type admission struct {
	atOnce    int // weight that is worked on at most; the last one let in may go beyond
	queue     int // weight that waits at most; the last one may go beyond
	perOrigin int // transactions of one origin that run, wait or pause

	mu      sync.Mutex
	running int                     // guarded by mu: weight
	waiting int                     // guarded by mu: weight
	origins map[id.ServerName]*line // guarded by mu: those that have transactions here
	turns   list.List               // guarded by mu: of *line, those with transactions that wait; whose turn is next in front

	held atomic.Int64 // transactions that are about to be refused

	pace  float64   // guarded by mu: weight that was done in a second of late, while others waited; 0: not known
	done  int       // guarded by mu: weight done since
	since time.Time // guarded by mu
}

// line is one origin's transactions. All of it is guarded by admission.mu.
type line struct {
	origin  id.ServerName
	count   int           // of those that run, wait or pause
	weight  int           // of those that wait
	waiting list.List     // of *turn, the first in front
	place   *list.Element // in admission.turns; nil: none waits
}

func newAdmission(limits Limits) *admission {
	return &admission{
		atOnce: limits.Transactions, queue: transactionsWaiting * limits.Transactions, perOrigin: transactionsPerOrigin,
		origins: make(map[id.ServerName]*line),
	}
}

// weigh is a transaction's weight by the size of its body.
func (a *admission) weigh(body int64) int {
	return int(min(max(body>>10, 1), int64(a.atOnce)))
}

// hopeless tells whether a transaction is refused before its body is read: there is no room for it now, nor a moment later.
// The moment costs little; those who don't heed a refusal would be back at once without it, and keep the processors busy.
// origin isn't proved yet.
func (a *admission) hopeless(ctx context.Context, origin id.ServerName, weight int) bool {
	if !a.crowded(origin, weight) {
		return false
	}
	defer a.held.Add(-1)
	if a.held.Add(1) > refusalsHeld {
		return true
	}
	moment := time.NewTimer(refusalPause)
	defer moment.Stop()
	select {
	case <-moment.C:
	case <-ctx.Done():
	}
	return a.crowded(origin, weight)
}

// crowded tells whether a transaction would be refused now.
func (a *admission) crowded(origin id.ServerName, weight int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.origins[origin]
	if l == nil {
		l = &line{}
	}
	return !a.hasRoom(l, weight)
}

// hasRoom tells whether one more of an origin may run or wait. Each origin may fill half of what the others leave of the
// queue: so there is always some left for one that has nothing in it. That one's first may go beyond: a large transaction,
// which its server can't make smaller, would else be kept out for as long as others wait. mu is held.
func (a *admission) hasRoom(l *line, weight int) bool {
	if l.count >= a.perOrigin {
		return false
	}
	left := a.bound() - a.waiting
	return a.running < a.room() || l.weight+weight <= left || l.weight == 0 && left > 0
}

// room is how much may be worked on: what is done in time. More would keep a slow machine no busier, and make all of it late. Where
// what is worked on waits for the disk rather than for the processor, more at once makes the pace greater, and room grows with it.
// mu is held.
func (a *admission) room() int {
	return a.inTime(transactionWork, min(transactionsLeast, a.atOnce), a.atOnce)
}

// bound is how much may wait: what has its turn in time. At least as much as is worked on, or the pace would never be
// learned again. mu is held.
func (a *admission) bound() int { return a.inTime(transactionWait, a.room(), a.queue) }

// inTime is the weight that is done in a time at the pace of late, within bounds; the most as long as the pace isn't known. mu is held.
func (a *admission) inTime(time time.Duration, least, most int) int {
	if a.pace == 0 {
		return most
	}
	return int(min(max(a.pace*time.Seconds(), float64(least)), float64(most)))
}

// enter waits for the transaction's turn; nil means that it doesn't come, or not soon.
func (a *admission) enter(ctx context.Context, origin id.ServerName, weight int) *turn {
	t := a.arrive(origin, weight)
	if t == nil || t.place == nil {
		return t
	}
	patience := time.NewTimer(transactionPatience)
	defer patience.Stop()
	select {
	case <-t.called:
		return t
	case <-ctx.Done():
	case <-patience.C:
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-t.called: // just now
		return t
	default:
	}
	a.take(t)
	a.forget(t.line)
	return nil
}

// arrive gives a transaction its turn, or a place in its origin's line, or nothing.
func (a *admission) arrive(origin id.ServerName, weight int) *turn {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.origins[origin]
	if l == nil {
		l = &line{origin: origin}
	}
	if !a.hasRoom(l, weight) {
		return nil
	}
	a.origins[origin] = l
	l.count++
	t := &turn{of: a, line: l, weight: weight}
	if a.running < a.room() {
		a.running += weight
		return t
	}
	if a.waiting == 0 {
		a.done, a.since = 0, time.Now()
	}
	t.called, t.place = make(chan struct{}), l.waiting.PushBack(t)
	a.waiting += weight
	l.weight += weight
	if l.place == nil {
		l.place = a.turns.PushBack(l)
	}
	return t
}

// take takes a transaction out of its line. mu is held.
func (a *admission) take(t *turn) {
	l := t.line
	l.waiting.Remove(t.place)
	l.weight -= t.weight
	a.waiting -= t.weight
	if l.waiting.Len() == 0 {
		a.turns.Remove(l.place)
		l.place = nil
	}
}

// next lets those in for whom there is room now that a weight is gone, one of each origin in turn. mu is held.
func (a *admission) next(gone int) {
	a.running -= gone
	for a.running < a.room() && a.turns.Len() > 0 {
		l := a.turns.Front().Value.(*line)
		a.turns.MoveToBack(l.place)
		t := l.waiting.Front().Value.(*turn)
		a.take(t)
		a.running += t.weight
		close(t.called)
	}
}

// learn notes that a weight was done. mu is held.
func (a *admission) learn(weight int) {
	if a.waiting == 0 {
		return // it could have been more
	}
	a.done += weight
	took := time.Since(a.since)
	if took < paceTime {
		return
	}
	if now := float64(a.done) / took.Seconds(); a.pace == 0 {
		a.pace = now
	} else {
		a.pace = (a.pace + now) / 2
	}
	a.done, a.since = 0, time.Now()
}

// forget counts a transaction of an origin less. mu is held.
func (a *admission) forget(l *line) {
	if l.count--; l.count == 0 {
		delete(a.origins, l.origin)
	}
}

// turn is a transaction that was let in, or waits for it.
type turn struct {
	of     *admission
	line   *line
	weight int
	called chan struct{} // closed when its turn has come; nil if it never waited
	place  *list.Element // in line.waiting, once; nil if it never waited
	paused int           // guarded by of.mu
}

// leave ends the turn.
func (t *turn) leave() {
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	t.of.learn(t.weight)
	if t.paused == 0 {
		t.of.next(t.weight)
	}
	t.paused = -1
	t.of.forget(t.line)
}

// pause lets others in until resume, which doesn't wait: the transaction has waited already.
func (t *turn) pause() (resume func()) {
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	if t.paused < 0 {
		return func() {} // its peer has gone, it goes on uncounted
	}
	if t.paused++; t.paused == 1 {
		t.of.next(t.weight)
	}
	return func() {
		t.of.mu.Lock()
		defer t.of.mu.Unlock()
		if t.paused < 0 {
			return
		}
		if t.paused--; t.paused == 0 {
			t.of.running += t.weight
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
