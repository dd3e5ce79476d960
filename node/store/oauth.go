package store

import (
	"context"
	"fmt"
	"time"

	"hanse/federation/id"
)

// SetOAuthClient keeps what a client says of itself, as registered now. Those without a grant that were registered before a time go; if
// there are still as many as there may be, so do a tenth of those without one, the oldest; [ErrFull] if there are none.
func (s *Store) SetOAuthClient(ctx context.Context, clientID string, metadata []byte, now, before time.Time, most int) error {
	return s.commit.write(ctx, func(t *writeTx) error {
		n, err := t.exec("UPDATE oauth_clients SET registered = $1 WHERE client_id = $2", now.UnixMilli(), clientID)
		if err != nil || n > 0 {
			return err
		}
		_, err = t.exec(`DELETE FROM oauth_clients WHERE registered < $1
			AND NOT EXISTS (SELECT 1 FROM oauth_grants WHERE oauth_grants.client_id = oauth_clients.client_id)`, before.UnixMilli())
		if err != nil {
			return err
		}
		var there int
		if _, err := t.found("SELECT COUNT(*) FROM oauth_clients", nil, &there); err != nil {
			return err
		}
		if there >= most {
			n, err := t.exec(`DELETE FROM oauth_clients WHERE client_id IN (SELECT client_id FROM oauth_clients WHERE
				NOT EXISTS (SELECT 1 FROM oauth_grants WHERE oauth_grants.client_id = oauth_clients.client_id) ORDER BY registered LIMIT $1)`, max(most/10, 1))
			if err == nil && n == 0 {
				err = fmt.Errorf("clients of the OAuth 2.0 API: %w", ErrFull)
			}
			if err != nil {
				return err
			}
		}
		_, err = t.exec("INSERT INTO oauth_clients (client_id, metadata, registered) VALUES ($1, $2, $3)", clientID, metadata, now.UnixMilli())
		return err
	})
}

// OAuthClient reads what a client said of itself; false if it isn't known (any more).
func (s *Store) OAuthClient(ctx context.Context, clientID string) (metadata []byte, known bool, err error) {
	known, err = s.read.found(ctx, "SELECT metadata FROM oauth_clients WHERE client_id = $1", []any{clientID}, &metadata)
	return metadata, known, err
}

// OAuthDecision is what a user said to a client's request.
type OAuthDecision int64

// The decisions. The numbers are in the database.
const (
	OAuthUndecided OAuthDecision = 0
	OAuthAllowed   OAuthDecision = 1
	OAuthRefused   OAuthDecision = 2
)

// OAuthCode is a code that is, or becomes, an access token.
type OAuthCode struct {
	Hash      TokenHash
	UserCode  string // what a person types for a device; "" for a code that is handed over
	Client    string
	Device    string
	Scope     string
	Redirect  string    // "" for a device's
	Challenge string    // likewise
	User      id.UserID // "" until it is decided
	Account   TokenHash // what the account was when it was decided; see [Store.DecideOAuthCode]
	Decision  OAuthDecision
	Expires   time.Time
	Uses      int64
}

const oauthCodeColumns = "code_hash, COALESCE(user_code, ''), client_id, device_id, scope, redirect_uri, challenge, user_id, account, decision, expires, uses"

func (c *OAuthCode) columns() []any {
	return []any{hashColumn{&c.Hash}, &c.UserCode, &c.Client, &c.Device, &c.Scope, &c.Redirect, &c.Challenge, &c.User, hashColumn{&c.Account},
		&c.Decision, timeColumn{&c.Expires}, &c.Uses}
}

// hashColumn has a column scanned that is a hash.
type hashColumn struct{ into *TokenHash }

// Scan is sql.Scanner's.
func (c hashColumn) Scan(value any) error {
	hash, ok := value.([]byte)
	if !ok || len(hash) != len(c.into) {
		return fmt.Errorf("a stored hash is %T of %d bytes", value, len(hash))
	}
	copy(c.into[:], hash)
	return nil
}

