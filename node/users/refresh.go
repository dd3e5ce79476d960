package users

import (
	"context"
	"errors"
	"time"

	"hanse/federation/id"
	"hanse/node/store"
)

// ErrExpiredToken says that an access token has ended: its client gets another for its refresh token, or logs in again
// and keeps its data.
//
// spec:client-server-api#soft-logout
var ErrExpiredToken = errors.New("users: the access token has expired")

// Refresh gives new tokens for a refresh token of /login; ErrUnknownToken if it isn't good (any more), ErrLocked if it is of a user who is
// locked.
func (u *Users) Refresh(ctx context.Context, token string) (Login, error) {
	return u.refresh(ctx, token, false, Login{AccessToken: newToken(), RefreshToken: newToken(), Life: accessTokenLife})
}

// refresh stores the tokens of next in place of those of a refresh token.
func (u *Users) refresh(ctx context.Context, token string, oauth bool, next Login) (Login, error) {
	user, device, good, err := u.store.Refresh(ctx, store.HashToken(token), oauth, refreshable(next))
	switch {
	case errors.Is(err, store.ErrLocked):
		return Login{}, ErrLocked
	case err != nil:
		return Login{}, err
	case !good:
		return Login{}, ErrUnknownToken
	}
	u.tokens.forgetDevice(user, device)
	next.User, next.Device = user, device
	return next, nil
}

// refreshable is how the tokens of a login are stored.
func refreshable(l Login) store.Refreshable {
	return store.Refreshable{Access: store.HashToken(l.AccessToken), Refresh: store.HashToken(l.RefreshToken), Expires: time.Now().Add(l.Life)}
}

// LoginToken makes a token with which the user can log in once, and tells how long it is good.
//
// spec:client-server-api#post_matrixclientv1loginget_token
func (u *Users) LoginToken(ctx context.Context, user id.UserID) (token string, life time.Duration, err error) {
	token, now := newToken(), time.Now()
	return token, loginTokenLife, u.store.AddLoginToken(ctx, store.HashToken(token), user, now, now.Add(loginTokenLife))
}

// LogInByToken logs in whose login token it is, and spends it; ErrUnknownToken if it isn't good (any more). Else as Login.
func (u *Users) LogInByToken(ctx context.Context, token string, d LoginDevice) (Login, error) {
	hash := store.HashToken(token)
	user, good, err := u.store.LoginToken(ctx, hash, time.Now())
	if err != nil {
		return Login{}, err
	}
	if !good {
		return Login{}, ErrUnknownToken
	}
	login, err := u.logIn(ctx, user, d, tokensFor(d), store.ByLoginToken(hash))
	if errors.Is(err, store.ErrNotFound) { // the account is gone, or the token was used meanwhile
		err = ErrUnknownToken
	}
	return login, notAKey(err)
}
