package e2ee

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"hanse/federation"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/node/store"
)

// Timeout bounds how long other servers are waited for, as a client asks; 0 means the default.
func Timeout(wanted time.Duration) time.Duration {
	if wanted <= 0 {
		return defaultTimeout
	}
	return min(wanted, maxTimeout)
}

// byServer takes apart what is asked of other servers, and drops what is no user.
func byServer[T any](self id.ServerName, wanted map[id.UserID]T) (local map[id.UserID]T, remote map[id.ServerName]map[id.UserID]T) {
	local, remote = map[id.UserID]T{}, map[id.ServerName]map[id.UserID]T{}
	for text, what := range wanted {
		user, err := id.ParseUserID(string(text))
		if err != nil {
			continue
		}
		if user.Server() == self {
			local[user] = what
			continue
		}
		if remote[user.Server()] == nil {
			remote[user.Server()] = map[id.UserID]T{}
		}
		remote[user.Server()][user] = what
	}
	return local, remote
}

// Query answers with the keys of devices, asking other servers for what is not known of their users. One that does not
// answer in time is a failure and takes nothing from the others.
//
// spec:client-server-api#post_matrixclientv3keysquery
func (e *E2EE) Query(ctx context.Context, asker id.UserID, wanted map[id.UserID][]string, timeout time.Duration) (*Keys, error) {
	if len(wanted) > maxUsers {
		return nil, federation.TooLarge("these are too many users at once")
	}
	keys := newKeys()
	local, remote := byServer(e.config.Self, wanted)
	if err := e.local(ctx, asker, local, keys); err != nil {
		return nil, err
	}
	if err := e.known(ctx, asker, remote, keys); err != nil {
		return nil, err
	}
	var mu sync.Mutex
	eachServer(ctx, Timeout(timeout), remote, func(ctx context.Context, server id.ServerName, users map[id.UserID][]string) {
		answer, err := e.ask(ctx, server, users)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			keys.Failures[server] = failure()
		}
		keys.add(users, answer)
	})
	return keys, nil
}

// eachServer asks servers at a time, for no longer than timeout, and returns when all have answered or it is over.
func eachServer[T any](ctx context.Context, timeout time.Duration, wanted map[id.ServerName]T, ask func(context.Context, id.ServerName, T)) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	slots := make(chan struct{}, serversAtOnce)
	var group sync.WaitGroup
	for server, what := range wanted {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			ask(ctx, server, what)
		})
	}
	group.Wait()
}

// failure is what a client is told of a server that did not answer.
func failure() json.RawMessage {
	return json.RawMessage(`{"status":503,"errcode":"M_UNKNOWN","message":"the server can't be reached, or did not answer in time"}`)
}

// known answers from the lists that are kept, and takes their users out of what is to be asked.
func (e *E2EE) known(ctx context.Context, asker id.UserID, remote map[id.ServerName]map[id.UserID][]string, keys *Keys) error {
	var users []id.UserID
	for _, of := range remote {
		for user := range of {
			users = append(users, user)
		}
	}
	lists, err := e.store.RemoteDevices(ctx, users)
	if err != nil {
		return err
	}
	signatures, err := e.signatures(ctx, asker, users)
	if err != nil {
		return err
	}
	users = users[:0]
	for user, list := range lists {
		users = append(users, user)
		wanted := remote[user.Server()]
		keys.DeviceKeys[user] = deviceKeysOf(list, wanted[user])
		if delete(wanted, user); len(wanted) == 0 {
			delete(remote, user.Server())
		}
	}
	return e.addCrossSigning(ctx, asker, users, signatures, keys)
}

// deviceKeysOf are the keys of a list's devices, as clients get them.
func deviceKeysOf(list *store.RemoteDevices, wanted []string) map[string]json.RawMessage {
	all := map[string]json.RawMessage{}
	for device, raw := range list.Devices {
		var d federation.UserDevice
		if exactjson.Unmarshal(raw, &d) != nil || len(d.Keys) == 0 || !wants(wanted, device) || !namesNoOther(d.Keys, list.User, device) {
			continue
		}
		full, err := withName(d.Keys, d.DisplayName)
		if err != nil {
			continue
		}
		all[device] = full
	}
	return all
}

// namesNoOther tells whether a device's keys are an object that names no other user or device. Those that name none go to
// clients, as by Synapse: whether keys are good for anything is for clients to tell, and so is that a device has bad ones.
func namesNoOther(raw json.RawMessage, user id.UserID, device string) bool {
	var form *struct { // nil: null
		UserID   id.UserID `json:"user_id"`
		DeviceID string    `json:"device_id"`
	}
	return exactjson.Unmarshal(raw, &form) == nil && form != nil &&
		(form.UserID == "" || form.UserID == user) && (form.DeviceID == "" || form.DeviceID == device)
}

