package users

import (
	"context"
	"net/http"
	"sync"
	"time"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/store"
)

// ErrLocked is what users of locked accounts are told, whatever they ask. Their tokens stay good.
//
// spec:client-server-api#account-locking
var ErrLocked = &federation.Error{Status: http.StatusUnauthorized, Code: federation.CodeUserLocked,
	Message: "this account has been locked by an administrator of the server", SoftLogout: true}

// Restrictions are what an administrator has taken from an account for a while. It is cheap: no database is asked.
func (u *Users) Restrictions(user id.UserID) store.Restrictions { return u.store.Restrictions(user) }

// Lock locks or unlocks an account; requests of UntilLocked end. M_NOT_FOUND if there is no such account, or it is deactivated.
// One that is locked stays so since it was.
//
// spec:client-server-api#account-locking
func (u *Users) Lock(ctx context.Context, user id.UserID, locked bool) error {
	if err := u.local(ctx, user); err != nil || u.Restrictions(user).Locked == locked {
		return err
	}
	if err := u.store.SetLocked(ctx, user, sinceNow(locked)); err != nil {
		return err
	}
	u.log.Info("an account was locked or unlocked", "user", user, "locked", locked)
	if locked {
		u.waiting.end(user)
	}
	return nil
}

// Suspend is Lock for suspending, which ends no request.
//
// spec:client-server-api#account-suspension
func (u *Users) Suspend(ctx context.Context, user id.UserID, suspended bool) error {
	if err := u.local(ctx, user); err != nil || u.Restrictions(user).Suspended == suspended {
		return err
	}
	if err := u.store.SetSuspended(ctx, user, sinceNow(suspended)); err != nil {
		return err
	}
	u.log.Info("an account was suspended, or is not any more", "user", user, "suspended", suspended)
	return nil
}

// sinceNow is since when something holds from now on; zero: it doesn't.
func sinceNow(on bool) time.Time {
	if !on {
		return time.Time{}
	}
	return time.Now()
}

// UntilLocked is ctx until the user is locked: then it ends, with ErrLocked as its cause. It is for requests that wait. done must
// be called in the end.
func (u *Users) UntilLocked(ctx context.Context, user id.UserID) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	leave := u.waiting.enter(user, cancel)
	if u.Restrictions(user).Locked { // it may have been locked before it was waiting
		cancel(ErrLocked)
	}
	return ctx, func() {
		leave()
		cancel(nil)
	}
}

// waiting are the requests that end when their user is locked. Safe for concurrent use.
type waiting struct {
	mu     sync.Mutex
	next   uint64                                           // guarded by mu
	byUser map[id.UserID]map[uint64]context.CancelCauseFunc // guarded by mu
}

func (w *waiting) enter(user id.UserID, cancel context.CancelCauseFunc) (leave func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byUser[user] == nil {
		w.byUser[user] = map[uint64]context.CancelCauseFunc{}
	}
	w.next++
	key := w.next
	w.byUser[user][key] = cancel
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if delete(w.byUser[user], key); len(w.byUser[user]) == 0 {
			delete(w.byUser, user)
		}
	}
}

func (w *waiting) end(user id.UserID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, cancel := range w.byUser[user] {
		cancel(ErrLocked)
	}
}

// Administrator tells whether a user is an administrator of the server; M_NOT_FOUND if there is no such account, or it is deactivated.
func (u *Users) Administrator(ctx context.Context, user id.UserID) (bool, error) {
	if err := u.local(ctx, user); err != nil {
		return false, err
	}
	account, _, err := u.store.User(ctx, user)
	return account.Admin, err
}
