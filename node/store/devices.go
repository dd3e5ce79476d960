package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"time"

	"hanse/federation/id"
)

// Device is a login of a user.
type Device struct {
	User        id.UserID
	ID          string
	DisplayName string
	Created     time.Time
	LastSeen    time.Time // zero = never
	LastSeenIP  string
	UserAgent   string
	Service     string // the application service that makes it, or logs in to it; not read
}

// TokenHash is what is stored of an access token: who reads the database can't log in.
type TokenHash [sha256.Size]byte

// HashToken makes the hash of an access token. Tokens are long random strings: no salt or cost is needed.
func HashToken(token string) TokenHash { return sha256.Sum256([]byte(token)) }

// Access is what an access token stands for.
type Access struct {
	User        id.UserID
	Device      string
	Admin       bool
	Guest       bool
	Deactivated bool
	Expires     time.Time // zero: never
	OAuth       bool      // the device is one of the OAuth 2.0 API
}

// AddDevice is Login without a token.
func (s *Store) AddDevice(ctx context.Context, d Device) error {
	servers, err := s.ServersSharing(ctx, d.User)
	if err != nil {
		return err
	}
	return s.commit.write(ctx, func(t *writeTx) error { return s.setDevice(t, d, servers) })
}

// setDevice stores a device, and tells of it if it, or its name, is new; [ErrNotFound] if the account has been deactivated, as it may be
// while its user logs in.
func (s *Store) setDevice(t *writeTx, d Device, servers []id.ServerName) error {
	var deactivated int64
	if _, err := t.found("SELECT deactivated FROM users WHERE user_id = $1", []any{string(d.User)}, &deactivated); err != nil {
		return err
	}
	if deactivated != 0 {
		return fmt.Errorf("the account of %s, which has been deactivated: %w", d.User, ErrNotFound)
	}
	var old []byte
	known, err := t.found("SELECT display_name FROM devices WHERE user_id = $1 AND device_id = $2",
		[]any{string(d.User), []byte(d.ID)}, &old)
	if err == nil && !known {
		err = t.noCrossSigningKey(d)
	}
	if err != nil {
		return err
	}
	_, err = t.exec(`INSERT INTO devices (user_id, device_id, display_name, created, last_seen, last_ip, user_agent)
		VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (user_id, device_id) DO UPDATE SET
		display_name = CASE WHEN excluded.display_name = $8 THEN devices.display_name ELSE excluded.display_name END`,
		string(d.User), []byte(d.ID), []byte(d.DisplayName), d.Created.UnixMilli(), millis(d.LastSeen), []byte(d.LastSeenIP),
		[]byte(d.UserAgent), []byte{})
	if err == nil && (known || d.Service != "") {
		err = t.setService(d.User, d.ID, d.Service, known)
	}
	if err != nil || known && (d.DisplayName == "" || string(old) == d.DisplayName) {
		return err
	}
	return s.changed(t, d.User, deviceUpdate{devices: []string{d.ID}, servers: servers, visible: true})
}

// noCrossSigningKey is [ErrExists] if a cross-signing key of its user has the name of a device: clients would not know the two apart.
//
// spec:client-server-api/modules/end_to_end_encryption#key-and-signature-security
func (t *writeTx) noCrossSigningKey(d Device) error {
	return t.each("SELECT keys FROM cross_signing_keys WHERE user_id = $1", []any{string(d.User)}, func(rows *sql.Rows) error {
		var keys []byte
		err := rows.Scan(&keys)
		if err == nil && publicKey(keys) == d.ID {
			err = fmt.Errorf("a cross-signing key of %s with the name of the device %s: %w", d.User, d.ID, ErrExists)
		}
		return err
	})
}

// Access tells what a token stands for; false when it is not known (any more).
func (s *Store) Access(ctx context.Context, token TokenHash) (Access, bool, error) {
	return readRow(ctx, s, `SELECT access_tokens.user_id, access_tokens.device_id, admin, guest, deactivated, COALESCE(expires, 0),
		oauth_grants.user_id IS NOT NULL FROM access_tokens JOIN users ON users.user_id = access_tokens.user_id
		LEFT JOIN oauth_grants ON oauth_grants.user_id = access_tokens.user_id AND oauth_grants.device_id = access_tokens.device_id
		WHERE token_hash = $1`, []any{token[:]}, func(a *Access) []any {
		return []any{&a.User, &a.Device, &a.Admin, &a.Guest, &a.Deactivated, timeColumn{&a.Expires}, &a.OAuth}
	})
}

const deviceColumns = "user_id, device_id, display_name, created, last_seen, last_ip, user_agent"

func (d *Device) columns() []any {
	return []any{&d.User, &d.ID, &d.DisplayName, timeColumn{&d.Created}, timeColumn{&d.LastSeen}, &d.LastSeenIP, &d.UserAgent}
}

