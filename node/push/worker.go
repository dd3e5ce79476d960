package push

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"hanse/federation/id"
	"hanse/node/store"
)

// worker is one pusher at work. A goroutine is there only while there is something to do. The fields belong to Pushers.mu
// but where something else is said.
type worker struct {
	pushers *Pushers
	key     pusherKey
	user    id.UserID
	stored  store.Pusher
	gone    bool

	busy   bool // the goroutine is there
	again  bool // something came since it last looked
	acted  bool // its user did something since the gateway was told a count
	upto   store.Position
	saved  store.Position // what is stored of upto
	badge  int            // the last count that the gateway was told; -1: it isn't known. Owned by the goroutine
	failed int            // times in a row. Owned by the goroutine
}

// start has a worker look for something to do. The caller holds mu.
func (p *Pushers) start(w *worker, reason why) {
	w.again, w.acted = true, w.acted || reason == acted
	if w.busy || p.ctx == nil || p.ctx.Err() != nil {
		return
	}
	w.busy = true
	p.workers.Add(1)
	go w.work(p.ctx)
}

// work goes on as long as there is something to do.
func (w *worker) work(ctx context.Context) {
	defer w.pushers.workers.Done()
	for w.more(ctx) {
		wait := w.round(ctx)
		if wait == 0 {
			continue
		}
		w.pushers.mu.Lock()
		w.again = true
		w.pushers.mu.Unlock()
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// more tells whether to go on; if not, the worker rests.
func (w *worker) more(ctx context.Context) bool {
	w.pushers.mu.Lock()
	defer w.pushers.mu.Unlock()
	goOn := w.again && !w.gone && ctx.Err() == nil
	w.again, w.busy = false, goOn
	return goOn
}

// round pushes what there is. It gives how long to wait before the next try, 0 if nothing failed.
func (w *worker) round(ctx context.Context) (wait time.Duration) {
	p := w.pushers
	p.mu.Lock()
	after, told := w.upto, w.badge >= 0 || w.acted
	p.mu.Unlock()
	list, upto, count, err := w.look(ctx, after, told)
	if err != nil {
		if ctx.Err() == nil {
			p.log.Warn("what a user is to be notified of can't be read; it is tried again", "user", w.user, "error", err)
		}
		return retryRead
	}
	if len(list) == 0 && !told {
		w.done(upto)
		return 0
	}
	if len(list) > 0 || count != w.badge {
		if err := p.loadUser(ctx, w.user); err != nil { // the device may have gone, and its pushers with it
			return retryRead
		}
	}
	for _, n := range list {
		if wait := w.try(ctx, &n, count); wait > 0 {
			return wait
		}
		w.done(n.Position)
	}
	if len(list) == 0 && count != w.badge {
		if wait := w.try(ctx, nil, count); wait > 0 {
			return wait
		}
	}
	w.badge = count
	p.mu.Lock()
	w.acted = false // what was done meanwhile starts another round, which compares counts
	p.mu.Unlock()
	w.done(upto)
	return 0
}

// look finds out what is to be pushed, up to where that is all, and how much is unread. Where there is nothing, and the gateway isn't to be
// told a count, as after a start, none is made: for all users it would take long.
func (w *worker) look(ctx context.Context, after store.Position, counts bool) (list []Notification, upto store.Position, count int, err error) {
	p := w.pushers
	select {
	case p.looking <- struct{}{}:
	case <-ctx.Done():
		return nil, 0, 0, ctx.Err()
	}
	defer func() { <-p.looking }()
	list, upto, err = p.config.Source.Since(ctx, w.user, after, maxBacklog)
	list = slices.DeleteFunc(list, func(n Notification) bool { return n.Read })
	if err == nil && (len(list) > 0 || counts) {
		count, err = p.config.Source.Total(ctx, w.user)
	}
	return list, upto, count, err
}

func (w *worker) done(upto store.Position) {
	w.pushers.mu.Lock()
	defer w.pushers.mu.Unlock()
	if upto <= w.upto {
		return
	}
	w.upto = upto
	select {
	case w.pushers.moved <- struct{}{}:
	default:
	}
}

// try tells the gateway of an event, or of the count alone. It gives how long to wait before it is tried again; 0: it was
// told, or is given up.
func (w *worker) try(ctx context.Context, n *Notification, count int) (wait time.Duration) {
	p := w.pushers
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return retryRead
	}
	defer func() { <-p.slots }()
	p.mu.Lock()
	stored, gone := w.stored, w.gone
	p.mu.Unlock()
	if gone || p.config.Store.Restrictions(w.user).Locked { // nobody uses a locked account: that it is told late is of no use
		return 0
	}
	rejected, err := p.notify(ctx, stored, n, count)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return retryRead
	}
	if err != nil {
		if w.failed++; w.failed > maxTries {
			p.log.Info("a push gateway does not answer; what it was to be told is dropped", "app", w.key.appID, "error", err)
			w.failed = 0
			return 0
		}
		wait = min(firstRetry<<(w.failed-1), lastRetry)
		p.log.Debug("a push gateway was not told", "app", w.key.appID, "failures", w.failed, "again_in", wait, "error", err)
		return wait/2 + rand.N(wait/2+1)
	}
	w.failed = 0
	if slices.Contains(rejected, w.key.pushKey) {
		p.log.Info("a push gateway rejects a pusher, which is removed", "app", w.key.appID, "user", w.user)
		err := p.config.Store.DeletePusher(ctx, w.user, w.key.appID, w.key.pushKey)
		if err == nil {
			err = p.loadUser(ctx, w.user)
		}
		if err != nil && ctx.Err() == nil {
			p.log.Warn("a rejected pusher was not removed; it is when the gateway rejects it again", "app", w.key.appID, "user", w.user, "error", err)
		}
	}
	return 0
}
