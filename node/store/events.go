package store

import (
	"context"
	"database/sql"
	"fmt"

	"hanse/federation/authrules"
	"hanse/federation/dag"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
)

// EventRow is a stored event and what was decided about it.
type EventRow struct {
	// Event is the event as it may be served: redacted when RedactedBy is set. The original is kept in the
	// database; [Store.Source], which feeds authorisation and state resolution, reads the original.
	Event      *event.Event
	RoomID     id.RoomID
	Position   Position // 0 for outliers, negative for history
	Status     room.Status
	Rejection  *authrules.Rejection // the rule, if one decided; nil when accepted
	Reason     string               // why it was not accepted, for people
	Outlier    bool
	Backfilled bool
	RedactedBy id.EventID // "" = not redacted
	// TxnDevice and TxnID are the sender's device and its transaction ID, of an event sent through this server.
	TxnDevice, TxnID string
}

// Gap is an event we have heard of as a parent and do not have: a backward extremity.
type Gap struct {
	Missing id.EventID
	Child   id.EventID // an event we have that names it
	Depth   int64      // Child's
}

// eventColumns are what scanEvent reads.
const eventColumns = `events.event_id, events.room, events.position, events.status, events.backfilled, events.verdict,
	events.redacted_by, events.txn_device, events.txn_id, events.json`

func (s *Store) scanEvent(ctx context.Context, rows *sql.Rows) (*storedEvent, error) {
	var (
		e          storedEvent
		eventID    id.EventID
		number     int64
		status     int64
		backfilled int64
		why, json  []byte
		redactedBy sql.NullString
		device     []byte
		txnID      []byte
	)
	err := rows.Scan(&eventID, &number, &e.position, &status, &backfilled, &why, &redactedBy, &device, &txnID, &json)
	if err != nil {
		return nil, err
	}
	if e.room, err = s.rooms.numbered(ctx, number); err != nil {
		return nil, err
	}
	if e.event, err = event.Load(e.room.rules, eventID, json); err != nil {
		return nil, fmt.Errorf("the stored event %s: %w", eventID, err)
	}
	if e.rejection, e.reason, err = decodeVerdict(why); err != nil {
		return nil, err
	}
	e.status, e.backfilled = room.Status(status), backfilled != 0
	e.txnDevice, e.txnID = string(device), string(txnID)
	if redactedBy.Valid {
		e.redactedBy, e.redacted = id.EventID(redactedBy.String), e.event.Redacted()
	}
	return &e, nil
}

// stored finds events, in memory or in the database; what is not stored is absent.
func (s *Store) stored(ctx context.Context, ids []id.EventID) (map[id.EventID]*storedEvent, error) {
	found := make(map[id.EventID]*storedEvent, len(ids))
	var missing []id.EventID
	for _, e := range ids {
		if row, ok := s.events.rows.get(e); ok {
			found[e] = row
		} else if _, twice := found[e]; !twice {
			missing = append(missing, e)
		}
	}
	if len(missing) == 0 {
		return found, nil
	}
	numbers, missing := s.tail.numbers(missing)
	read := func(query string, args []any) error {
		version := s.events.version.Load()
		return s.read.each(ctx, query, args, func(rows *sql.Rows) error {
			e, err := s.scanEvent(ctx, rows)
			if err == nil {
				found[e.event.ID()] = e
				s.events.fill(e, version)
			}
			return err
		})
	}
	if err := listPositions("SELECT "+eventColumns+" FROM events WHERE number IN (%s)", nil, numbers, read); err != nil {
		return nil, err
	}
	return found, list("SELECT "+eventColumns+` FROM event_ids JOIN events ON events.number = event_ids.number
		WHERE event_ids.event_id IN (%s)`, nil, missing, read)
}

// eventColumns reads columns of one event; false when it is not stored.
func (s *Store) eventColumns(ctx context.Context, e id.EventID, columns string, dest ...any) (bool, error) {
	if number, ok := s.tail.number(e); ok {
		return s.read.found(ctx, "SELECT "+columns+" FROM events WHERE number = $1", []any{int64(number)}, dest...)
	}
	return s.read.found(ctx, "SELECT "+columns+` FROM event_ids JOIN events ON events.number = event_ids.number
		WHERE event_ids.event_id = $1`, []any{string(e)}, dest...)
}

