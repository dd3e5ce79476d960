package store

import (
	"context"
	"database/sql"
	"fmt"

	"hanse/federation/id"
	"hanse/keys"
)

// Keys reads the newest key documents stored of servers; see keys.Store.
func (s *Store) Keys(ctx context.Context, servers []id.ServerName) ([]keys.ServerKeys, error) {
	var all []keys.ServerKeys
	err := list("SELECT server, fetched, raw FROM server_keys WHERE server IN (%s)", nil, servers, func(query string, args []any) error {
		return s.read.each(ctx, query, args, func(rows *sql.Rows) error {
			var server id.ServerName
			var fetched int64
			var raw []byte
			if err := rows.Scan(&server, &fetched, &raw); err != nil {
				return err
			}
			k, err := keys.LoadServerKeys(raw, fetched)
			if err != nil {
				return fmt.Errorf("the stored keys of %s: %w", server, err)
			}
			all = append(all, k)
			return nil
		})
	})
	return all, err
}

// SaveKeys stores key documents, each in place of an older one of its server; see keys.Store.
func (s *Store) SaveKeys(ctx context.Context, documents []keys.ServerKeys) error {
	return s.commit.write(ctx, func(t *writeTx) error {
		for _, k := range documents {
			if err := t.insert(insertServerKeys, string(k.ServerName), k.FetchedTS, []byte(k.Raw)); err != nil {
				return err
			}
		}
		return nil
	})
}

// OwnKeyUsed tells which signing key this server used last; false before [Store.SetOwnKeyUsed]. A node refuses to start with
// another key file than the one its events were signed with, unless that still lists the key.
func (s *Store) OwnKeyUsed(ctx context.Context) (id.KeyID, bool, error) {
	var key id.KeyID
	found, err := s.read.found(ctx, "SELECT value FROM meta WHERE name = 'own_key'", nil, &key)
	return key, found, err
}

// SetOwnKeyUsed notes which signing key this server uses.
func (s *Store) SetOwnKeyUsed(ctx context.Context, key id.KeyID) error {
	return s.commit.write(ctx, func(t *writeTx) error {
		_, err := t.exec(`INSERT INTO meta (name, value) VALUES ('own_key', $1)
			ON CONFLICT (name) DO UPDATE SET value = excluded.value`, string(key))
		return err
	})
}
