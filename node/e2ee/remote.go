package e2ee

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/store"
)

// receiveDevice takes m.device_list_update: applied if nothing between was missed, else the list is fetched again.
//
// spec:server-server-api#device-management
func (e *E2EE) receiveDevice(ctx context.Context, origin id.ServerName, content json.RawMessage) error {
	var u federation.DeviceListUpdate
	if json.Unmarshal(content, &u) != nil {
		return nil
	}
	user, err := id.ParseUserID(string(u.UserID))
	if err != nil || user.Server() != origin || u.DeviceID == "" || len(u.DeviceID) > maxNameBytes ||
		u.StreamID < 0 || u.StreamID > maxStream || len(u.PrevID) > maxDevices || len(u.Keys) > maxKeyBytes {
		return nil
	}
	e.note(user, u.StreamID)
	var device json.RawMessage
	if !u.Deleted {
		device, err = json.Marshal(federation.UserDevice{DeviceID: u.DeviceID, DisplayName: u.DisplayName, Keys: u.Keys})
		if err != nil {
			return nil
		}
	}
	missed, err := e.store.RemoteDeviceChange(ctx, user, u.DeviceID, device, u.StreamID, u.PrevID)
	if missed {
		e.lookForStale()
	}
	return err
}

// receiveSigningKeys takes m.signing_key_update.
//
// spec:server-server-api#end-to-end-encryption
func (e *E2EE) receiveSigningKeys(ctx context.Context, origin id.ServerName, content json.RawMessage) error {
	var u federation.SigningKeyUpdate
	if json.Unmarshal(content, &u) != nil || len(content) > maxKeyBytes {
		return nil
	}
	user, err := id.ParseUserID(string(u.UserID))
	if err != nil || user.Server() != origin {
		return nil
	}
	return e.store.SaveCrossSigningKeys(ctx, user, remoteKeys(user, u.MasterKey, u.SelfSigningKey))
}

// remoteKeys are the cross-signing keys that another server names, without those of a wrong form.
func remoteKeys(user id.UserID, master, selfSigning json.RawMessage) []store.CrossSigningKey {
	var all []store.CrossSigningKey
	for usage, raw := range map[string]json.RawMessage{usageMaster: master, usageSelfSigning: selfSigning} {
		if _, err := parseCrossSigning(user, usage, raw); err == nil {
			all = append(all, store.CrossSigningKey{User: user, Usage: usage, Keys: raw})
		}
	}
	return all
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

// fetchList asks for a user's devices and keeps them.
func (e *E2EE) fetchList(ctx context.Context, user id.UserID) (*store.RemoteDevices, []store.CrossSigningKey, error) {
	e.mu.Lock()
	f := e.fetching[user]
	if f == nil {
		f = &fetch{}
		e.fetching[user] = f
	}
	f.users++
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if f.users--; f.users == 0 {
			delete(e.fetching, user)
		}
	}()
	asked := e.store.Position()
	answer, err := e.config.Client.UserDevices(ctx, user.Server(), user)
	if err != nil {
		return nil, nil, err
	}
	list := &store.RemoteDevices{User: user, Stream: min(max(answer.StreamID, 0), maxStream), Devices: map[string]json.RawMessage{}}
	for _, d := range answer.Devices[:min(len(answer.Devices), maxDevices)] {
		raw, err := json.Marshal(d)
		if err == nil && d.DeviceID != "" && len(d.DeviceID) <= maxNameBytes && len(raw) <= maxKeyBytes {
			list.Devices[d.DeviceID] = raw
		}
	}
	keys := remoteKeys(user, answer.MasterKey, answer.SelfSigningKey)
	ctx = context.WithoutCancel(ctx)
	if err := e.store.SaveRemoteDevices(ctx, *list, keys, asked); err != nil {
		return nil, nil, err
	}
	e.mu.Lock()
	newest := f.newest
	e.mu.Unlock()
	if newest > list.Stream {
		if _, err := e.store.RemoteDeviceChange(ctx, user, "", nil, newest, []int64{newest}); err != nil {
			return nil, nil, err
		}
		e.lookForStale()
	}
	return list, keys, nil
}

// Retry says that a server spoke to us: lists of its users are fetched now.
func (e *E2EE) Retry(server id.ServerName) {
	e.mu.Lock()
	_, waits := e.backoff[server]
	delete(e.backoff, server)
	e.mu.Unlock()
	if waits {
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
			users, err := e.store.StaleDevices(ctx, after, resyncPage)
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

func (e *E2EE) fetchAll(ctx context.Context, users []id.UserID) {
	var group sync.WaitGroup
	slots := make(chan struct{}, resyncParallel)
	for _, user := range users {
		if !e.mayAsk(user.Server()) {
			continue
		}
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			if !e.mayAsk(user.Server()) {
				return
			}
			if _, _, err := e.fetchList(ctx, user); err != nil && ctx.Err() == nil {
				e.failed(user.Server())
			}
		})
	}
	group.Wait()
}

func (e *E2EE) mayAsk(server id.ServerName) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.backoff[server]
	return p == nil || time.Now().After(p.until)
}

// failed notes that a server could not be asked.
func (e *E2EE) failed(server id.ServerName) {
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
}
