package store

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"golang.org/x/crypto/ed25519" // the algorithm of every Matrix signature; the house uses this import throughout

	"hanse/federation/id"
	"hanse/federation/signedjson"
	"hanse/keys"
)

// Keys reads the key documents stored of servers, of each the newest first; see keys.Store.
func (s *Store) Keys(ctx context.Context, servers []id.ServerName) ([]keys.ServerKeys, error) {
	var all []keys.ServerKeys
	read := func(query string, args []any) error {
		return s.read.each(ctx, query, args, func(rows *sql.Rows) error {
			var fetched int64
			var raw []byte
			if err := rows.Scan(&fetched, &raw); err != nil {
				return err
			}
			fetched = min(fetched, time.Now().UnixMilli())               // the clock was ahead once: they must not be good for so much longer
			if k, err := keys.LoadServerKeys(raw, fetched); err == nil { // else an older build knew what this one doesn't: it is fetched again
				all = append(all, k)
			}
			return nil
		})
	}
	if err := list("SELECT fetched, raw FROM server_keys WHERE server IN (%s)", nil, servers, read); err != nil {
		return nil, err
	}
	err := list("SELECT fetched, raw FROM older_server_keys WHERE server IN (%s) ORDER BY server, place", nil, servers, read)
	return all, err
}

// SaveKeys stores key documents in place of those of the same servers; see keys.Store.
func (s *Store) SaveKeys(ctx context.Context, documents []keys.ServerKeys) error {
	newest, older := map[id.ServerName]int{}, []keys.ServerKeys(nil)
	for i, k := range documents {
		if _, found := newest[k.ServerName]; found {
			older = append(older, k)
		} else {
			newest[k.ServerName] = i
		}
	}
	return s.commit.write(ctx, func(t *writeTx) error {
		for server, i := range newest {
			if err := t.insert(insertServerKeys, string(server), documents[i].FetchedTS, []byte(documents[i].Raw)); err != nil {
				return err
			}
			if err := t.remove(removeKeys, string(server)); err != nil {
				return err
			}
		}
		for place, k := range older {
			if err := t.insert(insertOlderKeys, string(k.ServerName), int64(place), k.FetchedTS, []byte(k.Raw)); err != nil {
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
	return s.exec(ctx, `INSERT INTO meta (name, value) VALUES ('own_key', $1)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, string(key)+" "+signedjson.EncodeBase64(public))
}
