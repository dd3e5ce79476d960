package store

import (
	"context"

	"hanse/federation/id"
)

// redact marks events as redacted: reads give their redacted form from then on. The first redaction of an event counts. Targets that are
// not stored are passed over; see [Store.PendingRedactions].
func (s *Store) redact(t *writeTx, redactions []Redaction) error {
	for _, r := range redactions {
		number, found, err := s.tail.numberInTx(t, r.Target)
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		_, err = t.exec("UPDATE events SET redacted_by = $1 WHERE number = $2 AND redacted_by IS NULL", string(r.By), int64(number))
		if err != nil {
			return err
		}
		if err := s.breakRelation(t, number); err != nil {
			return err
		}
		t.then(func() { s.events.rows.drop(r.Target) })
	}
	return nil
}

// PendingRedactions are the accepted redaction events that name the target, in no order, whether applied or not. Who
// gets an event that was redacted before it came decides about them and applies one with the event's commit.
func (s *Store) PendingRedactions(ctx context.Context, target id.EventID) ([]id.EventID, error) {
	if s.unheard.has(target) {
		return nil, nil
	}
	return readAll[id.EventID](ctx, s, "SELECT event_id FROM redactions WHERE target = $1", string(target))
}
