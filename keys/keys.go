// Package keys holds what a server needs to know about signing keys: its own key file, the key documents that
// servers publish, a Ring that finds other servers' keys and checks signatures with them, and the answers of a
// notary. It is not an HTTP client and not a database: it asks a Fetcher and a Store for that.
package keys

import (
	"context"
	"encoding/json"

	"golang.org/x/crypto/ed25519" // the algorithm of every Matrix signature; the house uses this import throughout

	"hanse/federation/id"
	"hanse/federation/signedjson"
)

// SigningKey is a key we sign with: its key ID and the private half.
type SigningKey = signedjson.Key

// OldVerifyKey is a public key that its server has stopped using. It is good for events made before ExpiredTS
// (milliseconds since 1970), never for requests.
type OldVerifyKey struct {
	Key       ed25519.PublicKey
	ExpiredTS int64
}

// ServerKeys is one server's published key document. Immutable once made.
//
// spec:server-server-api#publishing-keys
type ServerKeys struct {
	ServerName    id.ServerName
	VerifyKeys    map[id.KeyID]ed25519.PublicKey
	OldVerifyKeys map[id.KeyID]OldVerifyKey
	// ValidUntilTS is when the list should be fetched again, in milliseconds since 1970, as the server wrote it;
	// ask ValidUntil for the capped time.
	ValidUntilTS int64
	// FetchedTS is when we (not a notary) first held this document, in milliseconds since 1970. The seven days to
	// which the spec caps ValidUntilTS count from it. A Store keeps it beside Raw.
	FetchedTS int64
	// Raw is the signed document as received, canonical, with every signature on it.
	Raw json.RawMessage
}

// Store keeps key documents over restarts. Both methods may be called concurrently.
type Store interface {
	// Keys returns the newest document stored of each of the servers; servers without one are left out.
	Keys(ctx context.Context, servers []id.ServerName) ([]ServerKeys, error)
	// SaveKeys stores documents, each in place of an older one of the same server. It returns once they are durable.
	SaveKeys(ctx context.Context, keys []ServerKeys) error
}

// Fetcher asks other servers. Both methods may be called concurrently, don't retry, and bound what they read.
type Fetcher interface {
	// ServerKeys fetches /_matrix/key/v2/server from the server itself.
	ServerKeys(ctx context.Context, server id.ServerName) (json.RawMessage, error)
	// NotaryQuery posts q to /_matrix/key/v2/query of the notary and returns the members of server_keys.
	NotaryQuery(ctx context.Context, notary id.ServerName, q NotaryRequest) ([]json.RawMessage, error)
}

// NotaryRequest is the body of POST /_matrix/key/v2/query.
//
// spec:server-server-api#querying-keys-through-another-server
type NotaryRequest struct {
	// ServerKeys says which servers' keys are wanted. An empty inner map asks for all keys of that server.
	ServerKeys map[id.ServerName]map[id.KeyID]Criteria `json:"server_keys"`
}

// Criteria says how fresh a key has to be.
type Criteria struct {
	// MinimumValidUntilTS is in milliseconds since 1970; zero means now.
	MinimumValidUntilTS int64 `json:"minimum_valid_until_ts,omitempty"`
}
