package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"

	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/federation/room"
)

// ServiceCursor is how far an application service is.
type ServiceCursor struct {
	Service string   // the id of its registration
	Upto    Position // it has what interests it up to here
	// Transaction is the body of the transaction that is under way, nil if there is none, and TransactionUpto is where the
	// cursor will be when it was taken. A transaction is sent again as it is, also by the next process.
	Transaction     json.RawMessage
	TransactionUpto Position
	TransactionID   string // "": it is named after TransactionUpto
}

// OpenServices reads the cursors of application services, in the order of their names. Those that are new begin at the newest
// position. What is kept of others goes: if they come back, they begin anew; forgotten has their names.
func (s *Store) OpenServices(ctx context.Context, services []string) (cursors []ServiceCursor, forgotten []string, err error) {
	err = s.commit.write(ctx, func(t *writeTx) error {
		forgotten = nil
		found := map[string]ServiceCursor{}
		err := t.each("SELECT service, upto, transaction_upto, transaction_body, transaction_id FROM application_services", nil, func(rows *sql.Rows) error {
			var c ServiceCursor
			var name, body []byte
			err := rows.Scan(&name, &c.Upto, &c.TransactionUpto, &body, &c.TransactionID)
			if c.Service = string(name); c.TransactionUpto > 0 {
				c.Transaction = body
			}
			found[c.Service] = c
			return err
		})
		if err != nil {
			return err
		}
		for _, name := range sortedKeys(found, cmp.Compare) {
			if slices.Contains(services, name) {
				continue
			}
			forgotten = append(forgotten, name)
			for _, table := range [...]string{"application_services", "application_service_rooms", "application_service_devices"} {
				if _, err := t.exec("DELETE FROM "+table+" WHERE service = $1", []byte(name)); err != nil {
					return err
				}
			}
		}
		cursors = make([]ServiceCursor, len(services))
		for i, name := range services {
			c, there := found[name]
			if !there {
				c = ServiceCursor{Service: name, Upto: t.position}
				if err := t.saveService(c); err != nil {
					return err
				}
			}
			cursors[i] = c
		}
		return nil
	})
	return cursors, forgotten, err
}

// SaveService stores how far an application service is. Messages to its devices that its transaction has wait for them no more.
func (s *Store) SaveService(ctx context.Context, c ServiceCursor, taken ...ToDevice) error {
	return s.commit.write(ctx, func(t *writeTx) error {
		if err := s.messagesTaken(t, taken); err != nil {
			return err
		}
		return t.saveService(c)
	})
}

func (t *writeTx) saveService(c ServiceCursor) error {
	if c.Transaction == nil {
		c.Transaction, c.TransactionUpto, c.TransactionID = []byte{}, 0, ""
	}
	_, err := t.exec(`INSERT INTO application_services (service, upto, transaction_upto, transaction_body, transaction_id)
		VALUES ($1, $2, $3, $4, $5) ON CONFLICT (service) DO UPDATE SET upto = excluded.upto, transaction_upto = excluded.transaction_upto,
		transaction_body = excluded.transaction_body, transaction_id = excluded.transaction_id`,
		[]byte(c.Service), int64(c.Upto), int64(c.TransactionUpto), []byte(c.Transaction), c.TransactionID)
	return err
}

// LiveEvent is an accepted event of any room, at the place where clients are told of it.
type LiveEvent struct {
	EventRow
	// OutOfRoom says that it is a membership of a user of ours in a room that this server takes no part in, with the stripped
	// state that came with it. Its Position is that of the membership.
	OutOfRoom bool
	Stripped  []json.RawMessage
}

