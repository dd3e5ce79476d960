package store

import (
	"context"
	"database/sql"
	"time"

	"hanse/federation/id"
)

// User is a local account.
type User struct {
	ID           id.UserID
	PasswordHash string // in the form of the hashing package; "" = no login by password
	Admin        bool
	Guest        bool
	Deactivated  bool
	Created      time.Time
	Locked       time.Time // since when it is; zero: it is not
	Suspended    time.Time // likewise
}

const userColumns = "user_id, password_hash, admin, guest, deactivated, created, locked, suspended"

func (u *User) columns() []any {
	return []any{&u.ID, &u.PasswordHash, &u.Admin, &u.Guest, &u.Deactivated, timeColumn{&u.Created}, timeColumn{&u.Locked},
		timeColumn{&u.Suspended}}
}

// CreateUser makes an account; [ErrExists] if the name is taken, also by a deactivated one.
func (s *Store) CreateUser(ctx context.Context, u User) error {
	return s.commit.write(ctx, func(t *writeTx) error { return s.createUser(t, u) })
}

func (s *Store) createUser(t *writeTx, u User) error {
	err := t.create("the user "+string(u.ID), "INSERT INTO users ("+userColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
		string(u.ID), u.PasswordHash, flag(u.Admin), flag(u.Guest), flag(u.Deactivated), u.Created.UnixMilli(), millis(u.Locked), millis(u.Suspended))
	if err == nil && u.Guest {
		t.then(func() { s.setRestrictions(u.ID, Restrictions{Guest: true}) })
	}
	return err
}

// CreateUserBySession is CreateUser with the e-mail address that a session has proven; it ends the session. sid "": there is none. [ErrNotFound] if the session is
// no good, [ErrEmailInUse] if the address has become another account's.
func (s *Store) CreateUserBySession(ctx context.Context, u User, sid string, now time.Time) error {
	return s.commit.write(ctx, func(t *writeTx) error { return s.createUserBySession(t, u, sid, now) })
}

func (s *Store) createUserBySession(t *writeTx, u User, sid string, now time.Time) error {
	if err := s.createUser(t, u); err != nil || sid == "" {
		return err
	}
	return addEmailBySession(t, u.ID, sid, now)
}

// UpgradeGuest makes a guest an ordinary user with a password, given by its hash, and with the e-mail address that a session has proven, as
// [Store.CreateUserBySession] does; sid "": there is none. [ErrNotFound] if there is no such guest.
func (s *Store) UpgradeGuest(ctx context.Context, guest id.UserID, hash, sid string, now time.Time) error {
	return s.commit.write(ctx, func(t *writeTx) error { return s.upgradeGuest(t, guest, hash, sid, now) })
}

func (s *Store) upgradeGuest(t *writeTx, guest id.UserID, hash, sid string, now time.Time) error {
	err := s.restrictWithin(t, guest, "UPDATE users SET guest = 0, password_hash = $1 WHERE user_id = $2 AND guest = 1 AND deactivated = 0", hash,
		func(r *Restrictions) { r.Guest = false })
	if err != nil || sid == "" {
		return err
	}
	return addEmailBySession(t, guest, sid, now)
}

// User reads an account; false when there is none.
func (s *Store) User(ctx context.Context, user id.UserID) (User, bool, error) {
	return readRow(ctx, s, "SELECT "+userColumns+" FROM users WHERE user_id = $1", []any{string(user)}, (*User).columns)
}

// Users lists accounts in order of their IDs, those after the given one, at most limit.
func (s *Store) Users(ctx context.Context, after id.UserID, limit int) ([]User, error) {
	return readRows(ctx, s, "SELECT "+userColumns+" FROM users WHERE user_id > $1 ORDER BY user_id LIMIT $2", []any{string(after), limit},
		(*User).columns)
}

// SetPassword replaces a password's hash; [ErrNotFound] if there is no such user. Sessions of the user's e-mail addresses end: what was confirmed
// before is for the password that was forgotten then.
func (s *Store) SetPassword(ctx context.Context, user id.UserID, hash string) error {
	return s.commit.write(ctx, func(t *writeTx) error { return setPassword(t, user, hash) })
}

func setPassword(t *writeTx, user id.UserID, hash string) error {
	if err := changeUser(t, user, "UPDATE users SET password_hash = $1 WHERE user_id = $2", hash); err != nil {
		return err
	}
	_, err := t.exec("DELETE FROM email_sessions WHERE address IN (SELECT address FROM emails WHERE user_id = $1)", string(user))
	return err
}

