package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"hanse/federation"
	"hanse/federation/exactjson"
	"hanse/federation/id"
)

// Backoff gives what SaveBackoff saved.
func (s *Store) Backoff(ctx context.Context) (map[id.ServerName]federation.Backoff, error) {
	all := map[id.ServerName]federation.Backoff{}
	err := s.read.each(ctx, "SELECT destination, backoff FROM backoffs", nil, func(rows *sql.Rows) error {
		var server id.ServerName
		var content []byte
		if err := rows.Scan(&server, &content); err != nil {
			return err
		}
		var b federation.Backoff
		if err := exactjson.Unmarshal(content, &b); err != nil {
			return fmt.Errorf("the stored back-off of %s: %w", server, err)
		}
		all[server] = b
		return nil
	})
	return all, err
}

// SaveBackoff keeps a server's back-off over restarts; the zero Backoff removes it.
func (s *Store) SaveBackoff(ctx context.Context, server id.ServerName, b federation.Backoff) error {
	content, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("store: the back-off of %s: %w", server, err)
	}
	return s.commit.write(ctx, func(t *writeTx) error {
		if b == (federation.Backoff{}) {
			_, err := t.exec("DELETE FROM backoffs WHERE destination = $1", string(server))
			return err
		}
		return t.insert(insertBackoff, string(server), content)
	})
}
