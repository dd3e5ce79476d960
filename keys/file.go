package keys

import (
	"encoding/json"
	"errors"
	"time"

	"hanse/federation/id"
)

// KeyFile is what a signing key file holds. Immutable.
type KeyFile struct {
	Current SigningKey                // signs everything we send
	Others  []SigningKey              // further keys published as valid, e.g. one that is about to be retired
	Old     map[id.KeyID]OldVerifyKey // retired keys, published as old
}

// LoadOrCreate reads the signing key file at path, or makes one with a fresh key.
func LoadOrCreate(path string) (*KeyFile, error) { return nil, errors.New("keys: not built yet") }

// ServerKeys is our signed answer to GET /_matrix/key/v2/server.
func (f *KeyFile) ServerKeys(name id.ServerName, validUntil time.Time) (json.RawMessage, error) {
	return nil, errors.New("keys: not built yet")
}

// ParseServerKeys reads another server's key document and checks that it is signed by the keys it lists.
func ParseServerKeys(raw []byte) (ServerKeys, error) {
	return ServerKeys{}, errors.New("keys: not built yet")
}
