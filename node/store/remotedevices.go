package store

import (
	"context"
	"database/sql"
	"encoding/json"

	"hanse/federation/id"
)

// RemoteDevices are the devices of another server's user, as that server told.
type RemoteDevices struct {
	User    id.UserID
	Stream  int64
	Devices map[string]json.RawMessage // by ID, as user/devices has them
}

// SaveRemoteDevices stores a whole list with the user's cross-signing keys. asked is the position when it was asked for.
func (s *Store) SaveRemoteDevices(ctx context.Context, d RemoteDevices, keys []CrossSigningKey, asked Position) error {
	return s.commit.write(ctx, func(t *writeTx) error {
		_, err := t.exec(`INSERT INTO remote_device_lists (user_id, stream, fetched, stale) VALUES ($1, $2, $3, 0)
			ON CONFLICT (user_id) DO UPDATE SET stream = excluded.stream, fetched = excluded.fetched, stale = 0`,
			string(d.User), d.Stream, int64(asked))
		if err != nil {
			return err
		}
		for _, table := range []string{"remote_devices", "cross_signing_keys"} {
			if _, err := t.exec("DELETE FROM "+table+" WHERE user_id = $1", string(d.User)); err != nil {
				return err
			}
		}
		for device, content := range d.Devices {
			_, err := t.exec("INSERT INTO remote_devices (user_id, device_id, device) VALUES ($1, $2, $3)",
				string(d.User), []byte(device), []byte(content))
			if err != nil {
				return err
			}
		}
		if _, err := t.crossSigning(d.User, keys); err != nil {
			return err
		}
		return s.changed(t, d.User)
	})
}

// RemoteDeviceChange applies one update of a list: device nil removes it. It is applied only if the list is at one of
// prev, or prev is empty and the list at nothing newer; otherwise the list is stale, and missed is true. An update of an
// unknown list, or one that is known already, changes no list.
func (s *Store) RemoteDeviceChange(ctx context.Context, user id.UserID, device string, content json.RawMessage, stream int64, prev []int64) (missed bool, err error) {
	err = s.commit.write(ctx, func(t *writeTx) error {
		missed = false
		var at, stale int64
		found, err := t.found("SELECT stream, stale FROM remote_device_lists WHERE user_id = $1", []any{string(user)}, &at, &stale)
		if err != nil {
			return err
		}
		if !found || stale != 0 {
			missed = found
			return s.changed(t, user)
		}
		if stream <= at {
			return nil
		}
		for _, p := range prev {
			missed = missed || p > at
		}
		if missed {
			if _, err := t.exec("UPDATE remote_device_lists SET stale = 1 WHERE user_id = $1", string(user)); err != nil {
				return err
			}
			return s.changed(t, user)
		}
		if err := t.remoteDevice(user, device, content); err != nil {
			return err
		}
		if _, err := t.exec("UPDATE remote_device_lists SET stream = $1 WHERE user_id = $2", stream, string(user)); err != nil {
			return err
		}
		return s.changed(t, user)
	})
	return missed, err
}

func (t *writeTx) remoteDevice(user id.UserID, device string, content json.RawMessage) error {
	if content == nil {
		_, err := t.exec("DELETE FROM remote_devices WHERE user_id = $1 AND device_id = $2", string(user), []byte(device))
		return err
	}
	_, err := t.exec(`INSERT INTO remote_devices (user_id, device_id, device) VALUES ($1, $2, $3)
		ON CONFLICT (user_id, device_id) DO UPDATE SET device = excluded.device`, string(user), []byte(device), []byte(content))
	return err
}

// StaleDevices are users whose device list missed an update, after a user, at most limit.
func (s *Store) StaleDevices(ctx context.Context, after id.UserID, limit int) ([]id.UserID, error) {
	return readAll[id.UserID](ctx, s, `SELECT user_id FROM remote_device_lists WHERE stale = 1 AND user_id > $1
		ORDER BY user_id LIMIT $2`, string(after), limit)
}

// RemoteDevices reads the lists of those users that are known and true: nothing was missed, and the user has shared a
// room with one of ours ever since the list was fetched, so that its server told of every change.
func (s *Store) RemoteDevices(ctx context.Context, users []id.UserID) (map[id.UserID]*RemoteDevices, error) {
	lists := map[id.UserID]*RemoteDevices{}
	err := list(`SELECT user_id, stream FROM remote_device_lists AS l WHERE stale = 0 AND user_id IN (%s) AND EXISTS (
		SELECT 1 FROM members AS r JOIN members AS m ON m.room = r.room WHERE r.user_id = l.user_id
		AND r.membership = 'join' AND r.position <= l.fetched
		AND m.local = 1 AND m.membership = 'join' AND m.position <= l.fetched)`, nil, users, func(query string, args []any) error {
		return s.read.each(ctx, query, args, func(rows *sql.Rows) error {
			d := &RemoteDevices{Devices: map[string]json.RawMessage{}}
			err := rows.Scan(&d.User, &d.Stream)
			lists[d.User] = d
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return lists, list("SELECT user_id, device_id, device FROM remote_devices WHERE user_id IN (%s)", nil, users, func(query string, args []any) error {
		return s.read.each(ctx, query, args, func(rows *sql.Rows) error {
			var user id.UserID
			var device, content []byte
			err := rows.Scan(&user, &device, &content)
			if d := lists[user]; d != nil {
				d.Devices[string(device)] = content
			}
			return err
		})
	})
}

// DeviceChanges are the users, the asking one among them, whose devices changed in (after, upto] and who share a room with
// the user.
func (s *Store) DeviceChanges(ctx context.Context, user id.UserID, after, upto Position) ([]id.UserID, error) {
	return readAll[id.UserID](ctx, s, `SELECT user_id FROM device_changes WHERE position > $1 AND position <= $2
		AND (user_id = $3 OR EXISTS (SELECT 1 FROM members AS a JOIN members AS b ON b.room = a.room
		WHERE a.user_id = device_changes.user_id AND b.user_id = $3 AND a.membership = 'join' AND b.membership = 'join'))`,
		int64(after), int64(upto), string(user))
}

// MembersMoved are the members whose membership of one of the rooms changed in (after, upto].
func (s *Store) MembersMoved(ctx context.Context, rooms []id.RoomID, after, upto Position) ([]Membership, error) {
	var all []Membership
	err := list("SELECT "+memberColumns+` FROM members WHERE position > $1 AND position <= $2
		AND room IN (SELECT room FROM rooms WHERE room_id IN (%s))`, []any{int64(after), int64(upto)}, rooms,
		func(query string, args []any) error {
			some, err := s.eachMember(ctx, query, args...)
			all = append(all, some...)
			return err
		})
	return all, err
}

// Sharing are those of the others who share a joined room with the user.
func (s *Store) Sharing(ctx context.Context, user id.UserID, others []id.UserID) (map[id.UserID]bool, error) {
	sharing := map[id.UserID]bool{}
	return sharing, list(`SELECT DISTINCT a.user_id FROM members AS a JOIN members AS b ON b.room = a.room
		WHERE b.user_id = $1 AND a.membership = 'join' AND b.membership = 'join' AND a.user_id IN (%s)`,
		[]any{string(user)}, others, func(query string, args []any) error {
			return s.read.each(ctx, query, args, func(rows *sql.Rows) error {
				var other id.UserID
				err := rows.Scan(&other)
				sharing[other] = true
				return err
			})
		})
}
