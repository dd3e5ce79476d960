package store

import (
	"context"
	"errors"
	"time"

	"hanse/federation/id"
)

// ErrEmailInUse says that an e-mail address is another account's.
var ErrEmailInUse = errors.New("the e-mail address is another account's")

// Email is an account's e-mail address. Addresses are in their canonical form wherever the store has them.
type Email struct {
	Address string
	User    id.UserID
	Proven  time.Time // when it was shown that the user reads what is sent there
	Added   time.Time
}

// EmailSession is somebody's way to show that they read what is sent to an address.
type EmailSession struct {
	SID          string
	ClientSecret string
	Purpose      string // what it is for; it is good for nothing else
	Address      string
	Token        string // what the mail has; "": it has none, and the session never proves anything
	Attempt      int64  // the last one for which a mail was sent
	NextLink     string // where the client wants to be gone on with; "": nowhere
	Expires      time.Time
	Proven       time.Time // zero: not yet
}

const emailSessionColumns = "sid, client_secret, purpose, address, token, attempt, next_link, expires, proven"

func (e *EmailSession) columns() []any {
	return []any{&e.SID, &e.ClientSecret, &e.Purpose, &e.Address, &e.Token, &e.Attempt, &e.NextLink, timeColumn{&e.Expires}, timeColumn{&e.Proven}}
}

// Emails are a user's addresses, in the order in which they were added.
func (s *Store) Emails(ctx context.Context, user id.UserID) ([]Email, error) {
	return readRows(ctx, s, "SELECT address, user_id, proven, added FROM emails WHERE user_id = $1 ORDER BY added, address", []any{string(user)},
		func(e *Email) []any { return []any{&e.Address, &e.User, timeColumn{&e.Proven}, timeColumn{&e.Added}} })
}

// EmailUser tells whose an address is; false if it is nobody's.
func (s *Store) EmailUser(ctx context.Context, address string) (user id.UserID, found bool, err error) {
	found, err = s.read.found(ctx, "SELECT user_id FROM emails WHERE address = $1", []any{address}, &user)
	return user, found, err
}

// AddEmail gives an address to an account; [ErrEmailInUse] if it is another's, [ErrNotFound] if there is no such account, or it is
// deactivated. One that the account has stays as it is.
func (s *Store) AddEmail(ctx context.Context, e Email) error {
	return s.commit.write(ctx, func(t *writeTx) error { return addEmail(t, e) })
}

func addEmail(t *writeTx, e Email) error {
	var holder id.UserID
	switch held, err := t.found("SELECT user_id FROM emails WHERE address = $1", []any{e.Address}, &holder); {
	case err != nil:
		return err
	case held && holder != e.User:
		return ErrEmailInUse
	case held:
		return nil
	}
	var there int
	switch found, err := t.found("SELECT 1 FROM users WHERE user_id = $1 AND deactivated = 0", []any{string(e.User)}, &there); {
	case err != nil:
		return err
	case !found:
		return ErrNotFound
	}
	_, err := t.exec("INSERT INTO emails (address, user_id, proven, added) VALUES ($1, $2, $3, $4)",
		e.Address, string(e.User), e.Proven.UnixMilli(), e.Added.UnixMilli())
	return err
}

// RemoveEmail takes an address from an account; [ErrNotFound] if it isn't the account's.
func (s *Store) RemoveEmail(ctx context.Context, user id.UserID, address string) error {
	return s.change(ctx, "the e-mail address", "DELETE FROM emails WHERE address = $1 AND user_id = $2", address, string(user))
}

// EmailSessions counts the sessions that have not expired.
func (s *Store) EmailSessions(ctx context.Context, now time.Time) (int, error) {
	var n int
	err := s.read.row(ctx, "SELECT COUNT(*) FROM email_sessions WHERE expires > $1", []any{now.UnixMilli()}, &n)
	return n, err
}

