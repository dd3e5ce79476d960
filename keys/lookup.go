package keys

import (
	"context"
	"fmt"
	"time"

	"hanse/federation/id"
)

// want is what a batch needs of one server.
type want struct {
	server id.ServerName
	reqs   []*Request
	// patient: we are asked as a notary, by somebody who names the server. A moment until it may be asked again is waited for,
	// once, and one that refuses at once is asked again soon.
	patient bool
}

// wantsOf gathers the requests by server; those that no key can help are left out.
func wantsOf(reqs []Request, now time.Time) []want {
	var wants []want
	index := map[id.ServerName]int{}
	for i := range reqs {
		q := &reqs[i]
		if len(q.usable()) == 0 || q.hopeless(now) {
			continue
		}
		at, ok := index[q.Server]
		if !ok {
			at = len(wants)
			index[q.Server] = at
			wants = append(wants, want{server: q.Server})
		}
		wants[at].reqs = append(wants[at].reqs, q)
	}
	return wants
}

// satisfied tells whether the documents have a usable key for each request.
func (w *want) satisfied(docs []ServerKeys, now time.Time) bool {
	for _, q := range w.reqs {
		if !satisfied(docs, q, now) {
			return false
		}
	}
	return true
}

// itAsks tells whether one of the messages was sent to us by the server itself, just now.
func (w *want) itAsks() bool {
	for _, q := range w.reqs {
		if q.At.IsZero() {
			return true
		}
	}
	return false
}

// hasEvents tells whether an event is among the messages.
func (w *want) hasEvents() bool {
	for _, q := range w.reqs {
		if !q.At.IsZero() {
			return true
		}
	}
	return false
}

// lookup brings what can be brought of the servers' keys.
func (r *Ring) lookup(ctx context.Context, wants []want, now time.Time) map[id.ServerName]found {
	got := make(map[id.ServerName]found, len(wants))
	open := r.fromMemory(wants, got, now)
	open = r.fromStore(ctx, open, got, now)
	if len(open) > 0 {
		defer pause(ctx)()
	}
	open = r.fromServers(ctx, open, got, now)
	r.fromNotaries(ctx, open, got, now)
	r.fromGiver(ctx, remaining(open, got, now), got, now)
	return got
}

// pauseKey is the key of what WhileAsking gives a context.
type pauseKey struct{}

// WhileAsking has pause called before a lookup asks other servers, and what it returns after that: for who bounds what is
// done at once, and doesn't count those who wait.
func WhileAsking(ctx context.Context, pause func() (resume func())) context.Context {
	return context.WithValue(ctx, pauseKey{}, pause)
}

func pause(ctx context.Context) (resume func()) {
	if pause, ok := ctx.Value(pauseKey{}).(func() func()); ok {
		return pause()
	}
	return func() {}
}

// remaining are the wants that what we have got doesn't satisfy.
func remaining(wants []want, got map[id.ServerName]found, now time.Time) []want {
	var open []want
	for _, w := range wants {
		if !w.satisfied(got[w.server].docs, now) {
			open = append(open, w)
		}
	}
	return open
}

// fromMemory is the first place to look; our own keys are there too.
func (r *Ring) fromMemory(wants []want, got map[id.ServerName]found, now time.Time) []want {
	r.mu.Lock()
	defer r.mu.Unlock()
	var others []want
	for _, w := range wants {
		if w.server == r.cfg.Self && r.cfg.Own != nil {
			got[w.server] = found{docs: []ServerKeys{r.cfg.Own.own(w.server, now)}}
			continue
		}
		got[w.server] = found{docs: r.entry(w.server, now).docs}
		others = append(others, w)
	}
	return remaining(others, got, now)
}

// fromStore looks in the store, once for each server while it is held in memory.
func (r *Ring) fromStore(ctx context.Context, open []want, got map[id.ServerName]found, now time.Time) []want {
	if r.cfg.Store == nil || len(open) == 0 {
		return open
	}
	var ask []id.ServerName
	r.mu.Lock()
	for _, w := range open {
		if !r.entry(w.server, now).stored {
			ask = append(ask, w.server)
		}
	}
	r.mu.Unlock()
	if len(ask) == 0 {
		return open
	}
	stored, err := r.cfg.Store.Keys(ctx, ask)
	if err != nil {
		if ctx.Err() == nil {
			r.log.Warn("other servers' signing keys can't be read from the database; they are asked for again", "error", err)
		}
		return open
	}
	r.mu.Lock()
	for _, doc := range stored { // of each server the newest first
		if e := r.entry(doc.ServerName, now); e.stored {
			e.addBehind(doc)
		} else {
			e.addSecondHand(doc)
			e.stored = true
		}
	}
	for _, server := range ask {
		e := r.entry(server, now)
		e.stored = true
		got[server] = found{docs: e.docs}
	}
	r.mu.Unlock()
	return remaining(open, got, now)
}

