package store

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/federation/room"
)

// deviceUpdate says what of a user's devices and keys a transaction changes.
type deviceUpdate struct {
	devices      []string        // those that are new, gone or have other keys or another name: other servers are told of each
	crossSigning bool            // the master or self-signing key has changed, or a signature of it: other servers are told
	servers      []id.ServerName // whom to tell
	visible      bool            // clients are told: of devices without keys as well, like other servers are
}

// changed notes that a user's devices or keys have changed, and queues what other servers are told of it: what is true in
// this transaction, so that the order of what they get is the order of what was.
//
// spec:server-server-api#device-management
func (s *Store) changed(t *writeTx, user id.UserID, u deviceUpdate) error {
	var position, stream int64
	_, err := t.found("SELECT position, stream FROM device_changes WHERE user_id = $1", []any{string(user)}, &position, &stream)
	if err != nil {
		return err
	}
	notice := Notice{Position: t.next(), Kind: KindDevices, Servers: u.servers}
	if u.visible {
		position = int64(notice.Position)
		notice.Users = []id.UserID{user}
		if notice.Rooms, err = t.joinedRooms(user); err != nil {
			return err
		}
	}
	edus, stream, err := t.announcements(user, u, stream)
	if err != nil {
		return err
	}
	if err := s.outbox.addEDUs(t, edus); err != nil {
		return err
	}
	t.notify(notice)
	_, err = t.exec(`INSERT INTO device_changes (user_id, position, stream) VALUES ($1, $2, $3)
		ON CONFLICT (user_id) DO UPDATE SET position = excluded.position, stream = excluded.stream`, string(user), position, stream)
	return err
}

// ownKeysChanged notes that a user's own clients get by /keys/query what others don't.
func (t *writeTx) ownKeysChanged(user id.UserID) error {
	at := t.next()
	t.notify(Notice{Position: at, Kind: KindDevices, Users: []id.UserID{user}})
	_, err := t.exec(`INSERT INTO device_changes (user_id, position, stream, own) VALUES ($1, 0, 0, $2)
		ON CONFLICT (user_id) DO UPDATE SET own = excluded.own`, string(user), int64(at))
	return err
}

func (t *writeTx) joinedRooms(user id.UserID) ([]id.RoomID, error) {
	return readAllInTx[id.RoomID](t, `SELECT room_id FROM members JOIN rooms ON rooms.room = members.room
		WHERE user_id = $1 AND membership = 'join'`, string(user))
}

// announcements makes the EDUs of a change; stream is the user's newest stream_id before and after it. Each names the one
// before as its prev_id; cross-signing keys take no part in that. For a server that is far behind the newest is enough: it
// misses those before, and fetches the list.
func (t *writeTx) announcements(user id.UserID, u deviceUpdate, stream int64) ([]QueuedEDU, int64, error) {
	var edus []QueuedEDU
	queue := func(eduType string, content any) error {
		encoded, err := json.Marshal(content)
		edus = append(edus, QueuedEDU{
			Type: eduType, Content: encoded, Destinations: u.servers, Keep: true, Subject: eduType + " " + string(user),
		})
		return err
	}
	for _, device := range u.devices {
		prev := stream
		stream = int64(t.next())
		if len(u.servers) == 0 {
			continue // who asks later is told of the new stream_id
		}
		update, err := t.deviceListUpdate(user, device)
		if err != nil {
			return nil, 0, err
		}
		update.StreamID, update.PrevID = stream, []int64{}
		if prev != 0 {
			update.PrevID = append(update.PrevID, prev)
		}
		if err := queue(federation.EDUDeviceListUpdate, update); err != nil {
			return nil, 0, err
		}
	}
	if !u.crossSigning || len(u.servers) == 0 {
		return edus, stream, nil
	}
	update, err := t.signingKeyUpdate(user)
	if err == nil && (update.MasterKey != nil || update.SelfSigningKey != nil) {
		err = queue(federation.EDUSigningKeyUpdate, update)
	}
	return edus, stream, err
}

