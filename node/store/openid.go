package store

import (
	"context"
	"time"

	"hanse/federation/id"
)

// AddOpenIDToken stores the hash of a token that tells others who a user is.
func (s *Store) AddOpenIDToken(ctx context.Context, hash []byte, user id.UserID, expires time.Time) error {
	return s.exec(ctx, "INSERT INTO openid_tokens (token_hash, user_id, expires) VALUES ($1, $2, $3)", hash, string(user), millis(expires))
}

// OpenIDToken reads whose a token is; false when it is unknown or has expired.
func (s *Store) OpenIDToken(ctx context.Context, hash []byte, now time.Time) (id.UserID, bool, error) {
	var user id.UserID
	found, err := s.read.found(ctx, "SELECT user_id FROM openid_tokens WHERE token_hash = $1 AND expires > $2",
		[]any{hash, millis(now)}, &user)
	return user, found, err
}

// DeleteExpiredOpenIDTokens removes the tokens that have expired.
func (s *Store) DeleteExpiredOpenIDTokens(ctx context.Context, now time.Time) error {
	return s.exec(ctx, "DELETE FROM openid_tokens WHERE expires <= $1", millis(now))
}
