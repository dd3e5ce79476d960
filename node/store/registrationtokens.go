package store

import (
	"context"
	"fmt"
	"time"
)

// RegistrationToken lets people register while registration is closed.
type RegistrationToken struct {
	Token   string
	Uses    int       // completed registrations
	Allowed int       // 0 = no limit
	Expires time.Time // zero = never
}

// CreateRegistrationToken makes a token; [ErrExists] if there is one of that name.
func (s *Store) CreateRegistrationToken(ctx context.Context, token RegistrationToken) error {
	return s.create(ctx, fmt.Sprintf("the registration token %q", token.Token),
		"INSERT INTO registration_tokens (token, uses, allowed, expires) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
		[]byte(token.Token), token.Uses, token.Allowed, millis(token.Expires))
}

// spend uses a token once, or fails.
func spend(t *writeTx, token string, now time.Time) error {
	n, err := t.exec(`UPDATE registration_tokens SET uses = uses + 1
		WHERE token = $1 AND (allowed = 0 OR uses < allowed) AND (expires = 0 OR expires > $2)`, []byte(token), now.UnixMilli())
	if err == nil && n == 0 {
		err = ErrTokenSpent
	}
	return err
}

// Valid says whether the token can still be used.
func (t RegistrationToken) Valid(now time.Time) bool {
	return (t.Allowed == 0 || t.Uses < t.Allowed) && (t.Expires.IsZero() || t.Expires.After(now))
}

func (t *RegistrationToken) columns() []any {
	return []any{&t.Token, &t.Uses, &t.Allowed, timeColumn{&t.Expires}}
}

// RegistrationToken reads a token; false when there is none.
func (s *Store) RegistrationToken(ctx context.Context, token string) (RegistrationToken, bool, error) {
	return readRow(ctx, s, "SELECT token, uses, allowed, expires FROM registration_tokens WHERE token = $1", []any{[]byte(token)},
		(*RegistrationToken).columns)
}

// RegistrationTokens lists all tokens in order.
func (s *Store) RegistrationTokens(ctx context.Context) ([]RegistrationToken, error) {
	return readRows(ctx, s, "SELECT token, uses, allowed, expires FROM registration_tokens ORDER BY token", nil, (*RegistrationToken).columns)
}
