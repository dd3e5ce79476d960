package store

import (
	"context"

	"hanse/federation/id"
)

// StatusMessages are the messages of this server's users that go with their presence, of those who have one.
func (s *Store) StatusMessages(ctx context.Context) (map[id.UserID]string, error) {
	return readMap[id.UserID, string](ctx, s, "SELECT user_id, message FROM status_messages")
}

// SaveStatusMessages stores users' messages; "" removes one.
func (s *Store) SaveStatusMessages(ctx context.Context, messages map[id.UserID]string) error {
	return s.commit.write(ctx, func(t *writeTx) error {
		for user, message := range messages {
			query, args := `INSERT INTO status_messages (user_id, message) VALUES ($1, $2)
				ON CONFLICT (user_id) DO UPDATE SET message = excluded.message`, []any{string(user), []byte(message)}
			if message == "" {
				query, args = "DELETE FROM status_messages WHERE user_id = $1", args[:1]
			}
			if _, err := t.exec(query, args...); err != nil {
				return err
			}
		}
		return nil
	})
}
