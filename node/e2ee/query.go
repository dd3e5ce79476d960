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
	ctx, cancel := context.WithTimeout(ctx, Timeout(timeout))
	defer cancel()
	var mu sync.Mutex
	var group sync.WaitGroup
	for server, users := range remote {
		group.Go(func() {
			answer, err := e.ask(ctx, server, users)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				keys.Failures[server] = failure(err)
			}
			keys.add(users, answer)
		})
	}
	group.Wait()
	return keys, nil
}

// failure is what a client is told of a server that did not answer.
func failure(error) json.RawMessage {
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
		if json.Unmarshal(raw, &d) != nil || len(d.Keys) == 0 || !wants(wanted, device) || !namesDevice(d.Keys, list.User, device) {
			continue
		}
		full := d.Keys
		if d.DisplayName != "" {
			var err error
			if full, err = withName(full, d.DisplayName); err != nil {
				continue
			}
		}
		all[device] = full
	}
	return all
}

// namesDevice tells whether keys are for that device and none else, as clients insist.
func namesDevice(raw json.RawMessage, user id.UserID, device string) bool {
	var form struct {
		UserID   id.UserID `json:"user_id"`
		DeviceID string    `json:"device_id"`
	}
	return json.Unmarshal(raw, &form) == nil && form.UserID == user && form.DeviceID == device
}

// ask asks one server for the keys of its users: whole lists, which are kept, of those who share a room with ours, and in
// one question for the others.
func (e *E2EE) ask(ctx context.Context, server id.ServerName, users map[id.UserID][]string) (federation.DeviceKeysAnswer, error) {
	answer := federation.DeviceKeysAnswer{
		DeviceKeys: map[id.UserID]map[string]json.RawMessage{}, MasterKeys: map[id.UserID]json.RawMessage{},
		SelfSigningKeys: map[id.UserID]json.RawMessage{},
	}
	if e.config.Client == nil {
		return answer, context.DeadlineExceeded
	}
	rest := federation.DeviceKeysQuery{DeviceKeys: map[id.UserID][]string{}}
	for user, devices := range users {
		rooms, err := e.store.JoinedRooms(ctx, user)
		if err != nil {
			return answer, err
		}
		if len(rooms) == 0 || len(users) > listsAtOnce {
			rest.DeviceKeys[user] = append([]string{}, devices...)
			continue
		}
		list, cross, err := e.fetchList(ctx, user)
		if err != nil {
			return answer, err
		}
		answer.DeviceKeys[user] = deviceKeysOf(list, devices)
		for _, k := range cross {
			switch k.Usage {
			case usageMaster:
				answer.MasterKeys[user] = k.Keys
			case usageSelfSigning:
				answer.SelfSigningKeys[user] = k.Keys
			}
		}
	}
	if len(rest.DeviceKeys) == 0 {
		return answer, nil
	}
	got, err := e.config.Client.QueryDeviceKeys(ctx, server, rest)
	if err != nil {
		return answer, err
	}
	for user := range rest.DeviceKeys {
		for device, raw := range got.DeviceKeys[user] {
			if !namesDevice(raw, user, device) {
				delete(got.DeviceKeys[user], device)
			}
		}
		if devices, ok := got.DeviceKeys[user]; ok {
			answer.DeviceKeys[user] = devices
		}
		for _, k := range remoteKeys(user, got.MasterKeys[user], got.SelfSigningKeys[user]) {
			if k.Usage == usageMaster {
				answer.MasterKeys[user] = k.Keys
			} else {
				answer.SelfSigningKeys[user] = k.Keys
			}
		}
	}
	return answer, nil
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

// Claimed is an answer with one-time keys.
type Claimed struct {
	OneTimeKeys map[id.UserID]map[string]map[string]json.RawMessage `json:"one_time_keys"`
	Failures    map[id.ServerName]json.RawMessage                   `json:"failures"`
}

// Claim takes one-time keys, of our users' devices and of other servers'. A server that does not answer in time is a
// failure and takes nothing from the others.
//
// spec:client-server-api#post_matrixclientv3keysclaim
func (e *E2EE) Claim(ctx context.Context, wanted map[id.UserID]map[string]string, timeout time.Duration) (*Claimed, error) {
	if len(wanted) > maxUsers {
		return nil, federation.TooLarge("these are too many users at once")
	}
	local, remote := byServer(e.config.Self, wanted)
	mine, err := e.claimLocal(ctx, local)
	if err != nil {
		return nil, err
	}
	claimed := &Claimed{OneTimeKeys: mine, Failures: map[id.ServerName]json.RawMessage{}}
	ctx, cancel := context.WithTimeout(ctx, Timeout(timeout))
	defer cancel()
	var mu sync.Mutex
	var group sync.WaitGroup
	for server, users := range remote {
		group.Go(func() {
			var answer federation.OneTimeKeysAnswer
			err := context.DeadlineExceeded
			if e.config.Client != nil {
				answer, err = e.config.Client.ClaimDeviceKeys(ctx, server, federation.OneTimeKeysClaim{OneTimeKeys: users})
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				claimed.Failures[server] = failure(err)
			}
			for user := range users {
				if devices, ok := answer.OneTimeKeys[user]; ok {
					claimed.OneTimeKeys[user] = devices
				}
			}
		})
	}
	group.Wait()
	return claimed, nil
}

func (e *E2EE) claimLocal(ctx context.Context, wanted map[id.UserID]map[string]string) (map[id.UserID]map[string]map[string]json.RawMessage, error) {
	answer := map[id.UserID]map[string]map[string]json.RawMessage{}
	var claims []store.KeyClaim
	for user, devices := range wanted {
		for device, algorithm := range devices {
			claims = append(claims, store.KeyClaim{User: user, Device: device, Algorithm: algorithm})
		}
	}
	if len(claims) > maxUsers {
		return nil, federation.TooLarge("these are too many devices at once")
	}
	if len(claims) == 0 {
		return answer, nil
	}
	taken, err := e.store.ClaimKeys(ctx, claims)
	for claim, key := range taken {
		if answer[claim.User] == nil {
			answer[claim.User] = map[string]map[string]json.RawMessage{}
		}
		answer[claim.User][claim.Device] = map[string]json.RawMessage{key.Algorithm + ":" + key.ID: key.Key}
	}
	return answer, err
}