// BeginEmailSession keeps a session, or goes on with the one that has the same client secret, purpose and address: SID, Token and
// NextLink are then those of the first time. send tells whether a mail is to be sent: not if one was for this attempt or a later one, or the
// address is proven.
func (s *Store) BeginEmailSession(ctx context.Context, e EmailSession, now time.Time) (session EmailSession, send bool, err error) {
	err = s.commit.write(ctx, func(t *writeTx) error {
		session = EmailSession{}
		if _, err := t.exec("DELETE FROM email_sessions WHERE expires <= $1", now.UnixMilli()); err != nil {
			return err
		}
		found, err := t.found("SELECT "+emailSessionColumns+" FROM email_sessions WHERE client_secret = $1 AND purpose = $2 AND address = $3",
			[]any{e.ClientSecret, e.Purpose, e.Address}, session.columns()...)
		switch {
		case err != nil:
			return err
		case !found:
			session, send = e, true
			_, err = t.exec("INSERT INTO email_sessions ("+emailSessionColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0)",
				e.SID, e.ClientSecret, e.Purpose, e.Address, e.Token, e.Attempt, e.NextLink, e.Expires.UnixMilli())
			return err
		}
		if send = e.Attempt > session.Attempt && session.Proven.IsZero(); !send {
			return nil
		}
		session.Attempt, session.Expires = e.Attempt, e.Expires
		_, err = t.exec("UPDATE email_sessions SET attempt = $1, expires = $2 WHERE sid = $3", e.Attempt, e.Expires.UnixMilli(), session.SID)
		return err
	})
	return session, send, err
}

// EmailNotSent has the attempt of a session count as none: its mail could not be sent.
func (s *Store) EmailNotSent(ctx context.Context, sid string) error {
	return s.exec(ctx, "UPDATE email_sessions SET attempt = 0 WHERE sid = $1", sid)
}

// EmailSession reads a session; false if there is none, or it has expired.
func (s *Store) EmailSession(ctx context.Context, sid string, now time.Time) (EmailSession, bool, error) {
	return readRow(ctx, s, "SELECT "+emailSessionColumns+" FROM email_sessions WHERE sid = $1 AND expires > $2", []any{sid, now.UnixMilli()},
		(*EmailSession).columns)
}

// ProveEmail notes that a session has proven its address, and until when that is good. If it has before, that stays as it is.
func (s *Store) ProveEmail(ctx context.Context, sid string, now, expires time.Time) error {
	return s.exec(ctx, "UPDATE email_sessions SET proven = $1, expires = $2 WHERE sid = $3 AND proven = 0", now.UnixMilli(), expires.UnixMilli(), sid)
}

// spend ends a session that has proven its address, and tells which and when; [ErrNotFound] if there is no such session any more.
func spend(t *writeTx, sid string, now time.Time) (address string, proven time.Time, err error) {
	found, err := t.found("SELECT address, proven FROM email_sessions WHERE sid = $1 AND expires > $2 AND proven > 0",
		[]any{sid, now.UnixMilli()}, &address, timeColumn{&proven})
	switch {
	case err != nil:
		return "", proven, err
	case !found:
		return "", proven, ErrNotFound
	}
	_, err = t.exec("DELETE FROM email_sessions WHERE sid = $1", sid)
	return address, proven, err
}

// AddEmailBySession is AddEmail for the address that a session has proven; it ends the session. [ErrNotFound] also if the session is no good.
func (s *Store) AddEmailBySession(ctx context.Context, user id.UserID, sid string, now time.Time) error {
	return s.commit.write(ctx, func(t *writeTx) error { return addEmailBySession(t, user, sid, now) })
}

func addEmailBySession(t *writeTx, user id.UserID, sid string, now time.Time) error {
	address, proven, err := spend(t, sid, now)
	if err != nil {
		return err
	}
	return addEmail(t, Email{Address: address, User: user, Proven: proven, Added: now})
}

// SetPasswordBySession gives the account that has a session's address a new password, by its hash, ends the session and tells whose the
// account is. [ErrNotFound] if the session is no good, or no account has the address any more; [ErrLocked] if the account is locked: then the
// session stays.
func (s *Store) SetPasswordBySession(ctx context.Context, sid, hash string, now time.Time) (user id.UserID, err error) {
	err = s.commit.write(ctx, func(t *writeTx) error {
		user = ""
		address, _, err := spend(t, sid, now)
		if err != nil {
			return err
		}
		switch found, err := t.found("SELECT user_id FROM emails WHERE address = $1", []any{address}, &user); {
		case err != nil:
			return err
		case !found:
			return ErrNotFound
		case s.Restrictions(user).Locked:
			return ErrLocked
		}
		return setPassword(t, user, hash)
	})
	if err != nil {
		return "", err
	}
	return user, nil
}