// AnnounceJoin tells those servers in a room, or said to be in one whose state isn't whole, that a user of ours did not share
// one with before of the user's devices. It is an update of the newest stream_id that follows none, so that a server which
// has the list as it is now does nothing, and one that knows an older list fetches it. It tells of one device, whether that
// has keys or not: the list has both.
//
// spec:server-server-api#device-management
func (s *Store) AnnounceJoin(ctx context.Context, user id.UserID, room id.RoomID) error {
	ref, err := s.rooms.find(ctx, room)
	if err != nil || ref == nil {
		return err
	}
	var device []byte
	found, err := s.read.found(ctx, "SELECT device_id FROM devices WHERE user_id = $1 ORDER BY device_id LIMIT 1", []any{string(user)}, &device)
	if err != nil || !found {
		return err
	}
	servers, err := readAll[id.ServerName](ctx, s, `SELECT server FROM (SELECT server FROM room_servers WHERE room = $1 AND joined > 0
			UNION SELECT server FROM partial_servers WHERE room = $1) AS here WHERE server <> $2
		AND NOT EXISTS (SELECT 1 FROM members JOIN room_servers AS there ON there.room = members.room
			WHERE user_id = $3 AND membership = 'join' AND members.room <> $1 AND there.server = here.server AND there.joined > 0)`,
		ref.number, string(s.self), string(user))
	if err != nil || len(servers) == 0 {
		return err
	}
	return s.commit.write(ctx, func(t *writeTx) error {
		return s.announceList(t, user, string(device), servers)
	})
}

// announceList has servers told of one of a user's devices, in an update of the newest stream_id that follows none.
func (s *Store) announceList(t *writeTx, user id.UserID, device string, servers []id.ServerName) error {
	content, err := t.listAnnouncement(user, device)
	if err != nil {
		return err
	}
	t.notify(Notice{Position: t.next(), Kind: KindDevices, Servers: servers})
	return s.outbox.addEDUs(t, []QueuedEDU{{
		Type: federation.EDUDeviceListUpdate, Content: content, Destinations: servers, Keep: true, Subject: deviceSubject(user),
	}})
}

// listAnnouncement is an update of the newest stream_id that follows none: it says that the list may be another.
func (t *writeTx) listAnnouncement(user id.UserID, device string) (json.RawMessage, error) {
	update, err := t.deviceListUpdate(user, device)
	if err != nil {
		return nil, err
	}
	update.PrevID = []int64{}
	_, err = t.found("SELECT stream FROM device_changes WHERE user_id = $1", []any{string(user)}, &update.StreamID)
	if err != nil {
		return nil, err
	}
	return json.Marshal(update)
}

// deviceSubject is what changes of a user's devices are about; see QueuedEDU.
func deviceSubject(user id.UserID) string {
	return federation.EDUDeviceListUpdate + " " + string(user)
}

// announceMissed has servers told, as the state of a room becomes whole, of what has changed of the devices of our users in it since these
// joined, where nobody knew then that they were to be told: those that turn out to be in the room, and those that were in it, left
// meanwhile and still share another room with the user. It comes before the room's row and those of its servers.
func (w *roomWrite) announceMissed(t *writeTx) error {
	known := map[id.ServerName]bool{w.store.self: true}
	err := t.each(`SELECT server, 1 FROM room_servers WHERE room = $1 AND joined > 0 UNION SELECT server, 1 FROM partial_servers WHERE room = $1`,
		[]any{w.ref.number}, pairs(known))
	if err != nil {
		return err
	}
	missed := map[id.ServerName]bool{} // whether they are in the room
	for _, e := range w.commit.Events {
		if server := e.Event.Sender().Server(); e.Again && e.Status == room.Accepted && e.Event.Membership() != "" && !known[server] {
			missed[server] = false
		}
	}
	for server, joined := range w.commit.Servers {
		if joined > 0 && !known[server] {
			missed[server] = true
		}
	}
	if len(missed) == 0 {
		return nil
	}
	devices := map[id.UserID]string{} // of each user any one: it tells that the list has changed
	err = t.each(`SELECT members.user_id, device_id FROM members JOIN device_changes ON device_changes.user_id = members.user_id
		JOIN devices ON devices.user_id = members.user_id WHERE room = $1 AND local = 1 AND membership = 'join' AND stream > since
		ORDER BY device_id`, []any{w.ref.number}, pairs(devices))
	if err != nil {
		return err
	}
	for _, user := range slices.Sorted(maps.Keys(devices)) {
		if err := w.announceMissedOf(t, user, devices[user], missed); err != nil {
			return err
		}
	}
	return nil
}