// Device reads a device; false when there is none.
func (s *Store) Device(ctx context.Context, user id.UserID, device string) (Device, bool, error) {
	return readRow(ctx, s, "SELECT "+deviceColumns+" FROM devices WHERE user_id = $1 AND device_id = $2",
		[]any{string(user), []byte(device)}, (*Device).columns)
}

// Devices lists a user's devices in order of their IDs.
func (s *Store) Devices(ctx context.Context, user id.UserID) ([]Device, error) {
	return readRows(ctx, s, "SELECT "+deviceColumns+" FROM devices WHERE user_id = $1 ORDER BY device_id", []any{string(user)},
		(*Device).columns)
}

// DeviceCount is how many devices a user has.
func (s *Store) DeviceCount(ctx context.Context, user id.UserID) (int, error) {
	counts, err := s.DeviceCounts(ctx, user)
	return counts[user], err
}

// DeviceCounts is how many devices users have, of those who have any.
func (s *Store) DeviceCounts(ctx context.Context, users ...id.UserID) (map[id.UserID]int, error) {
	return mapOf[id.UserID, int](ctx, s, "SELECT user_id, COUNT(*) FROM devices WHERE user_id IN (%s) GROUP BY user_id", nil, users)
}

// RenameDevice sets a device's display name and tells clients and other servers; [ErrNotFound] if there is no such device.
func (s *Store) RenameDevice(ctx context.Context, user id.UserID, device, name string) error {
	servers, err := s.ServersSharing(ctx, user)
	if err != nil {
		return err
	}
	return s.commit.write(ctx, func(t *writeTx) error {
		args := []any{string(user), []byte(device)}
		var old []byte
		found, err := t.found("SELECT display_name FROM devices WHERE user_id = $1 AND device_id = $2", args, &old)
		if err == nil && !found {
			err = fmt.Errorf("the device %q: %w", device, ErrNotFound)
		}
		if err != nil || string(old) == name {
			return err
		}
		_, err = t.exec("UPDATE devices SET display_name = $1 WHERE user_id = $2 AND device_id = $3", []byte(name), string(user), []byte(device))
		if err != nil {
			return err
		}
		return s.changed(t, user, deviceUpdate{devices: []string{device}, servers: servers, visible: true})
	})
}

// DeleteDevices removes devices with their tokens, keys and messages, and tells clients and other servers. Unknown ones are passed
// over.
func (s *Store) DeleteDevices(ctx context.Context, user id.UserID, devices ...string) error {
	servers, err := s.ServersSharing(ctx, user)
	if err != nil {
		return err
	}
	return s.commit.write(ctx, func(t *writeTx) error { return s.endDevices(t, user, devices, servers) })
}

// DeleteOtherDevices removes all of a user's devices but one, like DeleteDevices; keep "" removes all.
func (s *Store) DeleteOtherDevices(ctx context.Context, user id.UserID, keep string) error {
	servers, err := s.ServersSharing(ctx, user)
	if err != nil {
		return err
	}
	for { // one may log in meanwhile
		all, err := s.Devices(ctx, user)
		if err != nil {
			return err
		}
		var others []string
		for _, d := range all {
			if d.ID != keep {
				others = append(others, d.ID)
			}
		}
		if len(others) == 0 {
			return nil
		}
		err = s.commit.write(ctx, func(t *writeTx) error { return s.endDevices(t, user, others, servers) })
		if err != nil {
			return err
		}
	}
}

// SeenLast are the users with a device that was seen no longer than that before the one that was seen last of all, as exactly as SeenDevices was told.
// It reads all devices.
func (s *Store) SeenLast(ctx context.Context, before time.Duration) ([]id.UserID, error) {
	return readAll[id.UserID](ctx, s, `SELECT DISTINCT user_id FROM devices
		WHERE last_seen > 0 AND last_seen >= (SELECT MAX(last_seen) FROM devices) - $1 ORDER BY user_id`, before.Milliseconds())
}

// SeenDevices notes when and from where devices were last seen: User, ID, LastSeen, LastSeenIP and UserAgent of each
// count. Unknown ones are passed over. Callers gather for a while; it need not be exact.
func (s *Store) SeenDevices(ctx context.Context, seen []Device) error {
	return s.commit.write(ctx, func(t *writeTx) error {
		for _, d := range seen {
			_, err := t.exec(`UPDATE devices SET last_seen = $1, last_ip = $2, user_agent = $3
				WHERE user_id = $4 AND device_id = $5`,
				millis(d.LastSeen), []byte(d.LastSeenIP), []byte(d.UserAgent), string(d.User), []byte(d.ID))
			if err != nil {
				return err
			}
		}
		return nil
	})
}