// Event reads one event; false when it is not stored. Staged events are not stored.
func (s *Store) Event(ctx context.Context, e id.EventID) (EventRow, bool, error) {
	rows, err := s.stored(ctx, []id.EventID{e})
	if err != nil || rows[e] == nil {
		return EventRow{}, false, err
	}
	return rows[e].row(), true, nil
}

// Events reads events; what is not stored is absent.
func (s *Store) Events(ctx context.Context, ids []id.EventID) (map[id.EventID]EventRow, error) {
	rows, err := s.stored(ctx, ids)
	if err != nil {
		return nil, err
	}
	out := make(map[id.EventID]EventRow, len(rows))
	for e, row := range rows {
		out[e] = row.row()
	}
	return out, nil
}

// Known tells which of the events are stored: outliers and rejected ones too, staged ones not.
func (s *Store) Known(ctx context.Context, ids []id.EventID) (map[id.EventID]bool, error) {
	known := make(map[id.EventID]bool, len(ids))
	var rest []id.EventID
	for _, e := range ids {
		_, ok := s.events.rows.get(e)
		if !ok {
			_, ok = s.tail.number(e)
		}
		if ok {
			known[e] = true
		} else {
			rest = append(rest, e)
		}
	}
	err := s.readIDs(ctx, "SELECT event_id FROM event_ids WHERE event_id IN (%s)", rest, func(e id.EventID) { known[e] = true })
	return known, err
}

// readIDs reads one column of IDs for a list of IDs.
func (s *Store) readIDs(ctx context.Context, query string, ids []id.EventID, use func(id.EventID)) error {
	return list(query, nil, ids, func(query string, args []any) error {
		return s.read.each(ctx, query, args, func(rows *sql.Rows) error {
			var e id.EventID
			err := rows.Scan(&e)
			use(e)
			return err
		})
	})
}

// eventRows reads whole rows. Those in the cache are not parsed again.
func (s *Store) eventRows(ctx context.Context, query string, args ...any) ([]EventRow, error) {
	var events []EventRow
	version := s.events.version.Load()
	err := s.read.each(ctx, query, args, func(rows *sql.Rows) error {
		e, err := s.scanEvent(ctx, rows)
		if err != nil {
			return err
		}
		s.events.fill(e, version)
		events = append(events, e.row())
		return nil
	})
	return events, err
}

// source is a room.Source.
type source struct {
	store *Store
	ctx   context.Context // of one Step: room.Source has no contexts, since it is pure code's
}

// Source answers a room machine. It gives events as they were received, redacted or not, so that what was decided
// about other events stays decided. rules are the room's. ctx bounds the reads of the Step it is for.
func (s *Store) Source(ctx context.Context, _ *roomversion.Rules) room.Source { return source{s, ctx} }

func (s source) Events(ids []id.EventID) (map[id.EventID]room.Stored, error) {
	rows, err := s.store.stored(s.ctx, ids)
	if err != nil {
		return nil, err
	}
	out := make(map[id.EventID]room.Stored, len(rows))
	for e, row := range rows {
		out[e] = room.Stored{Event: row.event, Status: row.status, Outlier: row.outlier()}
	}
	return out, nil
}

func (s source) StateAfter(e id.EventID) (roomstate.Map, bool, error) {
	return s.store.StateAfter(s.ctx, e)
}

// Referenced looks among the gaps only: it is asked about events that are not stored with their place, and a prev
// event that isn't is a gap.
func (s source) Referenced(ids []id.EventID) (map[id.EventID]bool, error) {
	found := map[id.EventID]bool{}
	err := s.store.readIDs(s.ctx, "SELECT missing FROM gaps WHERE missing IN (%s)", ids, func(e id.EventID) { found[e] = true })
	return found, err
}

// authSource is a dag.Source.
type authSource struct{ source }

// AuthSource answers walks along auth events: it has accepted, soft-failed and rejected events and outliers.
func (s *Store) AuthSource(ctx context.Context, _ *roomversion.Rules) dag.Source {
	return authSource{source{s, ctx}}
}

func (s authSource) Events(ids []id.EventID) (map[id.EventID]*event.Event, error) {
	rows, err := s.store.stored(s.ctx, ids)
	if err != nil {
		return nil, err
	}
	out := make(map[id.EventID]*event.Event, len(rows))
	for e, row := range rows {
		out[e] = row.event
	}
	return out, nil
}
