package store

import (
	"cmp"
	"context"
	"database/sql"
	"slices"

	"hanse/federation/id"
)

// The devices that application services made, whose messages and keys their services may be told of in transactions.

// setService notes which application service has made, or logged in to, a device; "" takes the note away. known says that the device was
// there before: then the service looks for what waits for it, and what keys it has left.
func (t *writeTx) setService(user id.UserID, device, service string, known bool) error {
	var old []byte
	_, err := t.found("SELECT service FROM application_service_devices WHERE user_id = $1 AND device_id = $2",
		[]any{string(user), []byte(device)}, &old)
	if err != nil || string(old) == service {
		return err
	}
	if service == "" {
		_, err := t.exec("DELETE FROM application_service_devices WHERE user_id = $1 AND device_id = $2", string(user), []byte(device))
		return err
	}
	if known {
		t.notify(Notice{Position: t.next(), Kind: KindToDevice, Users: []id.UserID{user}})
		t.oneTimeKeysChanged(user)
	}
	_, err = t.exec(`INSERT INTO application_service_devices (user_id, device_id, service) VALUES ($1, $2, $3)
		ON CONFLICT (user_id, device_id) DO UPDATE SET service = excluded.service`, string(user), []byte(device), []byte(service))
	return err
}

// DeviceService is the application service that has made a device; "" if none has.
func (s *Store) DeviceService(ctx context.Context, user id.UserID, device string) (string, error) {
	var service []byte
	_, err := s.read.found(ctx, "SELECT service FROM application_service_devices WHERE user_id = $1 AND device_id = $2",
		[]any{string(user), []byte(device)}, &service)
	return string(service), err
}

// ServiceUsers are the users with devices of an application service that come after one in the order of their IDs, at most limit.
func (s *Store) ServiceUsers(ctx context.Context, service string, after id.UserID, limit int) ([]id.UserID, error) {
	return readAll[id.UserID](ctx, s, `SELECT DISTINCT user_id FROM application_service_devices WHERE service = $1 AND user_id > $2
		ORDER BY user_id LIMIT $3`, []byte(service), string(after), limit)
}

// ServiceRecipients are those of ServiceUsers for whose devices messages wait.
func (s *Store) ServiceRecipients(ctx context.Context, service string, after id.UserID, limit int) ([]id.UserID, error) {
	return readAll[id.UserID](ctx, s, `SELECT DISTINCT user_id FROM application_service_devices AS made WHERE service = $1 AND user_id > $2
		AND EXISTS (SELECT 1 FROM to_device WHERE to_device.user_id = made.user_id AND to_device.device_id = made.device_id)
		ORDER BY user_id LIMIT $3`, []byte(service), string(after), limit)
}

// ServiceMessages reads the oldest messages up to a position for a user's devices of an application service: at most limit, and
// of each device in order.
func (s *Store) ServiceMessages(ctx context.Context, service string, user id.UserID, upto Position, limit int) ([]ToDevice, error) {
	devices, err := readAll[[]byte](ctx, s, `SELECT device_id FROM application_service_devices WHERE user_id = $1 AND service = $2
		ORDER BY device_id`, string(user), []byte(service))
	if err != nil {
		return nil, err
	}
	var all []ToDevice
	for _, device := range devices {
		if len(all) == limit {
			break
		}
		some, err := s.ToDevice(ctx, user, string(device), 0, upto, limit-len(all))
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// messagesTaken deletes messages that were read: of each device the oldest ones.
func (s *Store) messagesTaken(t *writeTx, messages []ToDevice) error {
	for i, m := range messages {
		if slices.ContainsFunc(messages[i+1:], func(later ToDevice) bool { return later.User == m.User && later.Device == m.Device }) {
			continue // with the last one
		}
		if err := s.taken(t, m.User, m.Device, m.Position); err != nil {
			return err
		}
	}
	return nil
}

// DeviceKeyCounts are the keys that a device has left.
type DeviceKeyCounts struct {
	User    id.UserID
	Device  string
	OneTime map[string]int // one-time keys by algorithm, without those of which there are none
	Unused  []string       // algorithms of unused fallback keys, in order
}

// ServiceKeyCounts are those of an application service's devices that belong to some users and have uploaded keys, in order.
func (s *Store) ServiceKeyCounts(ctx context.Context, service string, users []id.UserID) ([]DeviceKeyCounts, error) {
	var all []DeviceKeyCounts
	fixed := []any{[]byte(service)}
	// at is the device of a row.
	at := func(user id.UserID, device string) *DeviceKeyCounts {
		i, found := slices.BinarySearchFunc(all, DeviceKeyCounts{User: user, Device: device}, compareDevices)
		if !found {
			return nil // it came between two statements
		}
		return &all[i]
	}
	read := func(query string, row func(*sql.Rows) error) error {
		return list(query, fixed, users, func(query string, args []any) error { return s.read.each(ctx, query, args, row) })
	}
	err := read(`SELECT made.user_id, made.device_id FROM application_service_devices AS made
		JOIN device_keys ON device_keys.user_id = made.user_id AND device_keys.device_id = made.device_id
		WHERE service = $1 AND made.user_id IN (%s)`, func(rows *sql.Rows) error {
		d := DeviceKeyCounts{OneTime: map[string]int{}, Unused: []string{}}
		err := rows.Scan(&d.User, &d.Device)
		all = append(all, d)
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, compareDevices)
	err = read(`SELECT made.user_id, made.device_id, algorithm, COUNT(*) FROM application_service_devices AS made
		JOIN one_time_keys ON one_time_keys.user_id = made.user_id AND one_time_keys.device_id = made.device_id
		WHERE service = $1 AND made.user_id IN (%s) GROUP BY made.user_id, made.device_id, algorithm`, func(rows *sql.Rows) error {
		var user id.UserID
		var device, algorithm string
		var count int
		err := rows.Scan(&user, &device, &algorithm, &count)
		if d := at(user, device); d != nil {
			d.OneTime[algorithm] = count
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	err = read(`SELECT made.user_id, made.device_id, algorithm FROM application_service_devices AS made
		JOIN fallback_keys ON fallback_keys.user_id = made.user_id AND fallback_keys.device_id = made.device_id
		WHERE service = $1 AND used = 0 AND made.user_id IN (%s) ORDER BY algorithm`, func(rows *sql.Rows) error {
		var user id.UserID
		var device, algorithm string
		err := rows.Scan(&user, &device, &algorithm)
		if d := at(user, device); d != nil {
			d.Unused = append(d.Unused, algorithm)
		}
		return err
	})
	return all, err
}

func compareDevices(a, b DeviceKeyCounts) int {
	return cmp.Or(cmp.Compare(a.User, b.User), cmp.Compare(a.Device, b.Device))
}

// ChangedDevices are users whose devices or cross-signing keys changed last in (after, upto], in the order of these changes, at most
// limit; reached is the position up to which these are all.
func (s *Store) ChangedDevices(ctx context.Context, after, upto Position, limit int) (users []id.UserID, reached Position, err error) {
	reached = upto
	err = s.read.each(ctx, `SELECT user_id, position FROM device_changes WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3`,
		[]any{int64(after), int64(upto), limit}, func(rows *sql.Rows) error {
			var user id.UserID
			var position Position
			err := rows.Scan(&user, &position)
			if users = append(users, user); len(users) == limit {
				reached = position
			}
			return err
		})
	return users, reached, err
}
