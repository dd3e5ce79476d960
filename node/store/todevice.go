package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"time"

	"hanse/federation/id"
)

// ToDevice is a message to one device of this server's, as the device gets it: sender, type, content.
type ToDevice struct {
	User     id.UserID
	Device   string
	Message  json.RawMessage
	Position Position // set by the store
}

// insertToDevice and insertSeen are gathered: see writeTx.insert.
var (
	insertToDevice = &insertion{into: "to_device (user_id, device_id, position, message)", columns: 4, key: 0}
	insertSeen     = &insertion{into: "to_device_seen (hash, received)", columns: 2, key: 0}
)

// SeenHash names something that is taken once: a message of a server, a request of a client.
func SeenHash(parts ...string) [sha256.Size]byte {
	text, _ := json.Marshal(parts) // strings always encode
	return sha256.Sum256(text)
}

// SaveToDevice stores messages for devices and queues EDUs for other servers, in one transaction, unless what they came
// with (seen, of SeenHash) was taken before: then it does nothing. Messages to devices that don't exist are dropped.
func (s *Store) SaveToDevice(ctx context.Context, seen [sha256.Size]byte, messages []ToDevice, edus ...QueuedEDU) error {
	return s.commit.write(ctx, func(t *writeTx) error {
		var received int64
		found, err := t.found("SELECT received FROM to_device_seen WHERE hash = $1", []any{seen[:]}, &received)
		if err != nil || found {
			return err
		}
		if err := t.insert(insertSeen, seen[:], time.Now().UnixMilli()); err != nil {
			return err
		}
		for _, m := range messages {
			if err := t.toDevice(m); err != nil {
				return err
			}
		}
		return s.outbox.addEDUs(t, edus)
	})
}

// toDevice writes one message, if there is the device.
func (t *writeTx) toDevice(m ToDevice) error {
	var created int64
	found, err := t.found("SELECT created FROM devices WHERE user_id = $1 AND device_id = $2",
		[]any{string(m.User), []byte(m.Device)}, &created)
	if err != nil || !found {
		return err
	}
	at := t.next()
	t.notify(Notice{Position: at, Kind: KindToDevice, Users: []id.UserID{m.User}})
	return t.insert(insertToDevice, string(m.User), []byte(m.Device), int64(at), []byte(m.Message))
}

// ToDevice reads the oldest messages for a device in (after, upto], at most limit.
func (s *Store) ToDevice(ctx context.Context, user id.UserID, device string, after, upto Position, limit int) ([]ToDevice, error) {
	var all []ToDevice
	err := s.read.each(ctx, `SELECT position, message FROM to_device WHERE user_id = $1 AND device_id = $2
		AND position > $3 AND position <= $4 ORDER BY position LIMIT $5`,
		[]any{string(user), []byte(device), int64(after), int64(upto), limit}, func(rows *sql.Rows) error {
			m := ToDevice{User: user, Device: device}
			var message []byte
			err := rows.Scan(&m.Position, &message)
			m.Message = message
			all = append(all, m)
			return err
		})
	return all, err
}

// ToDeviceTaken deletes what a device has acknowledged: its messages up to a position.
func (s *Store) ToDeviceTaken(ctx context.Context, user id.UserID, device string, upto Position) error {
	var oldest Position
	found, err := s.read.found(ctx, `SELECT position FROM to_device WHERE user_id = $1 AND device_id = $2
		AND position <= $3 LIMIT 1`, []any{string(user), []byte(device), int64(upto)}, &oldest)
	if err != nil || !found {
		return err
	}
	return s.commit.write(ctx, func(t *writeTx) error {
		_, err := t.exec("DELETE FROM to_device WHERE user_id = $1 AND device_id = $2 AND position <= $3",
			string(user), []byte(device), int64(upto))
		return err
	})
}