// fromServers asks the servers themselves.
func (r *Ring) fromServers(ctx context.Context, open []want, got map[id.ServerName]found, now time.Time) []want {
	if len(open) == 0 {
		return nil
	}
	results := make([]found, len(open))
	fresh := make([]bool, len(open))
	spread(len(open), maxFetches, func(i int) {
		results[i], fresh[i] = r.ask(ctx, open[i])
	})
	var changed []id.ServerName
	for i, w := range open {
		got[w.server] = results[i]
		if fresh[i] {
			changed = append(changed, w.server)
		}
	}
	r.save(ctx, changed)
	return remaining(open, got, now)
}

// ask fetches the server's document, or waits for somebody else who does. It returns what we then know of the
// server; and whether it was us who got a new document. Who waits for a place isn't waited for: others may have one sooner.
func (r *Ring) ask(ctx context.Context, w want) (_ found, fresh bool) {
	var queued time.Time
	var release func() // of our place
	defer func() {
		if release != nil {
			release()
		}
	}()
	for waited := false; ; {
		now := time.Now()
		r.mu.Lock()
		e := r.entry(w.server, now)
		if f := e.fetch; f != nil {
			r.mu.Unlock()
			select {
			case <-f.done:
			case <-ctx.Done():
				return found{err: ctx.Err()}, false
			}
			if f.abandoned && ctx.Err() == nil {
				continue
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			return found{docs: e.docs, err: e.own.err}, false
		}
		if release != nil && (!e.answered.Before(queued) || !e.own.last.Before(queued)) { // somebody else asked while we waited for the place
			defer r.mu.Unlock()
			return found{docs: e.docs, err: e.own.err}, false
		}
		wait, err := e.pause(now, w)
		if wait == 0 && release == nil {
			r.mu.Unlock()
			queued = now
			if release, err = r.place(ctx, w); err != nil {
				return found{err: err}, false
			}
			continue
		}
		if wait == 0 {
			f := &flight{done: make(chan struct{})}
			e.fetch = f
			r.mu.Unlock()
			return r.fly(ctx, w.server, e, f)
		}
		known := found{docs: e.docs, err: err}
		r.mu.Unlock()
		if !w.patient || waited || wait > minRefetch {
			return known, false
		}
		waited = true
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return known, false
		}
	}
}

// fly is the fetch that ask has entered into e.
func (r *Ring) fly(ctx context.Context, server id.ServerName, e *entry, f *flight) (known found, fresh bool) {
	began := time.Now()
	doc, err := r.fetch(ctx, server)
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	defer close(f.done)
	e.fetch = nil
	switch {
	case err == nil:
		e.succeed(now, doc)
		return found{docs: e.docs}, true
	case ctx.Err() != nil: // our caller has no time left: that says nothing about the server
		f.abandoned = true
	default:
		e.own.add(began, now, maxBackoff, err)
		r.log.Debug("signing keys can't be fetched", "server", server, "failures", e.own.count, "error", err)
	}
	return found{docs: e.docs, err: err}, false
}

// place waits for a place to fetch in.
func (r *Ring) place(ctx context.Context, w want) (release func(), err error) {
	if w.itAsks() {
		return r.asking.Take(ctx, w.server)
	}
	return r.given.Take(ctx, givenBy(ctx))
}

// fetch gets and checks the server's document.
func (r *Ring) fetch(ctx context.Context, server id.ServerName) (ServerKeys, error) {
	if r.cfg.Fetcher == nil {
		return ServerKeys{}, errNoFetcher
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	raw, err := r.cfg.Fetcher.ServerKeys(ctx, server)
	if err != nil {
		return ServerKeys{}, err
	}
	doc, err := ParseServerKeys(raw)
	if err != nil {
		return ServerKeys{}, err
	}
	if doc.ServerName != server {
		return ServerKeys{}, fmt.Errorf("it answers with the keys of %s", doc.ServerName)
	}
	doc.FetchedTS = time.Now().UnixMilli()
	return doc, nil
}

// save stores what is known of servers of which something new is. Of who was not found in the store because it can't be read, nothing is
// saved: more may be there.
func (r *Ring) save(ctx context.Context, servers []id.ServerName) {
	if r.cfg.Store == nil || len(servers) == 0 {
		return
	}
	var docs []ServerKeys
	r.mu.Lock()
	for _, server := range servers {
		if e := r.servers[server]; e != nil && e.stored {
			docs = append(docs, e.docs...)
		}
	}
	r.mu.Unlock()
	if err := r.cfg.Store.SaveKeys(ctx, docs); err != nil && ctx.Err() == nil {
		r.log.Warn("other servers' signing keys can't be stored; they are asked for again after a restart", "error", err)
	}
}
