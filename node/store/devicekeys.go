package store

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"hanse/federation/id"
	"hanse/federation/signedjson"
)

// OneTimeKey is a one-time or fallback key of a device.
type OneTimeKey struct {
	Algorithm, ID string // "signed_curve25519", "AAAAHg"
	Key           json.RawMessage
}

// KeyUpload is what a device uploads.
type KeyUpload struct {
	User       id.UserID
	Device     string
	DeviceKeys json.RawMessage // nil: none
	OneTime    []OneTimeKey
	Fallback   []OneTimeKey
	MaxOneTime int // how many one-time keys are kept; what is above is not taken
}

// ErrKeyExists says that a one-time key's ID is in use with another content.
var ErrKeyExists = fmt.Errorf("one-time key: %w", ErrExists)

// UploadKeys stores keys; changed device keys are told to others. It returns the numbers of one-time keys by algorithm.
// [ErrNotFound] if the device is gone.
func (s *Store) UploadKeys(ctx context.Context, u KeyUpload) (map[string]int, error) {
	var servers []id.ServerName
	if u.DeviceKeys != nil {
		var err error
		if servers, err = s.ServersSharing(ctx, u.User); err != nil {
			return nil, err
		}
	}
	var counts map[string]int
	err := s.commit.write(ctx, func(t *writeTx) (err error) {
		var created int64
		found, err := t.found("SELECT created FROM devices WHERE user_id = $1 AND device_id = $2", []any{string(u.User), []byte(u.Device)}, &created)
		if err == nil && !found {
			err = fmt.Errorf("the device %q: %w", u.Device, ErrNotFound)
		}
		if err != nil {
			return err
		}
		if err = s.saveDeviceKeys(t, u, servers); err != nil {
			return err
		}
		if err = t.saveOneTimeKeys(u); err != nil {
			return err
		}
		for _, k := range u.Fallback {
			if err = t.saveFallbackKey(u, k); err != nil {
				return err
			}
		}
		if len(u.OneTime)+len(u.Fallback) > 0 {
			t.oneTimeKeysChanged(u.User)
		}
		counts, err = t.countKeys(u.User, u.Device)
		return err
	})
	return counts, err
}

// saveDeviceKeys stores a device's keys. Signatures that were made of others of it are good no more.
func (s *Store) saveDeviceKeys(t *writeTx, u KeyUpload, servers []id.ServerName) error {
	if u.DeviceKeys == nil {
		return nil
	}
	var old []byte
	found, err := t.found("SELECT keys FROM device_keys WHERE user_id = $1 AND device_id = $2",
		[]any{string(u.User), []byte(u.Device)}, &old)
	if err != nil || found && bytes.Equal(old, u.DeviceKeys) {
		return err
	}
	_, err = t.exec(`INSERT INTO device_keys (user_id, device_id, keys) VALUES ($1, $2, $3)
		ON CONFLICT (user_id, device_id) DO UPDATE SET keys = excluded.keys`, string(u.User), []byte(u.Device), []byte(u.DeviceKeys))
	if err != nil {
		return err
	}
	if found && !sameSigned(old, u.DeviceKeys) {
		_, err := t.exec("DELETE FROM key_signatures WHERE user_id = $1 AND target = $2", string(u.User), []byte(u.Device))
		if err != nil {
			return err
		}
	}
	return s.changed(t, u.User, deviceUpdate{devices: []string{u.Device}, servers: servers, visible: true})
}

// sameSigned tells whether a signature of one is a signature of the other.
func sameSigned(a, b json.RawMessage) bool {
	first, err1 := signedjson.SignedBytes(a)
	second, err2 := signedjson.SignedBytes(b)
	return err1 == nil && err2 == nil && bytes.Equal(first, second)
}

func (t *writeTx) saveOneTimeKeys(u KeyUpload) error {
	counts, err := t.countKeys(u.User, u.Device)
	if err != nil {
		return err
	}
	total := 0
	for _, n := range counts {
		total += n
	}
	for _, k := range u.OneTime {
		var old []byte
		found, err := t.found(`SELECT content FROM one_time_keys WHERE user_id = $1 AND device_id = $2 AND algorithm = $3
			AND key_id = $4`, []any{string(u.User), []byte(u.Device), []byte(k.Algorithm), []byte(k.ID)}, &old)
		switch {
		case err != nil:
			return err
		case found && !bytes.Equal(old, k.Key):
			return fmt.Errorf("%s:%s: %w", k.Algorithm, k.ID, ErrKeyExists)
		case found:
			continue
		case total >= u.MaxOneTime:
			return nil
		}
		_, err = t.exec(`INSERT INTO one_time_keys (user_id, device_id, algorithm, key_id, content, position)
			VALUES ($1, $2, $3, $4, $5, $6)`, string(u.User), []byte(u.Device), []byte(k.Algorithm), []byte(k.ID), []byte(k.Key), int64(t.next()))
		if err != nil {
			return err
		}
		total++
	}
	return nil
}

func (t *writeTx) saveFallbackKey(u KeyUpload, k OneTimeKey) error {
	_, err := t.exec(`INSERT INTO fallback_keys (user_id, device_id, algorithm, key_id, content, used)
		VALUES ($1, $2, $3, $4, $5, 0) ON CONFLICT (user_id, device_id, algorithm) DO UPDATE SET
		used = CASE WHEN fallback_keys.content = excluded.content THEN fallback_keys.used ELSE 0 END,
		key_id = excluded.key_id, content = excluded.content`,
		string(u.User), []byte(u.Device), []byte(k.Algorithm), []byte(k.ID), []byte(k.Key))
	return err
}

