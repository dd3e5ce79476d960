package clientsync

import (
	"context"
	"iter"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/node/store"
)

// Decorated is an event with what a client is told beside it, in `unsigned`.
type Decorated struct {
	store.EventRow
	TransactionID   string       // the device's own transaction that made it
	RedactedBecause *event.Event // the redaction of a redacted event
	Previous        *event.Event // the state event that it replaced
	Membership      string       // the asking user's at the time of the event
}

// Decorate adds to events of one room what a user's device is told beside them.
func (s *Syncer) Decorate(ctx context.Context, user id.UserID, device string, rows []store.EventRow) ([]Decorated, error) {
	decorated := make([]Decorated, len(rows))
	var own, others []id.EventID // by this user; needed for the decoration
	previous := make([]id.EventID, len(rows))
	members := make([]id.EventID, len(rows))
	for i, row := range rows {
		decorated[i].EventRow = row
		if row.Event.Sender() == user {
			own = append(own, row.Event.ID())
		}
		if row.RedactedBy != "" {
			others = append(others, row.RedactedBy)
		}
		before, known, err := s.store.StateBefore(ctx, row.Event.ID())
		if err != nil {
			return nil, err
		}
		if !known {
			continue
		}
		if stateKey, isState := row.Event.StateKey(); isState {
			if replaced, ok := before.Get(row.Event.Type(), stateKey); ok && replaced != row.Event.ID() {
				previous[i] = replaced
				others = append(others, replaced)
			}
		}
		if row.Event.Is("m.room.member", string(user)) {
			decorated[i].Membership = row.Event.Membership()
		} else if member, ok := before.Get("m.room.member", string(user)); ok {
			members[i] = member
			others = append(others, member)
		} else {
			decorated[i].Membership = "leave"
		}
	}
	transactions, err := s.transactionIDs(ctx, user, device, own)
	if err != nil {
		return nil, err
	}
	events, err := s.events(ctx, others)
	if err != nil {
		return nil, err
	}
	for i := range decorated {
		d := &decorated[i]
		d.TransactionID = transactions[d.Event.ID()]
		d.RedactedBecause = events[d.RedactedBy].Event
		d.Previous = events[previous[i]].Event
		if member := events[members[i]].Event; member != nil {
			d.Membership = member.Membership()
		}
	}
	return decorated, nil
}

func (s *Syncer) transactionIDs(ctx context.Context, user id.UserID, device string, own []id.EventID) (map[id.EventID]string, error) {
	if len(own) == 0 {
		return nil, nil
	}
	return s.store.ClientTxnIDs(ctx, user, device, own)
}

// events reads events by their IDs, in pieces.
func (s *Syncer) events(ctx context.Context, ids []id.EventID) (map[id.EventID]store.EventRow, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	return s.store.Events(ctx, ids)
}

// RowsOf reads the stored rows of events, in their order; those that are not stored are left out.
func (s *Syncer) RowsOf(ctx context.Context, ids []id.EventID) ([]store.EventRow, error) {
	found, err := s.events(ctx, ids)
	if err != nil {
		return nil, err
	}
	rows := make([]store.EventRow, 0, len(ids))
	for row := range inOrder(ids, found) {
		rows = append(rows, row)
	}
	return rows, nil
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
// them. spec:client-server-api#lazy-loading-room-members
func (s *Syncer) Senders(ctx context.Context, rows []store.EventRow) ([]*event.Event, error) {
	state, known, err := s.store.StateBefore(ctx, rows[0].Event.ID())
	if err != nil || !known {
		return nil, err
	}
	seen := map[id.UserID]bool{}
	var keys []roomstate.Key
	for _, row := range rows {
		if sender := row.Event.Sender(); !seen[sender] {
			seen[sender] = true
			keys = append(keys, roomstate.Key{Type: "m.room.member", StateKey: string(sender)})
		}
	}
	return s.store.StateEvents(ctx, state, keys...)
}
