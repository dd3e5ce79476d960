package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"hanse/federation/id"
)

// allDevices stands for all of a user's devices in [ToDevice.Device].
const allDevices = "*"

// ToDevice is a message to one device of this server's, or to all of a user's, as the device gets it: sender, type, content.
type ToDevice struct {
	User    id.UserID
	Device  string
	Message json.RawMessage
	// Sender is who of another server has sent it, "" if it was a user of ours; Stranger whether that server shares no room with the user, see
	// [Store.Strangers]. Of these messages too many are dropped. Both are for storing it, and aren't read.
	Sender   id.UserID
	Stranger bool
	Position Position // set by the store
}

// ToDeviceRequest is what is taken once, of a client or another server: Seen, of [SeenHash], names it.
type ToDeviceRequest struct {
	Seen     [sha256.Size]byte
	Messages []ToDevice  // those to devices that don't exist are dropped
	EDUs     []QueuedEDU // for other servers
}

// ErrTooManyMessages says that a request would become more messages than are stored at once.
var ErrTooManyMessages = errors.New("too many messages to devices at once")

// insertToDevice and insertSeen are gathered: see writeTx.insert.
var (
	insertToDevice = &insertion{into: "to_device (user_id, device_id, position, message, sender, stranger)", columns: 6, key: 0}
	insertSeen     = &insertion{into: "to_device_seen (hash, received)", columns: 2, key: 0}
)

// SeenHash names something that is taken once: a message of a server, a request of a client.
func SeenHash(parts ...string) [sha256.Size]byte {
	text, _ := json.Marshal(parts) // strings always encode
	return sha256.Sum256(text)
}

// SaveToDevice stores messages for devices and queues EDUs for other servers, in one transaction and in the order given.
// What was taken before is passed over, and so is what is too much ([ErrTooManyMessages]): refused has the indexes of those.
func (s *Store) SaveToDevice(ctx context.Context, requests ...ToDeviceRequest) (refused []int, err error) {
	err = s.commit.write(ctx, func(t *writeTx) error {
		refused = nil
		seen, err := t.seen(requests)
		if err != nil {
			return err
		}
		devices, err := t.devicesOf(requests)
		if err != nil {
			return err
		}
		for i, d := range requests {
			if seen[d.Seen] {
				continue
			}
			seen[d.Seen] = true
			err := s.deliver(t, d, devices)
			if errors.Is(err, ErrTooManyMessages) {
				refused = append(refused, i)
				continue
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return refused, err
}

// SeenToDevice tells whether a request was taken already.
func (s *Store) SeenToDevice(ctx context.Context, seen [sha256.Size]byte) (bool, error) {
	return s.read.found(ctx, "SELECT 1 FROM to_device_seen WHERE hash = $1", []any{seen[:]}, new(int))
}

// seen finds which requests were taken before.
func (t *writeTx) seen(requests []ToDeviceRequest) (map[[sha256.Size]byte]bool, error) {
	seen := map[[sha256.Size]byte]bool{}
	return seen, listOf("SELECT hash FROM to_device_seen WHERE hash IN (%s)", nil, requests,
		func(d ToDeviceRequest) any { return d.Seen[:] }, func(query string, args []any) error {
			return t.each(query, args, func(rows *sql.Rows) error {
				var hash []byte
				err := rows.Scan(&hash)
				if len(hash) == sha256.Size {
					seen[[sha256.Size]byte(hash)] = true
				}
				return err
			})
		})
}

// devicesOf reads the devices of those who get something.
func (t *writeTx) devicesOf(requests []ToDeviceRequest) (map[id.UserID][]string, error) {
	devices := map[id.UserID][]string{}
	var users []id.UserID
	for _, d := range requests {
		for _, m := range d.Messages {
			if _, known := devices[m.User]; !known {
				devices[m.User] = nil
				users = append(users, m.User)
			}
		}
	}
	return devices, list("SELECT user_id, device_id FROM devices WHERE user_id IN (%s) ORDER BY user_id, device_id", nil, users,
		func(query string, args []any) error {
			return t.each(query, args, func(rows *sql.Rows) error {
				var user id.UserID
				var device string
				err := rows.Scan(&user, &device)
				devices[user] = append(devices[user], device)
				return err
			})
		})
}

// deliver writes one request; devices are those there are, in order.
func (s *Store) deliver(t *writeTx, d ToDeviceRequest, devices map[id.UserID][]string) error {
	var all []ToDevice
	size, strange := 0, 0 // bytes: of all, and of those of strangers
	for _, m := range d.Messages {
		names := []string{m.Device}
		if m.Device == allDevices {
			names = devices[m.User]
		} else if _, there := slices.BinarySearch(devices[m.User], m.Device); !there {
			continue
		}
		weight := len(names) * len(m.Message)
		if m.Stranger {
			if strange += weight; strange > waitingStrangers {
				continue
			}
		}
		size += weight
		most := deliveredBytes
		if m.Sender != "" {
			most = deliveredByOthers
		}
		if len(all)+len(names) > deliveredMessages || size > most {
			return ErrTooManyMessages
		}
		for _, name := range names {
			m.Device = name
			all = append(all, m)
		}
	}
	if err := t.insert(insertSeen, d.Seen[:], time.Now().UnixMilli()); err != nil {
		return err
	}
	var users []id.UserID
	var at Position
	for _, m := range all {
		at = t.next()
		if err := t.insert(insertToDevice, string(m.User), []byte(m.Device), int64(at), []byte(m.Message), string(m.Sender), int64(m.lane())); err != nil {
			return err
		}
		if len(users) == 0 || users[len(users)-1] != m.User {
			users = append(users, m.User)
		}
	}
	if len(users) > 0 {
		t.notify(Notice{Position: at, Kind: KindToDevice, Users: users})
	}
	if err := s.waits(t, all); err != nil {
		return err
	}
	return s.outbox.addEDUs(t, d.EDUs)
}

// ToDevice reads the oldest messages for a device in (after, upto], at most limit.
func (s *Store) ToDevice(ctx context.Context, user id.UserID, device string, after, upto Position, limit int) ([]ToDevice, error) {
	return readRows(ctx, s, `SELECT user_id, device_id, position, message FROM to_device WHERE user_id = $1 AND device_id = $2
		AND position > $3 AND position <= $4 ORDER BY position LIMIT $5`,
		[]any{string(user), []byte(device), int64(after), int64(upto), limit}, func(m *ToDevice) []any {
			return []any{&m.User, &m.Device, &m.Position, &m.Message}
		})
}

// ToDeviceTaken deletes what a device has acknowledged: its messages up to a position.
func (s *Store) ToDeviceTaken(ctx context.Context, user id.UserID, device string, upto Position) error {
	var oldest Position
	found, err := s.read.found(ctx, `SELECT position FROM to_device WHERE user_id = $1 AND device_id = $2
		AND position <= $3 LIMIT 1`, []any{string(user), []byte(device), int64(upto)}, &oldest)
	if err != nil || !found {
		return err
	}
	return s.commit.write(ctx, func(t *writeTx) error { return s.taken(t, user, device, upto) })
}