const countOneTimeKeys = `SELECT algorithm, COUNT(*) FROM one_time_keys WHERE user_id = $1 AND device_id = $2 GROUP BY algorithm`

func (t *writeTx) countKeys(user id.UserID, device string) (map[string]int, error) {
	counts := map[string]int{}
	return counts, t.each(countOneTimeKeys, []any{string(user), []byte(device)}, pairs(counts))
}

// KeyCounts are the numbers of a device's one-time keys by algorithm, and the algorithms of its unused fallback keys.
func (s *Store) KeyCounts(ctx context.Context, user id.UserID, device string) (map[string]int, []string, error) {
	args := []any{string(user), []byte(device)}
	counts, err := readMap[string, int](ctx, s, countOneTimeKeys, args...)
	if err != nil {
		return nil, nil, err
	}
	unused, err := readAll[string](ctx, s, "SELECT algorithm FROM fallback_keys WHERE user_id = $1 AND device_id = $2 AND used = 0", args...)
	return counts, append([]string{}, unused...), err
}

// KeyClaim asks for a one-time key of a device.
type KeyClaim struct {
	User              id.UserID
	Device, Algorithm string
}

// ClaimKeys takes one-time keys, each handed out once and for all, or the fallback key when they have run out. What can't
// be had is left out.
func (s *Store) ClaimKeys(ctx context.Context, claims []KeyClaim) (map[KeyClaim]OneTimeKey, error) {
	var taken map[KeyClaim]OneTimeKey
	err := s.commit.write(ctx, func(t *writeTx) error {
		taken = map[KeyClaim]OneTimeKey{}
		for _, c := range claims {
			if _, twice := taken[c]; twice {
				continue
			}
			key, found, err := t.claim(c)
			if err != nil {
				return err
			}
			if found {
				taken[c] = key
			}
		}
		return nil
	})
	return taken, err
}

func (t *writeTx) claim(c KeyClaim) (key OneTimeKey, found bool, err error) {
	args := []any{string(c.User), []byte(c.Device), []byte(c.Algorithm)}
	var keyID, content []byte
	found, err = t.found(`SELECT key_id, content FROM one_time_keys WHERE user_id = $1 AND device_id = $2 AND algorithm = $3
		ORDER BY position LIMIT 1`, args, &keyID, &content)
	if err != nil {
		return key, false, err
	}
	if found {
		_, err = t.exec(`DELETE FROM one_time_keys WHERE user_id = $1 AND device_id = $2 AND algorithm = $3 AND key_id = $4`,
			append(args, keyID)...)
	} else if found, err = t.found(`SELECT key_id, content FROM fallback_keys WHERE user_id = $1 AND device_id = $2
		AND algorithm = $3`, args, &keyID, &content); found && err == nil {
		_, err = t.exec("UPDATE fallback_keys SET used = 1 WHERE user_id = $1 AND device_id = $2 AND algorithm = $3", args...)
	}
	if found && err == nil { // its device learns by /sync that it has one less
		t.oneTimeKeysChanged(c.User)
	}
	return OneTimeKey{Algorithm: c.Algorithm, ID: string(keyID), Key: content}, found, err
}

// DeviceKeys is a device's keys with its name.
type DeviceKeys struct {
	User        id.UserID
	Device      string
	DisplayName string
	Keys        json.RawMessage // nil: none were uploaded
}

// DeviceKeys reads the devices of this server's users, also those without keys, in order.
func (s *Store) DeviceKeys(ctx context.Context, users []id.UserID) ([]DeviceKeys, error) {
	return readList(ctx, s, `SELECT devices.user_id, devices.device_id, display_name, keys FROM devices LEFT JOIN device_keys
		ON device_keys.user_id = devices.user_id AND device_keys.device_id = devices.device_id
		WHERE devices.user_id IN (%s) ORDER BY devices.user_id, devices.device_id`, nil, users, func(d *DeviceKeys) []any {
		return []any{&d.User, &d.Device, &d.DisplayName, (*[]byte)(&d.Keys)}
	})
}

// DeviceStream is the stream_id of a user's newest change, 0 if there was none.
func (s *Store) DeviceStream(ctx context.Context, user id.UserID) (int64, error) {
	var stream int64
	_, err := s.read.found(ctx, "SELECT stream FROM device_changes WHERE user_id = $1", []any{string(user)}, &stream)
	return stream, err
}

// ServersSharing are the other servers with joined users in the rooms a user is joined to, and those said to be in one whose state isn't
// whole.
func (s *Store) ServersSharing(ctx context.Context, user id.UserID) ([]id.ServerName, error) {
	return readAll[id.ServerName](ctx, s, `SELECT DISTINCT server FROM members JOIN room_servers ON room_servers.room = members.room
		WHERE user_id = $1 AND membership = 'join' AND joined > 0 AND server <> $2
		UNION SELECT server FROM members JOIN partial_servers ON partial_servers.room = members.room
		WHERE user_id = $1 AND membership = 'join' AND server <> $2 ORDER BY server`, string(user), string(s.self))
}
