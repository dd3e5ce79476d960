package store

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"

	"hanse/federation/authrules"
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

	states eventStates
}

// Gap is an event we have heard of as a parent and do not have: a backward extremity.
type Gap struct {
	Missing id.EventID
	Child   id.EventID // an event we have that names it
	Depth   int64      // Child's
}

// eventColumns are what eachEvent reads.
const eventColumns = `events.event_id, events.room, events.position, events.status, events.backfilled, events.verdict,
	events.redacted_by, events.txn_device, events.txn_id, events.state_before, events.state_after, events.json`

// eachEvent reads rows of eventColumns. The rows are read to their end before rooms are looked up: a statement that
// asked for a second connection while it holds one could wait for ever.
func (s *Store) eachEvent(ctx context.Context, query string, args []any, use func(*storedEvent)) error {
	var all []eventRow
	err := s.read.each(ctx, query, args, func(rows *sql.Rows) error {
		var r eventRow
		err := rows.Scan(&r.eventID, &r.number, &r.position, &r.status, &r.backfilled, &r.verdict, &r.redactedBy, &r.device, &r.txnID,
			&r.before, &r.after, &r.json)
		all = append(all, r)
		return err
	})
	if err != nil {
		return err
	}
	for i := range all {
		e, err := s.loaded(ctx, &all[i])
		if err != nil {
			return fmt.Errorf("store: reading: %w", err)
		}
		use(e)
	}
	return nil
}

// eventRow is a row of eventColumns as the database has it.
type eventRow struct {
	eventID            id.EventID
	number             int64
	position           Position
	status, backfilled int64
	verdict, json      []byte
	redactedBy         sql.NullString
	device, txnID      []byte
	before, after      []byte
}

func (s *Store) loaded(ctx context.Context, r *eventRow) (*storedEvent, error) {
	e := &storedEvent{position: r.position, status: room.Status(r.status), backfilled: r.backfilled != 0,
		txnDevice: string(r.device), txnID: string(r.txnID)}
	var err error
	if e.room, err = s.rooms.numbered(ctx, r.number); err != nil {
		return nil, err
	}
	if e.event, err = event.Load(e.room.rules, r.eventID, r.json); err != nil {
		return nil, fmt.Errorf("the stored event %s: %w", r.eventID, err)
	}
	if err := e.decodeVerdict(r.verdict); err != nil {
		return nil, err
	}
	if e.states, err = decodeStates(r.before, r.after); err != nil {
		return nil, fmt.Errorf("the stored event %s: %w", r.eventID, err)
	}
	if r.redactedBy.Valid {
		e.redactedBy, e.redacted = id.EventID(r.redactedBy.String), e.event.Redacted()
	}
	return e, nil
}

// stored finds events, in memory or in the database; what is not stored is absent.
func (s *Store) stored(ctx context.Context, ids []id.EventID) (map[id.EventID]*storedEvent, error) {
	found := make(map[id.EventID]*storedEvent, len(ids))
	var missing []id.EventID
	for _, e := range ids {
		if row, ok := s.events.rows.get(e); ok {
			found[e] = row
		} else if !s.unheard.has(e) {
			missing = append(missing, e)
		}
	}
	if len(missing) == 0 {
		return found, nil
	}
	numbers, missing := s.tail.numbers(missing)
	missing = slices.DeleteFunc(missing, func(e id.EventID) bool { return !s.unheard.mayBeNamed(e) })
	read := func(query string, args []any) error {
		version := s.events.version.Load()
		return s.eachEvent(ctx, query, args, func(e *storedEvent) {
			found[e.event.ID()] = e
			if len(ids) < hoard {
				s.events.fill(e, version)
			}
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
	if row, ok := s.events.rows.get(e); ok {
		return row.row(), true, nil
	}
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
		} else if s.unheard.mayBeNamed(e) {
			rest = append(rest, e)
		}
	}
	named, err := mapOf[id.EventID, bool](ctx, s, "SELECT event_id, 1 FROM event_ids WHERE event_id IN (%s)", nil, rest)
	maps.Copy(known, named)
	return known, err
}

// eventRows reads whole rows. Those in the cache are not parsed again.
func (s *Store) eventRows(ctx context.Context, query string, args ...any) ([]EventRow, error) {
	var events []EventRow
	version := s.events.version.Load()
	err := s.eachEvent(ctx, query, args, func(e *storedEvent) {
		s.events.fill(e, version)
		events = append(events, e.row())
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
		out[e] = room.Stored{Event: row.event, Status: row.status, Outlier: row.outlier(), Deep: row.deep, Given: row.given}
	}
	return out, nil
}

func (s source) StateAfter(e id.EventID) (roomstate.Map, bool, error) {
	return s.store.StateAfter(s.ctx, e)
}

// Referenced looks among the gaps only: it is asked about events that are not stored with their place, and a prev
// event that isn't is a gap.
func (s source) Referenced(ids []id.EventID) (map[id.EventID]bool, error) {
	return mapOf[id.EventID, bool](s.ctx, s.store, "SELECT missing, 1 FROM gaps WHERE missing IN (%s)", nil, s.store.unheard.heard(ids))
}