// AddOAuthCode keeps a code. Those that expired before a time go, and the oldest of its kind, handed over or a device's, if there are more than
// there may be: who asks for many keeps nobody out. [ErrExists] if its user code is another's.
func (s *Store) AddOAuthCode(ctx context.Context, c OAuthCode, before time.Time, most int) error {
	return s.commit.write(ctx, func(t *writeTx) error {
		if _, err := t.exec("DELETE FROM oauth_codes WHERE expires < $1", before.UnixMilli()); err != nil {
			return err
		}
		var there int
		var userCode any
		kind := "user_code IS NULL"
		if c.UserCode != "" {
			userCode, kind = c.UserCode, "user_code IS NOT NULL"
		}
		if _, err := t.found("SELECT COUNT(*) FROM oauth_codes WHERE "+kind, nil, &there); err != nil {
			return err
		}
		if there >= most {
			_, err := t.exec("DELETE FROM oauth_codes WHERE code_hash IN (SELECT code_hash FROM oauth_codes WHERE "+kind+" ORDER BY expires LIMIT $1)", there-most+1)
			if err != nil {
				return err
			}
		}
		return t.create("the user code", `INSERT INTO oauth_codes (code_hash, user_code, client_id, device_id, scope, redirect_uri, challenge, user_id, account,
			decision, expires, uses) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0) ON CONFLICT DO NOTHING`,
			c.Hash[:], userCode, c.Client, []byte(c.Device), []byte(c.Scope), []byte(c.Redirect), c.Challenge, string(c.User), c.Account[:],
			int64(c.Decision), c.Expires.UnixMilli())
	})
}

// OAuthCodeTyped reads the code of a device by the one that a person types; false if there is none.
func (s *Store) OAuthCodeTyped(ctx context.Context, userCode string) (OAuthCode, bool, error) {
	return readRow(ctx, s, "SELECT "+oauthCodeColumns+" FROM oauth_codes WHERE user_code = $1", []any{userCode}, (*OAuthCode).columns)
}

// DecideOAuthCode notes what a user said to a device's code, and what their account was then; [ErrNotFound] if there is no such code, it has
// expired or was decided already.
func (s *Store) DecideOAuthCode(ctx context.Context, userCode string, user id.UserID, account TokenHash, d OAuthDecision, now time.Time) error {
	return s.change(ctx, "the user code", `UPDATE oauth_codes SET decision = $1, user_id = $2, account = $3
		WHERE user_code = $4 AND decision = 0 AND expires > $5`, int64(d), string(user), account[:], userCode, now.UnixMilli())
}

// OAuthCode reads a code; false if there is none. [ByOAuthCode] uses it.
func (s *Store) OAuthCode(ctx context.Context, hash TokenHash) (OAuthCode, bool, error) {
	return readRow(ctx, s, "SELECT "+oauthCodeColumns+" FROM oauth_codes WHERE code_hash = $1", []any{hash[:]}, (*OAuthCode).columns)
}

// SpendOAuthCode has a code count as used, if it was allowed.
func (s *Store) SpendOAuthCode(ctx context.Context, hash TokenHash) error {
	return s.exec(ctx, "UPDATE oauth_codes SET uses = uses + 1 WHERE code_hash = $1 AND decision = $2", hash[:], int64(OAuthAllowed))
}

// OAuthGrant is a device that is of the OAuth 2.0 API.
type OAuthGrant struct {
	User   id.UserID
	Device string
	Client string
	Scope  string
	Family TokenHash // of what all its refresh tokens begin with
	Code   TokenHash // of the code that it was made for
}

const oauthGrantColumns = "user_id, device_id, client_id, scope, family, code_hash"

func (g *OAuthGrant) columns() []any {
	return []any{&g.User, &g.Device, &g.Client, &g.Scope, hashColumn{&g.Family}, hashColumn{&g.Code}}
}

// OAuthGrant reads the grant of a device; false if it has none.
func (s *Store) OAuthGrant(ctx context.Context, user id.UserID, device string) (OAuthGrant, bool, error) {
	return readRow(ctx, s, "SELECT "+oauthGrantColumns+" FROM oauth_grants WHERE user_id = $1 AND device_id = $2", []any{string(user), []byte(device)},
		(*OAuthGrant).columns)
}

// OAuthGrants are those of a user's devices.
func (s *Store) OAuthGrants(ctx context.Context, user id.UserID) ([]OAuthGrant, error) {
	return readRows(ctx, s, "SELECT "+oauthGrantColumns+" FROM oauth_grants WHERE user_id = $1 ORDER BY device_id", []any{string(user)}, (*OAuthGrant).columns)
}

// OAuthFamily reads the grant whose refresh tokens begin with that; false if there is none.
func (s *Store) OAuthFamily(ctx context.Context, family TokenHash) (OAuthGrant, bool, error) {
	return readRow(ctx, s, "SELECT "+oauthGrantColumns+" FROM oauth_grants WHERE family = $1", []any{family[:]}, (*OAuthGrant).columns)
}
