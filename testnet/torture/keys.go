package torture

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// keys is what the victim's user does with the keys of a device, and others with them: each one-time key is given out once, whoever asks
// for it and whatever is killed meanwhile; and the peer hears of the device's newest name. It outlives the generations, as the device does.
type keys struct {
	victim, peer *server
	uploaded     int // owned by upload: one-time keys that were sent, whether they arrived or not
	named, next  int // owned by upload: the newest name of the device, acknowledged and sent

	mu    sync.Mutex
	given map[string]string // guarded by mu: to whom each key went
}

// keysAtOnce is how many keys are uploaded at once, keysPause the pause between two uploads, and between two claims.
const (
	keysAtOnce = 5
	keysPause  = 20 * time.Millisecond
)

func newKeys(victim, peer *server) *keys {
	return &keys{victim: victim, peer: peer, given: map[string]string{}}
}

// introduce gives the device keys, without which nobody is told its name.
func (k *keys) introduce(ctx context.Context) error {
	u := k.victim.user
	return u.Call(ctx, http.MethodPost, "/_matrix/client/v3/keys/upload", nil, map[string]any{"device_keys": map[string]any{
		"user_id": u.ID, "device_id": u.DeviceID, "algorithms": []string{}, "keys": map[string]string{}, "signatures": map[string]any{},
	}}, nil)
}

// upload uploads keys and names the device until ctx ends or the victim does. What was cut off is not uploaded again: it may have been
// given out since.
func (k *keys) upload(ctx context.Context) error {
	u := k.victim.user
	for end := k.next + spell; ctx.Err() == nil && k.next < end; time.Sleep(keysPause) {
		some := map[string]string{}
		for range keysAtOnce {
			some[fmt.Sprintf("curve25519:k%d", k.uploaded)] = fmt.Sprint("the key ", k.uploaded)
			k.uploaded++
		}
		if err := u.Call(ctx, http.MethodPost, "/_matrix/client/v3/keys/upload", nil, map[string]any{"one_time_keys": some}, nil); err != nil {
			return refused(err)
		}
		k.next++
		if err := u.Call(ctx, http.MethodPut, "/_matrix/client/v3/devices/"+u.DeviceID, nil, map[string]any{"display_name": k.name(k.next)}, nil); err != nil {
			return refused(err)
		}
		k.named = k.next
	}
	return nil
}

func (k *keys) name(n int) string { return fmt.Sprint("device ", n) }

// claim takes keys at a server until ctx ends or the server does.
func (k *keys) claim(at *server) func(context.Context) error {
	of := k.victim.user
	return func(ctx context.Context) error {
		for n := 0; ctx.Err() == nil && n < spell; n++ {
			var answer struct {
				Keys map[string]map[string]map[string]string `json:"one_time_keys"`
			}
			body := map[string]any{"one_time_keys": map[string]any{of.ID: map[string]string{of.DeviceID: "curve25519"}}}
			if err := at.user.Call(ctx, http.MethodPost, "/_matrix/client/v3/keys/claim", nil, body, &answer); err != nil {
				return refused(err)
			}
			for name := range answer.Keys[of.ID][of.DeviceID] {
				if err := k.give(name, at); err != nil {
					return err
				}
			}
			time.Sleep(keysPause)
		}
		return nil
	}
}

// give notes to whom a key went.
func (k *keys) give(name string, at *server) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if before := k.given[name]; before != "" {
		return fmt.Errorf("the one-time key %s was given out twice: at %s, and at %s", name, before, at.name)
	}
	k.given[name] = at.name
	return nil
}

// missing says what the peer doesn't know of the device.
func (k *keys) missing(ctx context.Context) (string, error) {
	of := k.victim.user
	var answer struct {
		Devices map[string]map[string]struct {
			Unsigned struct {
				Name string `json:"device_display_name"`
			} `json:"unsigned"`
		} `json:"device_keys"`
	}
	body := map[string]any{"device_keys": map[string]any{of.ID: []string{}}}
	if err := k.peer.user.Call(ctx, http.MethodPost, "/_matrix/client/v3/keys/query", nil, body, &answer); err != nil {
		return "", err
	}
	name := answer.Devices[of.ID][of.DeviceID].Unsigned.Name
	for n := k.named; n <= k.next; n++ {
		if n == 0 || name == k.name(n) {
			return "", nil
		}
	}
	return fmt.Sprintf("the peer has the name %q of the device that was named %q", name, k.name(k.next)), nil
}