// LiveEvents reads what clients of any room are told of, of the positions in (after, upto] the first limit events, in order.
// reached is the position up to which that is all. upto must not be beyond what is durable.
func (s *Store) LiveEvents(ctx context.Context, after, upto Position, limit int) (events []LiveEvent, reached Position, err error) {
	var places []livePlace
	read := func(query string, columns func(*livePlace) []any) error {
		some, err := readRows(ctx, s, query, []any{int64(after), int64(upto), limit}, columns)
		places = append(places, some...)
		return err
	}
	placed := func(p *livePlace) []any { return []any{&p.position, &p.eventID} }
	// 1. Those that were stored before they got their place. Some of them may be refused: if there are more, the rest of what is read goes
	// as far as these do.
	var moved []Position
	var last Position
	err = s.read.each(ctx, `SELECT position, number FROM moved WHERE position > $1 AND position <= $2 UNION
		SELECT position, number FROM timeline WHERE position <> number AND position > $1 AND position <= $2 ORDER BY position LIMIT $3`,
		[]any{int64(after), int64(upto), limit}, func(rows *sql.Rows) error {
			var number Position
			err := rows.Scan(&last, &number)
			moved = append(moved, number)
			return err
		})
	if err != nil {
		return nil, after, err
	}
	if len(moved) >= limit {
		upto = last
	}
	err = listPositions("SELECT position, event_id FROM events WHERE status = 0 AND number IN (%s)", nil, moved, func(query string, args []any) error {
		some, err := readRows(ctx, s, query, args, placed)
		places = append(places, some...)
		return err
	})
	if err != nil {
		return nil, after, err
	}
	// 2. Those that got their place when they were stored.
	err = read(`SELECT number, event_id FROM events WHERE number > $1 AND number <= $2 AND position = number AND status = 0
		ORDER BY number LIMIT $3`, placed)
	if err != nil {
		return nil, after, err
	}
	// 3. Memberships in other servers' rooms.
	err = read(`SELECT position, event_id, stripped, out_of_room FROM member_history WHERE position > $1 AND position <= $2 AND out_of_room = 1
		ORDER BY position LIMIT $3`, func(p *livePlace) []any { return []any{&p.position, &p.eventID, &p.stripped, &p.outOfRoom} })
	if err != nil {
		return nil, after, err
	}
	slices.SortFunc(places, func(a, b livePlace) int { return cmp.Compare(a.position, b.position) })
	if reached = upto; len(places) >= limit {
		places = places[:limit]
		reached = places[limit-1].position
	}
	events, err = s.liveEvents(ctx, places)
	return events, reached, err
}

// livePlace is where a LiveEvent is found.
type livePlace struct {
	position  Position
	eventID   id.EventID
	outOfRoom bool
	stripped  []byte
}

func (s *Store) liveEvents(ctx context.Context, places []livePlace) ([]LiveEvent, error) {
	ids := make([]id.EventID, len(places))
	for i, p := range places {
		ids[i] = p.eventID
	}
	found, err := s.stored(ctx, ids)
	if err != nil {
		return nil, err
	}
	events := make([]LiveEvent, 0, len(places))
	for _, p := range places {
		row := found[p.eventID]
		if row == nil || row.status != room.Accepted {
			continue // it was decided again meanwhile
		}
		e := LiveEvent{EventRow: row.row(), OutOfRoom: p.outOfRoom}
		if p.outOfRoom {
			e.Position = p.position
		}
		if len(p.stripped) > 0 {
			if err := exactjson.Unmarshal(p.stripped, &e.Stripped); err != nil {
				return nil, fmt.Errorf("a stored stripped state: %w", err)
			}
		}
		events = append(events, e)
	}
	return events, nil
}

// CountLiveEvents counts the accepted events after a position, up to most; those that were stored before they got their place are
// left out.
func (s *Store) CountLiveEvents(ctx context.Context, after Position, most int) (count int, err error) {
	err = s.read.row(ctx, `SELECT COUNT(*) FROM (SELECT number FROM events WHERE number > $1 AND position = number AND status = 0
		LIMIT $2) AS waiting`, []any{int64(after), most}, &count)
	return count, err
}

// MembershipAt is what the membership of a user of ours in a room was when the given position was the newest; "" if there was none.
func (s *Store) MembershipAt(ctx context.Context, r id.RoomID, user id.UserID, at Position) (membership string, err error) {
	ref, err := s.rooms.find(ctx, r)
	if err != nil || ref == nil {
		return "", err
	}
	_, err = s.read.found(ctx, `SELECT membership FROM member_history WHERE user_id = $1 AND room = $2 AND position <= $3
		ORDER BY position DESC LIMIT 1`, []any{string(user), ref.number, int64(at)}, &membership)
	return membership, err
}

// PublishInNetwork sets whether a room is listed among an application service's rooms of a network; [ErrNotFound] for a room we
// don't know.
func (s *Store) PublishInNetwork(ctx context.Context, service, network string, r id.RoomID, public bool) error {
	ref, err := s.rooms.find(ctx, r)
	if err != nil {
		return err
	}
	if ref == nil {
		return fmt.Errorf("store: the room %s: %w", r, ErrNotFound)
	}
	query := "DELETE FROM application_service_rooms WHERE service = $1 AND network = $2 AND room = $3"
	if public {
		query = "INSERT INTO application_service_rooms (service, network, room) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
	}
	return s.exec(ctx, query, []byte(service), []byte(network), ref.number)
}
