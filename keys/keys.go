// Package keys holds what a server needs to know about signing keys: its own key file, the key documents that
// servers publish, a Ring that finds other servers' keys and checks signatures with them, and the answers of a
// notary. It is not an HTTP client and not a database: it asks a Fetcher and a Store for that.
package keys

import (
	"context"
	"encoding/json"

	"hanse/federation/id"
	"hanse/federation/signedjson"
)

// SigningKey is a key we sign with: its key ID and the private half.
type SigningKey = signedjson.Key

// Store keeps key documents over restarts. Both methods may be called concurrently.
type Store interface {
	// Keys returns the documents stored of each of the servers (LoadServerKeys reads them), in the order in which they were saved; servers
	// without one are left out. After an error the ring goes on without the store.
	Keys(ctx context.Context, servers []id.ServerName) ([]ServerKeys, error)
	// SaveKeys stores documents (Raw and FetchedTS), in place of all of the same servers that were stored: of each server those that have
	// a key which the ones before lack, the newest first, at most maxExtraDocuments more than one. It returns once they are durable. After
	// an error the ring goes on; the documents will be fetched again, where their servers still list the keys.
	SaveKeys(ctx context.Context, keys []ServerKeys) error
}

// Fetcher asks other servers. Both methods may be called concurrently; they don't retry, and they bound what they
// read. What they return is checked by the ring.
type Fetcher interface {
	// ServerKeys fetches /_matrix/key/v2/server from the server itself.
	ServerKeys(ctx context.Context, server id.ServerName) (json.RawMessage, error)
	// NotaryQuery posts q to /_matrix/key/v2/query of the notary and returns the members of server_keys.
	NotaryQuery(ctx context.Context, notary id.ServerName, q NotaryRequest) ([]json.RawMessage, error)
}
