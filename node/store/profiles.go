package store

import (
	"context"
	"encoding/json"

	"hanse/federation/id"
)

// Profile reads the fields of a local user's profile (displayname, avatar_url, …), each a JSON value.
func (s *Store) Profile(ctx context.Context, user id.UserID) (map[string]json.RawMessage, error) {
	return readMap[string, json.RawMessage](ctx, s, "SELECT field, value FROM profiles WHERE user_id = $1", string(user))
}

// SetProfileField sets a field; nil removes it.
func (s *Store) SetProfileField(ctx context.Context, user id.UserID, field string, value json.RawMessage) error {
	if value == nil {
		return s.exec(ctx, "DELETE FROM profiles WHERE user_id = $1 AND field = $2", string(user), []byte(field))
	}
	return s.exec(ctx, `INSERT INTO profiles (user_id, field, value) VALUES ($1, $2, $3)
		ON CONFLICT (user_id, field) DO UPDATE SET value = excluded.value`, string(user), []byte(field), []byte(value))
}
