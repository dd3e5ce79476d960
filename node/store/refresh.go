package store

import (
	"context"
	"time"

	"hanse/federation/id"
)

// Refreshable is an access token that ends, and the refresh token that gives the next one.
type Refreshable struct {
	Access, Refresh TokenHash
	Expires         time.Time // of the access token
}

func insertRefresh(t *writeTx, user id.UserID, device string, r Refreshable) error {
	_, err := t.exec("INSERT INTO refresh_tokens (token_hash, user_id, device_id, access) VALUES ($1, $2, $3, $4)",
		r.Refresh[:], string(user), []byte(device), r.Access[:])
	return err
}

// Refresh gives a device new tokens for a refresh token; false if that isn't good (any more): its access token is gone with
// the device. The old tokens stay until one of the new ones is used; used once more before that, the refresh token takes
// back what it gave first. ErrLocked if the account is locked: the refresh token stays good. oauth: the device is to be one of the OAuth 2.0
// API; else it is to be none.
//
// spec:client-server-api#refreshing-access-tokens
func (s *Store) Refresh(ctx context.Context, old TokenHash, oauth bool, next Refreshable) (user id.UserID, device string, good bool, err error) {
	err = s.commit.write(ctx, func(t *writeTx) error {
		var deviceID, successor []byte
		var granted bool
		user, device, good = "", "", false
		found, err := t.found(`SELECT refresh_tokens.user_id, refresh_tokens.device_id, successor, oauth_grants.user_id IS NOT NULL FROM refresh_tokens
			JOIN access_tokens ON access_tokens.token_hash = refresh_tokens.access
			LEFT JOIN oauth_grants ON oauth_grants.user_id = refresh_tokens.user_id AND oauth_grants.device_id = refresh_tokens.device_id
			WHERE refresh_tokens.token_hash = $1`, []any{old[:]}, &user, &deviceID, &successor, &granted)
		if err != nil || !found || granted != oauth {
			return err
		}
		if s.Restrictions(user).Locked {
			return ErrLocked
		}
		device, good = string(deviceID), true
		if err := replaced(t, old); err != nil {
			return err
		}
		if successor != nil {
			if err := dropRefresh(t, "token_hash = $1", successor); err != nil {
				return err
			}
		}
		if _, err := t.exec("INSERT INTO access_tokens (token_hash, user_id, device_id, expires) VALUES ($1, $2, $3, $4)",
			next.Access[:], string(user), deviceID, next.Expires.UnixMilli()); err != nil {
			return err
		}
		if err := insertRefresh(t, user, device, next); err != nil {
			return err
		}
		_, err = t.exec("UPDATE refresh_tokens SET successor = $1 WHERE token_hash = $2", next.Refresh[:], old[:])
		return err
	})
	return user, device, good, err
}

// replaced ends the tokens that a refresh token came for: it is in use now.
func replaced(t *writeTx, refresh TokenHash) error {
	return dropRefresh(t, "successor = $1", refresh[:])
}

// dropRefresh deletes refresh tokens, and the access tokens that came with them.
func dropRefresh(t *writeTx, which string, value any) error {
	_, err := t.exec("DELETE FROM access_tokens WHERE token_hash IN (SELECT access FROM refresh_tokens WHERE "+which+")", value)
	if err != nil {
		return err
	}
	_, err = t.exec("DELETE FROM refresh_tokens WHERE "+which, value)
	return err
}

// UseAccess notes that an access token that ends is used: those that it came for end.
func (s *Store) UseAccess(ctx context.Context, access TokenHash) error {
	var refresh []byte
	found, err := s.read.found(ctx, `SELECT new.token_hash FROM refresh_tokens AS new JOIN refresh_tokens AS old ON old.successor = new.token_hash
		WHERE new.access = $1`, []any{access[:]}, &refresh)
	if err != nil || !found || len(refresh) != len(TokenHash{}) {
		return err
	}
	return s.commit.write(ctx, func(t *writeTx) error { return replaced(t, TokenHash(refresh)) })
}

// AddLoginToken stores a token to log in with once.
func (s *Store) AddLoginToken(ctx context.Context, token TokenHash, user id.UserID, now, expires time.Time) error {
	return s.commit.write(ctx, func(t *writeTx) error {
		if _, err := t.exec("DELETE FROM login_tokens WHERE expires < $1", now.UnixMilli()); err != nil {
			return err
		}
		_, err := t.exec("INSERT INTO login_tokens (token_hash, user_id, expires) VALUES ($1, $2, $3)", token[:], string(user), expires.UnixMilli())
		return err
	})
}

// LoginToken tells whose a token is to log in with; false if it isn't good (any more). [ByLoginToken] spends it.
func (s *Store) LoginToken(ctx context.Context, token TokenHash, now time.Time) (user id.UserID, good bool, err error) {
	good, err = s.read.found(ctx, "SELECT user_id FROM login_tokens WHERE token_hash = $1 AND expires >= $2", []any{token[:], now.UnixMilli()}, &user)
	return user, good, err
}
