package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"hanse/federation/id"
)

// RemoteDevices are the devices of another server's user, as that server told.
type RemoteDevices struct {
	User    id.UserID
	Stream  int64
	Devices map[string]json.RawMessage // by ID, as user/devices has them
}

// RemoteDeviceUpdate is one update of a list.
type RemoteDeviceUpdate struct {
	User    id.UserID
	Device  string
	Content json.RawMessage // as in RemoteDevices; nil: it is deleted
	Stream  int64
	Prev    []int64
	// Unreadable says that there was an update, but not which: only User is known.
	Unreadable bool
}

// shares tells whether another server's user is in a room with one of ours: only then the devices are any of our business,
// and only then the other server tells of their changes.
func (s *Store) shares(t *writeTx, user id.UserID) (bool, error) {
	var one int64
	return t.found(`SELECT 1 FROM members JOIN room_servers ON room_servers.room = members.room
		WHERE user_id = $1 AND membership = 'join' AND server = $2 AND joined > 0 LIMIT 1`, []any{string(user), string(s.self)}, &one)
}

// untrack forgets another server's user's list.
func (t *writeTx) untrack(user id.UserID) error {
	for _, table := range []string{"remote_device_lists", "remote_devices", "cross_signing_keys", "device_changes"} {
		if _, err := t.exec("DELETE FROM "+table+" WHERE user_id = $1", string(user)); err != nil {
			return err
		}
	}
	return nil
}

