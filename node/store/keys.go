package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"golang.org/x/crypto/ed25519" // the algorithm of every Matrix signature; the house uses this import throughout

	"hanse/federation/id"
	"hanse/federation/signedjson"
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

// OwnKeyUsed tells which signing key this server used last, and its public half, which is nil where an older build noted it; false
// before [Store.SetOwnKeyUsed]. A node refuses to start with a key file that doesn't list it.
func (s *Store) OwnKeyUsed(ctx context.Context) (key id.KeyID, public ed25519.PublicKey, used bool, err error) {
	var value string
	used, err = s.read.found(ctx, "SELECT value FROM meta WHERE name = 'own_key'", nil, &value)
	name, encoded, _ := strings.Cut(value, " ")
	if decoded, err := signedjson.DecodeBase64(encoded); err == nil && len(decoded) == ed25519.PublicKeySize {
		public = decoded
	}
	return id.KeyID(name), public, used, err
}

// SetOwnKeyUsed notes which signing key this server uses.
func (s *Store) SetOwnKeyUsed(ctx context.Context, key id.KeyID, public ed25519.PublicKey) error {
	return s.commit.write(ctx, func(t *writeTx) error {
		_, err := t.exec(`INSERT INTO meta (name, value) VALUES ('own_key', $1)
			ON CONFLICT (name) DO UPDATE SET value = excluded.value`, string(key)+" "+signedjson.EncodeBase64(public))
		return err
	})
}
