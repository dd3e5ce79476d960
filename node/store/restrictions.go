package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"hanse/federation/id"
)

// ErrLocked says that an account is locked.
var ErrLocked = errors.New("the account is locked")

// Restrictions are what an administrator has taken from an account for a while, or what it never had.
type Restrictions struct {
	Locked    bool // it can't be used
	Suspended bool // others see nothing new of it
	Guest     bool // it may do what guests may
}

// SetLocked locks an account, since a time, or unlocks it where that is zero; [ErrNotFound] if there is no such user.
func (s *Store) SetLocked(ctx context.Context, user id.UserID, since time.Time) error {
	return s.restrict(ctx, user, "UPDATE users SET locked = $1 WHERE user_id = $2", millis(since),
		func(r *Restrictions) { r.Locked = !since.IsZero() })
}

// SetSuspended is SetLocked for suspending.
func (s *Store) SetSuspended(ctx context.Context, user id.UserID, since time.Time) error {
	return s.restrict(ctx, user, "UPDATE users SET suspended = $1 WHERE user_id = $2", millis(since),
		func(r *Restrictions) { r.Suspended = !since.IsZero() })
}

func (s *Store) restrict(ctx context.Context, user id.UserID, query string, value any, set func(*Restrictions)) error {
	return s.commit.write(ctx, func(t *writeTx) error { return s.restrictWithin(t, user, query, value, set) })
}

func (s *Store) restrictWithin(t *writeTx, user id.UserID, query string, value any, set func(*Restrictions)) error {
	if err := changeUser(t, user, query, value); err != nil {
		return err
	}
	t.then(func() {
		now := s.Restrictions(user)
		set(&now)
		s.setRestrictions(user, now)
	})
	return nil
}

// Restrictions are those of an account; it is asked at each request, and asks no database.
func (s *Store) Restrictions(user id.UserID) Restrictions {
	value, _ := s.restricted.Load(user)
	r, _ := value.(Restrictions)
	return r
}

// Guests are this server's guests, in no order.
func (s *Store) Guests() []id.UserID {
	var guests []id.UserID
	s.restricted.Range(func(user, r any) bool {
		if r.(Restrictions).Guest {
			guests = append(guests, user.(id.UserID))
		}
		return true
	})
	return guests
}

func (s *Store) setRestrictions(user id.UserID, r Restrictions) {
	if r == (Restrictions{}) {
		s.restricted.Delete(user)
		return
	}
	s.restricted.Store(user, r)
}

func (s *Store) loadRestrictions(ctx context.Context) error {
	return s.read.each(ctx, "SELECT user_id, locked, suspended, guest FROM users WHERE locked > 0 OR suspended > 0 OR guest > 0", nil, func(rows *sql.Rows) error {
		var user id.UserID
		var locked, suspended, guest int64
		err := rows.Scan(&user, &locked, &suspended, &guest)
		s.setRestrictions(user, Restrictions{Locked: locked > 0, Suspended: suspended > 0, Guest: guest > 0})
		return err
	})
}