// ReplaceHash puts a hash of the same password in place of another; nothing is done if the password is another meanwhile.
func (s *Store) ReplaceHash(ctx context.Context, user id.UserID, old, hash string) error {
	return s.exec(ctx, "UPDATE users SET password_hash = $1 WHERE user_id = $2 AND password_hash = $3", hash, string(user), old)
}

func changeUser(t *writeTx, user id.UserID, query string, value any) error {
	return t.change("the user "+string(user), query, value, string(user))
}

// Deactivate takes the password, devices with all they have, tokens, profile, e-mail addresses and delayed events from an account. Its name
// stays taken.
// With erase the account data goes too, and the user is [Store.Erased] from then on. It may be done again, to erase.
func (s *Store) Deactivate(ctx context.Context, user id.UserID, erase bool) error {
	return s.deactivate(ctx, user, erase, false)
}

// DeactivateGuest is Deactivate for a guest; [ErrNotFound] if it is none, or not any more.
func (s *Store) DeactivateGuest(ctx context.Context, guest id.UserID) error {
	return s.deactivate(ctx, guest, false, true)
}

func (s *Store) deactivate(ctx context.Context, user id.UserID, erase, onlyGuest bool) error {
	servers, err := s.ServersSharing(ctx, user)
	if err != nil {
		return err
	}
	return s.commit.write(ctx, func(t *writeTx) error {
		err := changeUser(t, user, "UPDATE users SET deactivated = 1, guest = 0, password_hash = '' WHERE guest >= $1 AND user_id = $2", flag(onlyGuest))
		if err != nil {
			return err
		}
		t.then(func() {
			now := s.Restrictions(user)
			now.Guest = false
			s.setRestrictions(user, now)
		})
		if _, before := s.Erased(user); erase && !before {
			at := t.next()
			if err := changeUser(t, user, "UPDATE users SET erased = $1 WHERE user_id = $2", int64(at)); err != nil {
				return err
			}
			if _, err := t.exec("DELETE FROM account_data WHERE user_id = $1", string(user)); err != nil {
				return err
			}
			s.kept.change(t)
			delete(s.kept.users, user) // it is counted again
			t.then(func() { s.erased.Store(user, at) })
		}
		for _, table := range []string{"access_tokens", "profiles", "status_messages", "delayed_events", "emails"} {
			if _, err := t.exec("DELETE FROM "+table+" WHERE user_id = $1", string(user)); err != nil {
				return err
			}
		}
		devices, err := readAllInTx[string](t, "SELECT device_id FROM devices WHERE user_id = $1", string(user))
		if err != nil {
			return err
		}
		return s.endDevices(t, user, devices, servers)
	})
}

// UnusedGuests are the guests who were made before a time, and have no device that was seen since then, in order.
func (s *Store) UnusedGuests(ctx context.Context, since time.Time) ([]id.UserID, error) {
	return readAll[id.UserID](ctx, s, `SELECT user_id FROM users WHERE guest = 1 AND created < $1 AND NOT EXISTS (SELECT 1 FROM devices
		WHERE devices.user_id = users.user_id AND last_seen >= $2) ORDER BY user_id`, since.UnixMilli(), since.UnixMilli())
}

// DeactivatedInRooms are the users who were deactivated, but are still joined to rooms, invited or knocking.
func (s *Store) DeactivatedInRooms(ctx context.Context) ([]id.UserID, error) {
	return readAll[id.UserID](ctx, s, `SELECT user_id FROM users WHERE deactivated = 1 AND EXISTS (SELECT 1 FROM members
		WHERE members.user_id = users.user_id AND membership IN ('join', 'invite', 'knock')) ORDER BY user_id`)
}

// Erased tells whether, and at which position, a user was deactivated with the wish that what they said is forgotten, as far
// as that goes.
func (s *Store) Erased(user id.UserID) (at Position, erased bool) {
	value, erased := s.erased.Load(user)
	if erased {
		at = value.(Position)
	}
	return at, erased
}

func (s *Store) loadErased(ctx context.Context) error {
	return s.read.each(ctx, "SELECT user_id, erased FROM users WHERE erased > 0", nil, func(rows *sql.Rows) error {
		var user id.UserID
		var at int64
		err := rows.Scan(&user, &at)
		s.erased.Store(user, Position(at))
		return err
	})
}