// cleanRemoteDevices forgets the lists of users who share no room any more.
func (s *Store) cleanRemoteDevices(ctx context.Context) error {
	for {
		users, err := readAll[id.UserID](ctx, s, `SELECT user_id FROM remote_device_lists WHERE NOT EXISTS (
			SELECT 1 FROM members JOIN room_servers ON room_servers.room = members.room
			WHERE members.user_id = remote_device_lists.user_id AND membership = 'join' AND server = $1 AND joined > 0) LIMIT $2`,
			string(s.self), untrackAtOnce)
		if err != nil || len(users) == 0 {
			return err
		}
		err = s.commit.write(ctx, func(t *writeTx) error {
			for _, user := range users {
				shared, err := s.shares(t, user)
				if err == nil && !shared {
					err = t.untrack(user)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// SaveRemoteDevices stores a whole list with the user's cross-signing keys, in place of what was known, and tells clients if
// it is another. asked is the position when it was asked for. outdated is asked in the transaction whether an update has
// come since that may not be in it: then the list is stale. Of a user who shares no room nothing is kept.
func (s *Store) SaveRemoteDevices(ctx context.Context, d RemoteDevices, keys []CrossSigningKey, asked Position, outdated func() bool) (stale bool, err error) {
	err = s.commit.write(ctx, func(t *writeTx) error {
		shared, err := s.shares(t, d.User)
		if err != nil || !shared {
			return s.leave(t, d.User, err)
		}
		var fetched int64 // 0: it is the first time
		_, err = t.found("SELECT fetched FROM remote_device_lists WHERE user_id = $1", []any{string(d.User)}, &fetched)
		if err != nil {
			return err
		}
		stale = outdated()
		_, err = t.exec(`INSERT INTO remote_device_lists (user_id, stream, fetched, stale) VALUES ($1, $2, $3, $4)
			ON CONFLICT (user_id) DO UPDATE SET stream = excluded.stream, fetched = excluded.fetched, stale = excluded.stale,
			again = 0, refused = 0`, string(d.User), d.Stream, int64(asked), flag(stale))
		if err != nil {
			return err
		}
		devices, err := t.replaceDevices(d)
		if err != nil {
			return err
		}
		signing, err := t.replaceCrossSigning(d.User, keys)
		if err != nil || fetched == 0 || !devices && !signing {
			return err
		}
		return s.changed(t, d.User, deviceUpdate{visible: true})
	})
	return stale, err
}

// leave ends an operation about a user who shares no room: nothing is kept.
func (s *Store) leave(t *writeTx, user id.UserID, err error) error {
	var one int64
	if err != nil {
		return err
	}
	found, err := t.found("SELECT 1 FROM remote_device_lists WHERE user_id = $1", []any{string(user)}, &one)
	if err != nil || !found {
		return err
	}
	return t.untrack(user)
}

// replaceDevices writes what differs from what is stored of a user's devices.
func (t *writeTx) replaceDevices(d RemoteDevices) (changed bool, err error) {
	old := map[string][]byte{}
	err = t.each("SELECT device_id, device FROM remote_devices WHERE user_id = $1", []any{string(d.User)},
		pairs(old))
	if err != nil {
		return false, err
	}
	for device := range old {
		if _, there := d.Devices[device]; !there {
			changed = true
			if err := t.remoteDevice(d.User, device, nil); err != nil {
				return false, err
			}
		}
	}
	for device, content := range d.Devices {
		if before, there := old[device]; there && bytes.Equal(before, content) {
			continue
		}
		changed = true
		if err := t.remoteDevice(d.User, device, content); err != nil {
			return false, err
		}
	}
	return changed, nil
}

// replaceCrossSigning makes keys all that is stored of a user's cross-signing keys.
func (t *writeTx) replaceCrossSigning(user id.UserID, keys []CrossSigningKey) (changed bool, err error) {
	have := map[string]bool{}
	for _, k := range keys {
		have[k.Usage] = true
		fresh, err := t.crossSigningKey(user, k)
		if err != nil {
			return false, err
		}
		changed = changed || fresh
	}
	for _, usage := range []string{"master", "self_signing"} {
		if have[usage] {
			continue
		}
		n, err := t.exec("DELETE FROM cross_signing_keys WHERE user_id = $1 AND usage = $2", string(user), usage)
		if err != nil {
			return false, err
		}
		changed = changed || n > 0
	}
	return changed, nil
}

// RemoteDeviceUpdated applies one update of a list. It is applied only if nothing before it was missed; otherwise the list
// becomes stale, and missed is true. An update that is old by its number, but says something else than is known, tells that
// the numbers of its server began anew: then the list is stale too. Of a list that isn't kept only clients are told. One that
// begins with this update is to be fetched, as by Synapse; clients were told when the user came, and nobody has asked since
// (TrackDevices). Of a user who shares no room nothing is written.
//
// spec:server-server-api#device-management
func (s *Store) RemoteDeviceUpdated(ctx context.Context, u RemoteDeviceUpdate) (missed bool, err error) {
	err = s.commit.write(ctx, func(t *writeTx) error {
		missed = false
		shared, err := s.shares(t, u.User)
		if err != nil || !shared {
			return s.leave(t, u.User, err)
		}
		var at, stale int64
		found, err := t.found("SELECT stream, stale FROM remote_device_lists WHERE user_id = $1", []any{string(u.User)}, &at, &stale)
		if err != nil {
			return err
		}
		if !found && len(u.Prev) == 0 && !u.Unreadable {
			missed = true
			return s.track(t, u.User, false)
		}
		if !found || stale != 0 {
			missed = found
			return s.changed(t, u.User, deviceUpdate{visible: true})
		}
		same, full, err := t.knownDevice(u)
		switch {
		case err != nil:
			return err
		case u.Stream <= at && same && !u.Unreadable:
			return nil
		case u.Unreadable || u.Stream <= at || u.follows(at) || full:
			missed = true
			if _, err := t.exec("UPDATE remote_device_lists SET stale = 1 WHERE user_id = $1", string(u.User)); err != nil {
				return err
			}
			return s.changed(t, u.User, deviceUpdate{visible: true})
		}
		if _, err := t.exec("UPDATE remote_device_lists SET stream = $1 WHERE user_id = $2", u.Stream, string(u.User)); err != nil || same {
			return err
		}
		if err := t.remoteDevice(u.User, u.Device, u.Content); err != nil {
			return err
		}
		return s.changed(t, u.User, deviceUpdate{visible: true})
	})
	return missed, err
}

// follows tells whether an update stands behind another that a list at a stream_id did not get. One without a prev_id is
// the first there was.
func (u RemoteDeviceUpdate) follows(at int64) bool {
	for _, p := range u.Prev {
		if p > at {
			return true
		}
	}
	return len(u.Prev) == 0 && at > 0
}

// knownDevice tells whether an update says what is stored anyway, and whether the user has as many devices as are kept.
func (t *writeTx) knownDevice(u RemoteDeviceUpdate) (same, full bool, err error) {
	var old []byte
	found, err := t.found("SELECT device FROM remote_devices WHERE user_id = $1 AND device_id = $2",
		[]any{string(u.User), []byte(u.Device)}, &old)
	if err != nil || found || u.Content == nil {
		return found == (u.Content != nil) && bytes.Equal(old, u.Content), false, err
	}
	var count int
	_, err = t.found("SELECT COUNT(*) FROM remote_devices WHERE user_id = $1", []any{string(u.User)}, &count)
	return false, count >= remoteDevices, err
}

// RemoteSigningKeysUpdated takes new cross-signing keys of another server's user; those not named stay. Where none is new the
// list becomes stale, and missed is true: by known keys Dendrite tells that they have signed something.
func (s *Store) RemoteSigningKeysUpdated(ctx context.Context, user id.UserID, keys []CrossSigningKey) (missed bool, err error) {
	err = s.commit.write(ctx, func(t *writeTx) error {
		missed = false
		shared, err := s.shares(t, user)
		if err != nil || !shared {
			return s.leave(t, user, err)
		}
		var one int64
		kept, err := t.found("SELECT 1 FROM remote_device_lists WHERE user_id = $1", []any{string(user)}, &one)
		if err != nil {
			return err
		}
		missed = kept
		for _, k := range keys {
			if !kept {
				break
			}
			fresh, err := t.crossSigningKey(user, k)
			if err != nil {
				return err
			}
			missed = missed && !fresh
		}
		if missed {
			if _, err := t.exec("UPDATE remote_device_lists SET stale = 1 WHERE user_id = $1", string(user)); err != nil {
				return err
			}
		}
		return s.changed(t, user, deviceUpdate{visible: true})
	})
	return missed, err
}

func (t *writeTx) remoteDevice(user id.UserID, device string, content json.RawMessage) error {
	if content == nil {
		_, err := t.exec("DELETE FROM remote_devices WHERE user_id = $1 AND device_id = $2", string(user), []byte(device))
		return err
	}
	return t.insert(insertRemoteDevice, string(user), []byte(device), []byte(content))
}

var insertRemoteDevice = &insertion{
	into: "remote_devices (user_id, device_id, device)", columns: 3, key: 2,
	conflict: "ON CONFLICT (user_id, device_id) DO UPDATE SET device = excluded.device",
}

// TrackDevices notes that the lists of users are to be fetched: those of users who share a room, and of whom none is kept.
// missed says that somebody asked for them in vain: clients are told when they come.
func (s *Store) TrackDevices(ctx context.Context, users []id.UserID, missed bool) error {
	// Of those that are known nothing is to be written.
	known, err := mapOf[id.UserID, bool](ctx, s, "SELECT user_id, 1 FROM remote_device_lists WHERE stale = 1 AND (fetched > 0 OR $1 = 0) AND user_id IN (%s)",
		[]any{flag(missed)}, users)
	if err != nil || len(known) == len(users) {
		return err
	}
	return s.commit.write(ctx, func(t *writeTx) error {
		for _, user := range users {
			if known[user] {
				continue
			}
			if err := s.track(t, user, missed); err != nil {
				return err
			}
		}
		return nil
	})
}

// track notes that a user's list is to be fetched.
func (s *Store) track(t *writeTx, user id.UserID, missed bool) error {
	shared, err := s.shares(t, user)
	if err != nil || !shared {
		return s.leave(t, user, err)
	}
	fetched := Position(0)
	if missed {
		fetched = s.Position()
	}
	_, err = t.exec(`INSERT INTO remote_device_lists (user_id, stream, fetched, stale) VALUES ($1, 0, $2, 1)
		ON CONFLICT (user_id) DO UPDATE SET stale = 1,
		fetched = CASE WHEN remote_device_lists.fetched = 0 THEN excluded.fetched ELSE remote_device_lists.fetched END`,
		string(user), int64(fetched))
	return err
}

// DevicesRefused notes that a user's server doesn't give the list: it is to be fetched all the same, but not at once, and the
// later the more often it was refused. Until then clients are told of each change that the server tells of.
func (s *Store) DevicesRefused(ctx context.Context, user id.UserID, now time.Time) error {
	return s.commit.write(ctx, func(t *writeTx) error {
		if err := s.track(t, user, true); err != nil {
			return err
		}
		var refused int64
		found, err := t.found("SELECT refused FROM remote_device_lists WHERE user_id = $1", []any{string(user)}, &refused)
		if err != nil || !found {
			return err
		}
		wait := min(refusedFirst<<min(refused, 20), refusedMax)
		_, err = t.exec("UPDATE remote_device_lists SET refused = refused + 1, again = $1 WHERE user_id = $2",
			now.Add(wait).UnixMilli(), string(user))
		return err
	})
}

// StaleDevices are users whose device list is to be fetched now, after a user, at most limit; those too that are to be fetched at a time
// which only a clock that was ahead can have said.
func (s *Store) StaleDevices(ctx context.Context, now time.Time, after id.UserID, limit int) ([]id.UserID, error) {
	return readAll[id.UserID](ctx, s, `SELECT user_id FROM remote_device_lists WHERE stale = 1 AND user_id > $1 AND (again <= $2 OR again > $3)
		ORDER BY user_id LIMIT $4`, string(after), now.UnixMilli(), now.Add(refusedMax).UnixMilli(), limit)
}

// RemoteDevices reads the lists of those users that are known and true: nothing was missed, and the user has shared a
// room with one of ours ever since the list was fetched, so that its server told of every change.
func (s *Store) RemoteDevices(ctx context.Context, users []id.UserID) (map[id.UserID]*RemoteDevices, error) {
	lists := map[id.UserID]*RemoteDevices{}
	// The sum keeps SQLite from going by members_since, through others' members too.
	err := list(`SELECT user_id, stream FROM remote_device_lists AS l WHERE stale = 0 AND user_id IN (%s) AND EXISTS (
		SELECT 1 FROM members AS r JOIN members AS m ON m.room = r.room WHERE r.user_id = l.user_id
		AND r.membership = 'join' AND r.since <= l.fetched
		AND m.local = 1 AND m.membership = 'join' AND m.since + 0 <= l.fetched)`, nil, users, func(query string, args []any) error {
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
			var device string
			var content []byte
			err := rows.Scan(&user, &device, &content)
			if d := lists[user]; d != nil {
				d.Devices[device] = content
			}
			return err
		})
	})
}

// DeviceChanges are the users, the asking one among them, whose devices changed in (after, upto] and who share a room with
// the user; and those whose keys the user signed then.
func (s *Store) DeviceChanges(ctx context.Context, user id.UserID, after, upto Position) ([]id.UserID, error) {
	return readAll[id.UserID](ctx, s, `SELECT user_id FROM device_changes WHERE position > $1 AND position <= $2
		AND (user_id = $3 OR EXISTS (SELECT 1 FROM members AS a JOIN members AS b ON b.room = a.room
		WHERE a.user_id = device_changes.user_id AND b.user_id = $3 AND a.membership = 'join' AND b.membership = 'join'))
		UNION SELECT user_id FROM device_changes WHERE user_id = $3 AND own > $1 AND own <= $2
		UNION SELECT user_id FROM key_signatures WHERE signer = $3 AND user_id <> $3 AND position > $1 AND position <= $2`,
		int64(after), int64(upto), string(user))
}

// MembersMoved are the members whose membership of one of the rooms changed in (after, upto]: not only the name or picture.
func (s *Store) MembersMoved(ctx context.Context, rooms []id.RoomID, after, upto Position) ([]Membership, error) {
	var all []Membership
	err := list("SELECT "+memberColumns+` FROM members WHERE since > $1 AND since <= $2
		AND room IN (SELECT room FROM rooms WHERE room_id IN (%s))`, []any{int64(after), int64(upto)}, rooms,
		func(query string, args []any) error {
			some, err := s.eachMember(ctx, query, args...)
			all = append(all, some...)
			return err
		})
	return all, err
}

// SharingWithUs are those of other servers' users who are in a room with one of ours, as far as we know.
func (s *Store) SharingWithUs(ctx context.Context, users []id.UserID) ([]id.UserID, error) {
	return readList(ctx, s, `SELECT DISTINCT user_id FROM members JOIN room_servers ON room_servers.room = members.room
		WHERE membership = 'join' AND server = $1 AND joined > 0 AND user_id IN (%s)`, []any{string(s.self)}, users, oneColumn[id.UserID])
}

// RoomsWithUs are the rooms to which users are joined, ours or of other servers, and in which this server has users; in order.
func (s *Store) RoomsWithUs(ctx context.Context, users []id.UserID) (map[id.UserID][]id.RoomID, error) {
	rooms, shared := map[id.UserID][]id.RoomID{}, map[id.RoomID]id.RoomID{} // each name is in memory once
	return rooms, list(`SELECT user_id, room_id FROM members JOIN rooms ON rooms.room = members.room
		JOIN room_servers ON room_servers.room = members.room
		WHERE membership = 'join' AND out_of_room = 0 AND server = $1 AND joined > 0 AND user_id IN (%s) ORDER BY user_id, room_id`,
		[]any{string(s.self)}, users, func(query string, args []any) error {
			return s.read.each(ctx, query, args, func(rows *sql.Rows) error {
				var user id.UserID
				var room id.RoomID
				if err := rows.Scan(&user, &room); err != nil {
					return err
				}
				if known, ok := shared[room]; ok {
					room = known
				}
				shared[room] = room
				rooms[user] = append(rooms[user], room)
				return nil
			})
		})
}

// Sharing are those of the others who share a joined room with the user.
func (s *Store) Sharing(ctx context.Context, user id.UserID, others []id.UserID) (map[id.UserID]bool, error) {
	// Written as a join, SQLite looks for each of the others in each of the user's rooms.
	return mapOf[id.UserID, bool](ctx, s, `SELECT a.user_id, 1 FROM members AS a WHERE a.membership = 'join' AND a.user_id IN (%s) AND EXISTS (
		SELECT 1 FROM members AS b WHERE b.room = a.room AND b.user_id = $1 AND b.membership = 'join')`,
		[]any{string(user)}, others)
}
