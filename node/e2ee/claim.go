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

// Claimed is an answer with one-time keys.
type Claimed struct {
	OneTimeKeys map[id.UserID]map[string]map[string]json.RawMessage `json:"one_time_keys"`
	Failures    map[id.ServerName]json.RawMessage                   `json:"failures"`
}

// Claim takes one-time keys, of our users' devices and of other servers'. A server that does not answer in time is a
// failure and takes nothing from the others; it is asked again the next time.
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
	var mu sync.Mutex
	eachServer(ctx, Timeout(timeout), remote, func(ctx context.Context, server id.ServerName, users map[id.UserID]map[string]string) {
		var answer federation.OneTimeKeysAnswer
		err := context.DeadlineExceeded
		if e.config.Client != nil {
			answer, err = e.config.Client.ClaimDeviceKeys(ctx, server, federation.OneTimeKeysClaim{OneTimeKeys: users})
		}
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			claimed.Failures[server] = failure()
			return
		}
		for user, devices := range users {
			for device := range devices {
				if keys, ok := answer.OneTimeKeys[user][device]; ok {
					claimed.add(user, device, keys)
				}
			}
		}
	})
	return claimed, nil
}

func (c *Claimed) add(user id.UserID, device string, keys map[string]json.RawMessage) {
	if c.OneTimeKeys[user] == nil {
		c.OneTimeKeys[user] = map[string]map[string]json.RawMessage{}
	}
	c.OneTimeKeys[user][device] = keys
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
