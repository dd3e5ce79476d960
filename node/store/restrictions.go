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

// Restrictions are what an administrator has taken from an account for a while.
type Restrictions struct {
	Locked    bool // it can't be used
	Suspended bool // others see nothing new of it
}

// SetLocked locks an account, since a time, or unlocks it where that is zero; [ErrNotFound] if there is no such user.
func (s *Store) SetLocked(ctx context.Context, user id.UserID, since time.Time) error {
	return s.restrict(ctx, user, "UPDATE users SET locked = $1 WHERE user_id = $2", since, func(r *Restrictions, on bool) { r.Locked = on })
}

// SetSuspended is SetLocked for suspending.
func (s *Store) SetSuspended(ctx context.Context, user id.UserID, since time.Time) error {
	return s.restrict(ctx, user, "UPDATE users SET suspended = $1 WHERE user_id = $2", since, func(r *Restrictions, on bool) { r.Suspended = on })
}

func (s *Store) restrict(ctx context.Context, user id.UserID, query string, since time.Time, set func(*Restrictions, bool)) error {
	return s.commit.write(ctx, func(t *writeTx) error {
		if err := changeUser(t, user, query, millis(since)); err != nil {
			return err
		}
		t.then(func() {
			now := s.Restrictions(user)
			set(&now, !since.IsZero())
			s.setRestrictions(user, now)
		})
		return nil
	})
}

// Restrictions are those of an account; it is asked at each request, and asks no database.
func (s *Store) Restrictions(user id.UserID) Restrictions {
	value, _ := s.restricted.Load(user)
	r, _ := value.(Restrictions)
	return r
}

func (s *Store) setRestrictions(user id.UserID, r Restrictions) {
	if r == (Restrictions{}) {
		s.restricted.Delete(user)
		return
	}
	s.restricted.Store(user, r)
}

func (s *Store) loadRestrictions(ctx context.Context) error {
	return s.read.each(ctx, "SELECT user_id, locked, suspended FROM users WHERE locked > 0 OR suspended > 0", nil, func(rows *sql.Rows) error {
		var user id.UserID
		var locked, suspended int64
		err := rows.Scan(&user, &locked, &suspended)
		s.setRestrictions(user, Restrictions{Locked: locked > 0, Suspended: suspended > 0})
		return err
	})
}
