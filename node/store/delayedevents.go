package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"hanse/federation/id"
)

// DelayedEvent is an event that a user has scheduled.
type DelayedEvent struct {
	ID           string
	User         id.UserID
	Room         id.RoomID
	Type         string
	StateKey     *string // nil: it is no state
	Content      json.RawMessage
	Redacts      id.EventID
	TS           int64 // what it says of when it was sent, ms since 1970; 0: when it is
	Delay        time.Duration
	RunningSince time.Time
	SendAt       time.Time // RunningSince and Delay, or later where it could not be sent
	Position     Position  // the newest when it was scheduled
}

const delayedColumns = "delay_id, user_id, room_id, type, state_key, content, redacts, ts, delay, running_since, send_at, position"

// eachDelayedEvent reads those of a condition. Not every driver tells bytes that are empty from NULL.
func (s *Store) eachDelayedEvent(ctx context.Context, which string, args ...any) ([]DelayedEvent, error) {
	var all []DelayedEvent
	query := "SELECT " + delayedColumns + ", CASE WHEN state_key IS NULL THEN 0 ELSE 1 END FROM delayed_events " + which
	err := s.read.each(ctx, query, args, func(rows *sql.Rows) error {
		var e DelayedEvent
		var stateKey []byte
		var delay int64
		var isState bool
		err := rows.Scan(&e.ID, &e.User, &e.Room, &e.Type, &stateKey, &e.Content, &e.Redacts, &e.TS, &delay, timeColumn{&e.RunningSince},
			timeColumn{&e.SendAt}, &e.Position, &isState)
		e.Delay = time.Duration(delay) * time.Millisecond
		if isState {
			key := string(stateKey)
			e.StateKey = &key
		}
		all = append(all, e)
		return err
	})
	return all, err
}

// AddDelayedEvent keeps an event, unless its user has scheduled one by the same transaction, whose ID it gives then, or has most of
// them: then it is [ErrFull], and next is when the first of them is sent.
func (s *Store) AddDelayedEvent(ctx context.Context, e DelayedEvent, txn []byte, most int) (delayID string, next time.Time, err error) {
	err = s.commit.write(ctx, func(t *writeTx) error {
		found, err := t.found("SELECT delay_id FROM delayed_events WHERE user_id = $1 AND txn = $2", []any{string(e.User), txn}, &delayID)
		if err != nil || found {
			return err
		}
		var count, first int64
		if _, err := t.found("SELECT COUNT(*), COALESCE(MIN(send_at), 0) FROM delayed_events WHERE user_id = $1", []any{string(e.User)}, &count, &first); err != nil {
			return err
		}
		if next = fromMillis(first); count >= int64(most) {
			return fmt.Errorf("the delayed events of %s: %w", e.User, ErrFull)
		}
		delayID = e.ID
		var stateKey any // NULL
		if e.StateKey != nil {
			stateKey = []byte(*e.StateKey)
		}
		_, err = t.exec("INSERT INTO delayed_events (txn, "+delayedColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
			txn, e.ID, string(e.User), string(e.Room), []byte(e.Type), stateKey, []byte(e.Content), string(e.Redacts), e.TS,
			e.Delay.Milliseconds(), e.RunningSince.UnixMilli(), e.SendAt.UnixMilli(), int64(e.Position))
		return err
	})
	return delayID, next, err
}

// DelayedEventBy is the ID of the event that a user has scheduled by a transaction; false when there is none (any more).
func (s *Store) DelayedEventBy(ctx context.Context, user id.UserID, txn []byte) (delayID string, found bool, err error) {
	found, err = s.read.found(ctx, "SELECT delay_id FROM delayed_events WHERE user_id = $1 AND txn = $2", []any{string(user), txn}, &delayID)
	return delayID, found, err
}

// DelayedEvent reads one; false when there is none of that ID (any more). The ID may be any bytes.
func (s *Store) DelayedEvent(ctx context.Context, delayID string) (DelayedEvent, bool, error) {
	if !utf8.ValidString(delayID) || strings.ContainsRune(delayID, 0) { // PostgreSQL would not even look
		return DelayedEvent{}, false, nil
	}
	all, err := s.eachDelayedEvent(ctx, "WHERE delay_id = $1", delayID)
	if err != nil || len(all) == 0 {
		return DelayedEvent{}, false, err
	}
	return all[0], true, nil
}

// DelayedEventsOf are a user's, in the order in which they are sent.
func (s *Store) DelayedEventsOf(ctx context.Context, user id.UserID) ([]DelayedEvent, error) {
	return s.eachDelayedEvent(ctx, "WHERE user_id = $1 ORDER BY send_at, delay_id", string(user))
}

// NextDelayedEvents are the first that are sent, at most limit: their IDs and SendAt alone, since they are asked for often.
func (s *Store) NextDelayedEvents(ctx context.Context, limit int) ([]DelayedEvent, error) {
	return readRows(ctx, s, "SELECT delay_id, send_at FROM delayed_events ORDER BY send_at, delay_id LIMIT $1", []any{limit},
		func(e *DelayedEvent) []any { return []any{&e.ID, timeColumn{&e.SendAt}} })
}

// MoveDelayedEvent changes when one is sent, and since when it waits; [ErrNotFound] if there is none (any more).
func (s *Store) MoveDelayedEvent(ctx context.Context, delayID string, since, at time.Time) error {
	return s.change(ctx, "the delayed event "+delayID, "UPDATE delayed_events SET running_since = $1, send_at = $2 WHERE delay_id = $3",
		since.UnixMilli(), at.UnixMilli(), delayID)
}

// DeleteDelayedEvent forgets one; [ErrNotFound] if there is none (any more).
func (s *Store) DeleteDelayedEvent(ctx context.Context, delayID string) error {
	return s.change(ctx, "the delayed event "+delayID, "DELETE FROM delayed_events WHERE delay_id = $1", delayID)
}
