package store

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"hanse/federation"
	"hanse/federation/id"
)

// What is kept for a server that is out for long is bounded: first the changes of devices go, which can be made anew, and of
// messages to devices the oldest, when there are too many or they are too old. When the server is back, it is told that the
// lists of devices have changed of all users who share a room with it, so that it asks for them, and clients make what keys
// they can't use any more anew.

// keptRow is an EDU that is kept for a server.
type keptRow struct {
	position Position
	message  bool // to devices; or a change of devices
	bytes    int64
	since    int64 // Unix time in milliseconds; 0: not known
}

// forgettable decides what of a server's rows, the newest first, is to be dropped: messages up to a position, changes, and
// everything from before a time.
func forgettable(rows []keptRow, before int64) (messages Position, changes bool) {
	count, bytes, others := 0, int64(0), 0
	for _, row := range rows {
		old := row.since > 0 && row.since < before
		if !row.message {
			others++
			changes = changes || old || others > keptChanges
			continue
		}
		count++
		bytes += row.bytes
		if messages == 0 && (old || count > keptMessages || bytes > keptBytes) {
			messages = row.position
		}
	}
	return messages, changes
}

// forget drops what is kept too much of for servers that are out, where something has come or become too old since the last time.
func (s *Store) forget(ctx context.Context, now time.Time) error {
	before := now.Add(-keptFor).UnixMilli()
	old, err := readAll[id.ServerName](ctx, s, "SELECT DISTINCT destination FROM outbox_kept WHERE since > 0 AND since < $1", before)
	if err != nil {
		return err
	}
	grown := s.outbox.takeGrown()
	for _, server := range old {
		grown[server] = true
	}
	for server := range grown {
		if err := s.forgetOf(ctx, server, before); err != nil {
			s.outbox.setGrown(grown)
			return err
		}
	}
	return nil
}

func (s *Store) forgetOf(ctx context.Context, server id.ServerName, before int64) error {
	rows, err := readRows(ctx, s, `SELECT position, CASE WHEN subject = '' THEN 1 ELSE 0 END, LENGTH(edu), since FROM outbox_kept
		WHERE destination = $1 ORDER BY position DESC`, []any{string(server)}, func(row *keptRow) []any {
		return []any{&row.position, &row.message, &row.bytes, &row.since}
	})
	messages, changes := forgettable(rows, before)
	if err != nil || messages == 0 && !changes {
		return err
	}
	var dropped int64
	err = s.commit.write(ctx, func(t *writeTx) (err error) {
		dropped, err = t.exec("DELETE FROM outbox_kept WHERE destination = $1 AND position <= $2 AND subject = ''", string(server), int64(messages))
		if err == nil && changes {
			_, err = t.exec("DELETE FROM outbox_kept WHERE destination = $1 AND subject <> ''", string(server))
		}
		if err != nil {
			return err
		}
		return s.toRemind(t, server)
	})
	if err == nil && dropped > 0 {
		s.log.Warn("messages to devices are dropped: their server is out for too long, or there are too many", "server", server, "messages", dropped)
	}
	return err
}

// toRemind has a server reminded of the lists of devices of all users who share a room with it.
func (s *Store) toRemind(t *writeTx, server id.ServerName) error {
	_, err := t.exec(`INSERT INTO outbox_forgotten (destination, told) VALUES ($1, '')
		ON CONFLICT (destination) DO UPDATE SET told = ''`, string(server))
	t.then(func() { s.outbox.forgot(server) })
	return err
}

// takeGrown are the servers for which more is kept than at the last time.
func (o *outbox) takeGrown() map[id.ServerName]bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	grown := o.grown
	o.grown = map[id.ServerName]bool{}
	return grown
}

// setGrown has servers looked at again.
func (o *outbox) setGrown(grown map[id.ServerName]bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	maps.Copy(o.grown, grown)
}

func (o *outbox) forgot(server id.ServerName) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lag(server)
	o.forgotten[server] = true
}

// remind keeps for a server for which something was dropped that lists of devices have changed, of at most so many users.
func (s *Store) remind(ctx context.Context, server id.ServerName, users int) error {
	o := s.outbox
	o.mu.Lock()
	forgotten := o.forgotten[server]
	o.mu.Unlock()
	if !forgotten {
		return nil
	}
	return s.commit.write(ctx, func(t *writeTx) error {
		devices, err := t.unreminded(server, users)
		if err != nil {
			return err
		}
		reminded := slices.Sorted(maps.Keys(devices))
		for _, user := range reminded {
			if err := t.keepReminder(server, user, devices[user]); err != nil {
				return err
			}
		}
		if len(reminded) == users {
			_, err = t.exec("UPDATE outbox_forgotten SET told = $1 WHERE destination = $2", string(reminded[users-1]), string(server))
			return err
		}
		t.then(func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			delete(o.forgotten, server)
		})
		_, err = t.exec("DELETE FROM outbox_forgotten WHERE destination = $1", string(server))
		return err
	})
}

// unreminded goes through the devices, which only users of ours have, and takes the first of each: of their memberships there is no order
// without everybody's.
const unreminded = `SELECT user_id, device_id FROM devices AS d
	WHERE user_id > (SELECT told FROM outbox_forgotten WHERE destination = $1)
	AND NOT EXISTS (SELECT 1 FROM devices AS e WHERE e.user_id = d.user_id AND e.device_id < d.device_id)
	AND EXISTS (SELECT 1 FROM members AS m JOIN room_servers ON room_servers.room = m.room
		WHERE m.user_id = d.user_id AND membership = 'join' AND server = $1 AND joined > 0)
	AND NOT EXISTS (SELECT 1 FROM outbox_kept WHERE destination = $1 AND subject = $2 || d.user_id)
	ORDER BY user_id LIMIT $3`

// unreminded are the next users of whom a server is to be told, each with one of the devices: those who share a room with it,
// and of whom nothing is kept for it anyway.
func (t *writeTx) unreminded(server id.ServerName, limit int) (map[id.UserID]string, error) {
	devices := map[id.UserID]string{}
	args := []any{string(server), deviceSubject(""), limit}
	return devices, t.each(unreminded, args, pairs(devices))
}

func (t *writeTx) keepReminder(server id.ServerName, user id.UserID, device string) error {
	content, err := t.listAnnouncement(user, device)
	if err != nil {
		return err
	}
	edu, err := json.Marshal(federation.EDU{Type: federation.EDUDeviceListUpdate, Content: content})
	if err != nil {
		return err
	}
	_, err = t.exec("INSERT INTO outbox_kept (destination, position, edu, subject, since) VALUES ($1, $2, $3, $4, $5)",
		string(server), int64(t.next()), edu, deviceSubject(user), time.Now().UnixMilli())
	return err
}
