package e2ee

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/store"
)

// fetch is a list that is being asked for.
type fetch struct {
	done   chan struct{} // closed when the rest is set
	newest int64         // guarded by E2EE.mu: the newest update that came meanwhile, which the answer may not have
	list   *store.RemoteDevices
	keys   []store.CrossSigningKey
	err    error
}

// note remembers that an update came while the list is being asked for: the answer may be older.
func (e *E2EE) note(user id.UserID, stream int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if f := e.fetching[user]; f != nil {
		f.newest = max(f.newest, stream)
	}
}

func (e *E2EE) lookForStale() {
	select {
	case e.stale <- struct{}{}:
	default:
	}
}

// fetchList asks for a user's devices and keeps them. Who asks while somebody does gets the same answer, unless an update has
// come since that was asked.
func (e *E2EE) fetchList(ctx context.Context, user id.UserID) (*store.RemoteDevices, []store.CrossSigningKey, error) {
	for {
		e.mu.Lock()
		f := e.fetching[user]
		if f == nil {
			f = &fetch{done: make(chan struct{}), newest: -1}
			e.fetching[user] = f
			e.mu.Unlock()
			e.fetchNow(ctx, user, f)
			return f.list, f.keys, f.err
		}
		outdated := f.newest >= 0
		e.mu.Unlock()
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
		if !outdated && !errors.Is(f.err, context.Canceled) {
			return f.list, f.keys, f.err
		}
	}
}

// fetchNow asks for a user's devices and keeps what it is told.
func (e *E2EE) fetchNow(ctx context.Context, user id.UserID, f *fetch) {
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.fetching, user)
		close(f.done)
	}()
	if kept, keys, err := e.kept(ctx, user); err != nil || kept != nil {
		f.list, f.keys, f.err = kept, keys, err // somebody has just asked
		return
	}
	asked := e.store.Position()
	answer, err := e.config.Client.UserDevices(ctx, user.Server(), user)
	if err != nil {
		f.err = err
		e.notGiven(context.WithoutCancel(ctx), user, err)
		return
	}
	list := store.RemoteDevices{User: user, Stream: min(max(answer.StreamID, 0), maxStream), Devices: map[string]json.RawMessage{}}
	for _, d := range answer.Devices[:min(len(answer.Devices), maxDevices)] {
		if d.DeviceID != "" && len(d.DeviceID) <= maxNameBytes && len(d.Keys) <= maxKeyBytes {
			list.Devices[d.DeviceID] = remoteDevice(d)
		}
	}
	f.keys = remoteKeys(user, answer.MasterKey, answer.SelfSigningKey)
	stale, err := e.store.SaveRemoteDevices(context.WithoutCancel(ctx), list, f.keys, asked, func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return f.newest > list.Stream
	})
	if stale {
		e.lookForStale()
	}
	f.list, f.err = &list, err
}

// notGiven notes that a list was asked for in vain: it is asked for later, and clients are told of what changes meanwhile.
func (e *E2EE) notGiven(ctx context.Context, user id.UserID, why error) {
	var err error
	if refused(why) {
		err = e.store.DevicesRefused(ctx, user, time.Now())
	} else {
		err = e.store.TrackDevices(ctx, []id.UserID{user}, true)
	}
	if err != nil {
		e.log.Error("that a device list is to be asked for again can't be noted", "user", user, "error", err)
	}
}

// kept is the list that is known of a user; nil if there is none that is true.
func (e *E2EE) kept(ctx context.Context, user id.UserID) (*store.RemoteDevices, []store.CrossSigningKey, error) {
	lists, err := e.store.RemoteDevices(ctx, []id.UserID{user})
	if err != nil || lists[user] == nil {
		return nil, nil, err
	}
	keys, err := e.store.CrossSigningKeys(ctx, []id.UserID{user})
	return lists[user], keys, err
}

// refused tells whether a server answered that it has nothing to say about a user. No answer, and one that says to come
// again, is no refusal.
func refused(err error) bool {
	var answered interface{ Refusal() *federation.Error }
	if !errors.As(err, &answered) {
		return false
	}
	refusal := answered.Refusal()
	return refusal != nil && (refusal.Status == 400 || refusal.Status == 403 || refusal.Status == 404)
}

// patience is when a server is asked again that could not be asked.
type patience struct {
	tried time.Time // when it did not answer; zero if it did, slowly
	until time.Time
	wait  time.Duration
}

// Retry says that a server spoke to us: lists of its users are fetched now, unless that was tried just before.
func (e *E2EE) Retry(server id.ServerName) {
	e.mu.Lock()
	p := e.backoff[server]
	again := p != nil && time.Since(p.tried) > firstWait
	if again {
		delete(e.backoff, server)
	}
	e.mu.Unlock()
	if again {
		e.lookForStale()
	}
}

// resync fetches lists that missed an update, until ctx ends. That they did is stored: it goes on after a restart.
func (e *E2EE) resync(ctx context.Context) {
	tick := time.NewTicker(resyncTick)
	defer tick.Stop()
	e.lookForStale()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-e.stale:
		}
		if e.config.Client == nil {
			continue
		}
		for after, more := id.UserID(""), true; more && ctx.Err() == nil; {
			users, err := e.store.StaleDevices(ctx, time.Now(), after, resyncPage)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				e.log.Error("the device lists that missed an update can't be read", "error", err)
				break
			}
			if more = len(users) == resyncPage; more {
				after = users[len(users)-1]
			}
			e.fetchAll(ctx, users)
		}
	}
}

// fetchAll fetches lists, some of each server at a time. A server that is slow or can't be reached is left alone for a while.
func (e *E2EE) fetchAll(ctx context.Context, users []id.UserID) {
	byServer := map[id.ServerName][]id.UserID{}
	for _, user := range users {
		byServer[user.Server()] = append(byServer[user.Server()], user)
	}
	var group sync.WaitGroup
	slots := make(chan struct{}, resyncParallel)
	for server, users := range byServer {
		next := make(chan id.UserID, len(users))
		for _, user := range users {
			next <- user
		}
		close(next)
		for range min(len(users), serverParallel) {
			group.Go(func() {
				for user := range next {
					slots <- struct{}{}
					if e.mayAsk(server) {
						e.refetch(ctx, user)
					}
					<-slots
				}
			})
		}
	}
	group.Wait()
}

// refetch fetches one list and notes how it went.
func (e *E2EE) refetch(ctx context.Context, user id.UserID) {
	began := time.Now()
	_, _, err := e.fetchList(ctx, user)
	switch {
	case ctx.Err() != nil, refused(err): // it is noted that it isn't given
	case err != nil:
		e.failed(user.Server(), false)
	case time.Since(began) > slow:
		e.failed(user.Server(), true)
	default:
		e.answered(user.Server())
	}
}

func (e *E2EE) answered(server id.ServerName) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.backoff, server)
}

func (e *E2EE) mayAsk(server id.ServerName) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.backoff[server]
	return p == nil || time.Now().After(p.until)
}

// justFailed tells whether a server was tried in vain a moment ago.
func (e *E2EE) justFailed(server id.ServerName) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.backoff[server]
	return p != nil && time.Since(p.tried) < firstWait
}

// failed notes that a server could not be asked, or is slow.
func (e *E2EE) failed(server id.ServerName, answers bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.backoff[server]
	if p == nil {
		if len(e.backoff) >= maxPatience {
			clear(e.backoff)
		}
		p = &patience{wait: firstWait / 2}
		e.backoff[server] = p
	}
	p.wait = min(2*p.wait, maxWait)
	p.until = time.Now().Add(p.wait)
	if !answers {
		p.tried = time.Now()
	}
}