// ask asks one server for the keys of its users: whole lists, which are kept, of those who share a room with ours, and in
// one question for the others. Of many users at once the lists are fetched afterwards.
func (e *E2EE) ask(ctx context.Context, server id.ServerName, users map[id.UserID][]string) (federation.DeviceKeysAnswer, error) {
	answer := federation.DeviceKeysAnswer{
		DeviceKeys: map[id.UserID]map[string]json.RawMessage{}, MasterKeys: map[id.UserID]json.RawMessage{},
		SelfSigningKeys: map[id.UserID]json.RawMessage{},
	}
	tracked, err := e.store.SharingWithUs(ctx, slices.Collect(maps.Keys(users)))
	if err != nil {
		return answer, err
	}
	if e.config.Client == nil || e.justFailed(server) {
		return answer, cmp.Or(e.store.TrackDevices(ctx, tracked, true), context.DeadlineExceeded)
	}
	began := time.Now()
	rest := federation.DeviceKeysQuery{DeviceKeys: map[id.UserID][]string{}}
	for user, devices := range users {
		rest.DeviceKeys[user] = append([]string{}, devices...)
	}
	if len(tracked) > listsAtOnce {
		if err := e.store.TrackDevices(ctx, tracked, false); err != nil {
			return answer, err
		}
		e.lookForStale()
	} else if err := e.askForLists(ctx, tracked, rest, answer); err != nil {
		e.noteFailure(ctx, server, began, err)
		return answer, err
	}
	if len(rest.DeviceKeys) == 0 {
		return answer, nil
	}
	got, err := e.config.Client.QueryDeviceKeys(ctx, server, rest)
	if err != nil {
		e.noteFailure(ctx, server, began, err)
		return answer, err
	}
	e.answered(server)
	take(answer, got, rest)
	return answer, nil
}

// noteFailure remembers that a server could not be asked, unless it did answer, or the client had no time for it.
func (e *E2EE) noteFailure(ctx context.Context, server id.ServerName, began time.Time, err error) {
	if !refused(err) && (ctx.Err() == nil || time.Since(began) > slow) {
		e.failed(server, false)
	}
}

// askForLists fetches users' lists into an answer and takes them out of what is left to ask. A user of whom the server tells
// nothing stays there.
func (e *E2EE) askForLists(ctx context.Context, users []id.UserID, rest federation.DeviceKeysQuery, answer federation.DeviceKeysAnswer) error {
	var mu sync.Mutex
	var failed error
	var group sync.WaitGroup
	slots := make(chan struct{}, serverParallel)
	for _, user := range users {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			list, cross, err := e.fetchList(ctx, user)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				if !refused(err) {
					failed = err
				}
				return
			}
			answer.DeviceKeys[user] = deviceKeysOf(list, rest.DeviceKeys[user])
			delete(rest.DeviceKeys, user)
			addKeys(answer, user, cross)
		})
	}
	group.Wait()
	return failed
}

func addKeys(answer federation.DeviceKeysAnswer, user id.UserID, keys []store.CrossSigningKey) {
	for _, k := range keys {
		if k.Usage == usageMaster {
			answer.MasterKeys[user] = k.Keys
		} else {
			answer.SelfSigningKeys[user] = k.Keys
		}
	}
}

// take takes over of what a server said what it was asked for and what is of the right form.
func take(answer, got federation.DeviceKeysAnswer, asked federation.DeviceKeysQuery) {
	for user := range asked.DeviceKeys {
		for device, raw := range got.DeviceKeys[user] {
			if !namesNoOther(raw, user, device) {
				delete(got.DeviceKeys[user], device)
			}
		}
		if devices, ok := got.DeviceKeys[user]; ok {
			answer.DeviceKeys[user] = devices
		}
		addKeys(answer, user, remoteKeys(user, got.MasterKeys[user], got.SelfSigningKeys[user]))
	}
}

// add puts a server's answer about its users into the whole.
func (k *Keys) add(users map[id.UserID][]string, answer federation.DeviceKeysAnswer) {
	for user := range users {
		if devices, ok := answer.DeviceKeys[user]; ok {
			k.DeviceKeys[user] = devices
		}
		if raw, ok := answer.MasterKeys[user]; ok {
			k.Master[user] = raw
		}
		if raw, ok := answer.SelfSigningKeys[user]; ok {
			k.SelfSigning[user] = raw
		}
	}
}
