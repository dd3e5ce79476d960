package store

import (
	"context"
	"time"

	"hanse/federation/id"
)

// LoginPart is something that is stored with a login: both, or neither.
type LoginPart func(*Store, *writeTx, Device) error

// Login stores a device (made, or known: then an empty display name leaves the old one) and its token, in place of the
// device's older tokens, with all parts. Clients and other servers are told of a new device or name. It is none of the OAuth 2.0 API any
// more, unless a part makes it one. [ErrExists] if a cross-signing key of the user has the name of a new device, [ErrNotFound] if the account
// has been deactivated; else the errors of the parts.
func (s *Store) Login(ctx context.Context, d Device, token TokenHash, parts ...LoginPart) error {
	servers, err := s.ServersSharing(ctx, d.User)
	if err != nil {
		return err
	}
	return s.commit.write(ctx, func(t *writeTx) error {
		if err := s.setDevice(t, d, servers); err != nil {
			return err
		}
		for _, table := range []string{"access_tokens", "oauth_grants"} {
			if _, err := t.exec("DELETE FROM "+table+" WHERE user_id = $1 AND device_id = $2", string(d.User), []byte(d.ID)); err != nil {
				return err
			}
		}
		if _, err := t.exec("INSERT INTO access_tokens (token_hash, user_id, device_id) VALUES ($1, $2, $3)",
			token[:], string(d.User), []byte(d.ID)); err != nil {
			return err
		}
		for _, part := range parts {
			if err := part(s, t, d); err != nil {
				return err
			}
		}
		return nil
	})
}

// ByNewAccount makes the account, as [Store.CreateUserBySession] does; sid "": it has no e-mail address.
func ByNewAccount(u User, sid string) LoginPart {
	return func(s *Store, t *writeTx, _ Device) error { return s.createUserBySession(t, u, sid, u.Created) }
}

// ByUpgrade makes a guest a user, as [Store.UpgradeGuest] does; sid "": the user has no e-mail address.
func ByUpgrade(guest id.UserID, hash, sid string, now time.Time) LoginPart {
	return func(s *Store, t *writeTx, _ Device) error { return s.upgradeGuest(t, guest, hash, sid, now) }
}

// ByLoginToken spends a token; [ErrNotFound] if that has been done.
func ByLoginToken(token TokenHash) LoginPart {
	return func(_ *Store, t *writeTx, _ Device) error {
		return t.change("the login token", "DELETE FROM login_tokens WHERE token_hash = $1", token[:])
	}
}

// ByOAuthCode spends the code of a grant, and makes the device one of the OAuth 2.0 API; [ErrNotFound] if the code was used before, or isn't
// allowed.
func ByOAuthCode(g OAuthGrant) LoginPart {
	return func(_ *Store, t *writeTx, _ Device) error {
		if err := t.change("the code", "UPDATE oauth_codes SET uses = 1 WHERE code_hash = $1 AND decision = $2 AND uses = 0", g.Code[:],
			int64(OAuthAllowed)); err != nil {
			return err
		}
		_, err := t.exec("INSERT INTO oauth_grants ("+oauthGrantColumns+") VALUES ($1, $2, $3, $4, $5, $6)",
			string(g.User), []byte(g.Device), g.Client, []byte(g.Scope), g.Family[:], g.Code[:])
		return err
	}
}

// Refreshing makes the access token, which is the login's, one that ends.
func Refreshing(r Refreshable) LoginPart {
	return func(_ *Store, t *writeTx, d Device) error {
		if _, err := t.exec("DELETE FROM refresh_tokens WHERE user_id = $1 AND device_id = $2", string(d.User), []byte(d.ID)); err != nil {
			return err
		}
		if _, err := t.exec("UPDATE access_tokens SET expires = $1 WHERE token_hash = $2", r.Expires.UnixMilli(), r.Access[:]); err != nil {
			return err
		}
		return insertRefresh(t, d.User, d.ID, r)
	}
}