// announceMissedOf is announceMissed for one user.
func (w *roomWrite) announceMissedOf(t *writeTx, user id.UserID, device string, missed map[id.ServerName]bool) error {
	shared := map[id.ServerName]bool{}
	if slices.Contains(slices.Collect(maps.Values(missed)), false) {
		err := t.each(`SELECT DISTINCT server, 1 FROM members JOIN room_servers ON room_servers.room = members.room
			WHERE user_id = $1 AND membership = 'join' AND joined > 0`, []any{string(user)}, pairs(shared))
		if err != nil {
			return err
		}
	}
	var servers []id.ServerName
	for _, server := range slices.Sorted(maps.Keys(missed)) {
		if missed[server] || shared[server] {
			servers = append(servers, server)
		}
	}
	if len(servers) == 0 {
		return nil
	}
	return w.store.announceList(t, user, device, servers)
}

// JoinedAt tells whether a user joined a room at a position, rather than became something else or changed the name.
func (s *Store) JoinedAt(ctx context.Context, user id.UserID, room id.RoomID, at Position) (bool, error) {
	m, found, err := s.Membership(ctx, room, user)
	return found && m.Membership == "join" && m.Since == at && !m.OutOfRoom, err
}

// deviceListUpdate describes a device as other servers may see it: its keys with what its owner signed.
func (t *writeTx) deviceListUpdate(user id.UserID, device string) (federation.DeviceListUpdate, error) {
	u := federation.DeviceListUpdate{UserID: user, DeviceID: device}
	var name, keys []byte
	found, err := t.found(`SELECT display_name, keys FROM devices LEFT JOIN device_keys
		ON device_keys.user_id = devices.user_id AND device_keys.device_id = devices.device_id
		WHERE devices.user_id = $1 AND devices.device_id = $2`, []any{string(user), []byte(device)}, &name, &keys)
	if err != nil {
		return u, err
	}
	if !found {
		u.Deleted = true
		return u, nil
	}
	u.DisplayName = string(name)
	if keys != nil {
		u.Keys, err = t.withOwnSignatures(user, device, keys)
	}
	return u, err
}

// signingKeyUpdate has the cross-signing keys that other servers may see: user-signing keys are for their owner alone.
func (t *writeTx) signingKeyUpdate(user id.UserID) (federation.SigningKeyUpdate, error) {
	u := federation.SigningKeyUpdate{UserID: user}
	for usage, into := range map[string]*json.RawMessage{"master": &u.MasterKey, "self_signing": &u.SelfSigningKey} {
		var keys []byte
		found, err := t.found("SELECT keys FROM cross_signing_keys WHERE user_id = $1 AND usage = $2", []any{string(user), usage}, &keys)
		if err != nil {
			return u, err
		}
		if !found {
			continue
		}
		if *into, err = t.withOwnSignatures(user, publicKey(keys), keys); err != nil {
			return u, err
		}
	}
	return u, nil
}

// encryptionTables have what goes with a device.
func encryptionTables() []string {
	return []string{"device_keys", "one_time_keys", "fallback_keys", "to_device", "application_service_devices"}
}

// endDevices deletes devices with all they have, and tells servers.
func (s *Store) endDevices(t *writeTx, user id.UserID, devices []string, servers []id.ServerName) error {
	u := deviceUpdate{servers: servers, visible: true}
	delete(s.waiting.users, user) // it is counted again
	for _, device := range devices {
		args := []any{string(user), []byte(device)}
		n, err := t.exec("DELETE FROM devices WHERE user_id = $1 AND device_id = $2", args...)
		if err != nil {
			return err
		}
		for _, table := range append(encryptionTables(), "access_tokens", "oauth_grants", "pushers") {
			if _, err := t.exec("DELETE FROM "+table+" WHERE user_id = $1 AND device_id = $2", args...); err != nil {
				return err
			}
		}
		if _, err := t.exec("DELETE FROM key_signatures WHERE user_id = $1 AND target = $2", args...); err != nil {
			return err
		}
		if n > 0 {
			u.devices = append(u.devices, device)
		}
	}
	if len(u.devices) == 0 {
		return nil
	}
	t.oneTimeKeysChanged(user)
	return s.changed(t, user, u)
}

// hasKeys tells whether a device has uploaded keys.
func (t *writeTx) hasKeys(user id.UserID, device string) (bool, error) {
	var one int64
	return t.found("SELECT 1 FROM device_keys WHERE user_id = $1 AND device_id = $2", []any{string(user), []byte(device)}, &one)
}

// oneTimeKeysChanged has the users' devices look at what keys they have left.
func (t *writeTx) oneTimeKeysChanged(users ...id.UserID) {
	t.notify(Notice{Position: t.next(), Kind: KindOneTimeKeys, Users: users})
}
