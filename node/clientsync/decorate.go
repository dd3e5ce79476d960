package clientsync

import (
	"context"
	"fmt"
	"iter"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/node/store"
)

// Decorated is an event with what a client is told beside it, in `unsigned`.
type Decorated struct {
	store.EventRow
	TransactionID   string        // the device's own transaction that made it
	RedactedBecause *event.Event  // the redaction of a redacted event
	Previous        *event.Event  // the state event that it replaced
	Membership      string        // the asking user's at the time of the event; "" if that is not known
	Aggregations    *Aggregations // what relates to it; nil: nothing, or it isn't told here
	Form            *Form         // what is the same for all who are told of the event; nil: nobody else is
}

// Decorate adds to events of one room what a user's device is told beside them, what relates to them included.
func (s *Syncer) Decorate(ctx context.Context, user id.UserID, device string, rows []store.EventRow) ([]Decorated, error) {
	entries, err := s.entries(ctx, rows)
	if err != nil {
		return nil, err
	}
	decorated, err := s.decorate(ctx, user, device, entries)
	if err != nil {
		return nil, err
	}
	return decorated, s.Aggregate(ctx, user, device, decorated)
}

// Row is a known event as it is stored.
func (s *Syncer) Row(ctx context.Context, e *event.Event) (store.EventRow, error) {
	row, ok, err := s.store.Event(ctx, e.ID())
	if err == nil && !ok {
		err = fmt.Errorf("clientsync: the event %s is no longer stored", e.ID())
	}
	return row, err
}

func (s *Syncer) decorate(ctx context.Context, user id.UserID, device string, entries []*entry) ([]Decorated, error) {
	decorated := make([]Decorated, len(entries))
	for i, e := range entries {
		d := Decorated{EventRow: e.EventRow, RedactedBecause: e.redaction, Previous: e.replaced, Form: e.form}
		if e.TxnID != "" && e.TxnDevice == device && e.Event.Sender() == user {
			d.TransactionID = e.TxnID
		}
		switch {
		case !e.placed:
		case e.Event.Is("m.room.member", string(user)):
			d.Membership = e.Event.Membership()
		default:
			member, err := s.member(ctx, e, user)
			if err != nil {
				return nil, err
			}
			if d.Membership = "leave"; member != nil {
				d.Membership = member.Membership()
			}
		}
		if forgotten, err := s.forgotten(ctx, user, d); err != nil {
			return nil, err
		} else if forgotten {
			d.Event, d.Form = e.Event.Redacted(), nil
		}
		decorated[i] = d
	}
	return decorated, nil
}

// forgotten tells whether an event was said by a user who wants to be forgotten, and must not be seen by one who came to the
// room after that wish.
//
// spec:client-server-api#post_matrixclientv3accountdeactivate
func (s *Syncer) forgotten(ctx context.Context, user id.UserID, d Decorated) (bool, error) {
	if d.Membership == "join" || d.Event.IsState() {
		return false, nil
	}
	at, erased := s.store.Erased(d.Event.Sender())
	if !erased {
		return false, nil
	}
	m, ok, err := s.store.Membership(ctx, d.RoomID, user)
	return !ok || m.Membership != "join" || m.Since > at, err
}

// events reads events by their IDs; "" is none.
func (s *Syncer) events(ctx context.Context, ids []id.EventID) (map[id.EventID]store.EventRow, error) {
	wanted := make([]id.EventID, 0, len(ids))
	for _, eventID := range ids {
		if eventID != "" {
			wanted = append(wanted, eventID)
		}
	}
	if len(wanted) == 0 {
		return nil, nil
	}
	return s.store.Events(ctx, wanted)
}

// stateRows reads events of a state, as they are told, in the order of the IDs; those that are not stored are left out.
func (s *Syncer) stateRows(ctx context.Context, ids []id.EventID) ([]Decorated, error) {
	found, err := s.events(ctx, ids)
	if err != nil {
		return nil, err
	}
	var redactions []id.EventID
	rows := make([]Decorated, 0, len(ids))
	for row := range inOrder(ids, found) {
		rows = append(rows, Decorated{EventRow: row})
		redactions = append(redactions, row.RedactedBy)
	}
	because, err := s.events(ctx, redactions)
	for i := range rows {
		rows[i].RedactedBecause = because[rows[i].RedactedBy].Event
	}
	return rows, err
}

func inOrder(ids []id.EventID, found map[id.EventID]store.EventRow) iter.Seq[store.EventRow] {
	return func(yield func(store.EventRow) bool) {
		for _, eventID := range ids {
			if row, ok := found[eventID]; ok && !yield(row) {
				return
			}
		}
	}
}

// Senders are the membership events of those who sent the events (all of one room), as they were before the first of
// them, or, of those who came later, as they were after the last. spec:client-server-api#lazy-loading-room-members
func (s *Syncer) Senders(ctx context.Context, rows []store.EventRow) ([]*event.Event, error) {
	oldest, newest := rows[0], rows[0]
	for _, row := range rows {
		if row.Topological().Before(oldest.Topological()) {
			oldest = row
		}
		if newest.Topological().Before(row.Topological()) {
			newest = row
		}
	}
	before, _, err := s.store.StateBeforeRow(ctx, oldest)
	if err != nil {
		return nil, err
	}
	after, _, err := s.store.StateAfter(ctx, newest.Event.ID())
	if err != nil {
		return nil, err
	}
	seen := map[id.UserID]bool{}
	var early, late []roomstate.Key
	for _, row := range rows {
		sender := row.Event.Sender()
		if seen[sender] {
			continue
		}
		seen[sender] = true
		key := roomstate.Key{Type: "m.room.member", StateKey: string(sender)}
		there, err := before.Event(key.Type, key.StateKey)
		if err != nil {
			return nil, err
		}
		if there != "" {
			early = append(early, key)
		} else {
			late = append(late, key)
		}
	}
	var members []*event.Event
	for _, part := range []struct {
		state roomstate.Map
		keys  []roomstate.Key
	}{{before, early}, {after, late}} {
		if len(part.keys) == 0 {
			continue // no keys would mean all
		}
		events, err := s.store.StateEvents(ctx, part.state, part.keys...)
		if err != nil {
			return nil, err
		}
		members = append(members, events...)
	}
	return members, nil
}
