package keys

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/crypto/ed25519" // the algorithm of every Matrix signature; the house uses this import throughout

	"hanse/federation/canonicaljson"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/federation/signedjson"
)

// ServerKeys is one server's published key document. Immutable once made.
//
// spec:server-server-api#publishing-keys
type ServerKeys struct {
	ServerName    id.ServerName
	VerifyKeys    map[id.KeyID]ed25519.PublicKey
	OldVerifyKeys map[id.KeyID]OldVerifyKey
	// ValidUntilTS is when the list should be fetched again, in milliseconds since 1970, as the server wrote it;
	// ValidUntil has the time that counts.
	ValidUntilTS int64
	// FetchedTS is when we got this document, in milliseconds since 1970. The seven days to which the spec caps
	// ValidUntilTS count from it. A Store keeps it beside Raw.
	FetchedTS int64
	// Raw is the signed document as received, in canonical form, with every signature on it.
	Raw json.RawMessage
}

// OldVerifyKey is a public key that its server has stopped using. It is good for events made before ExpiredTS
// (milliseconds since 1970), never for requests.
type OldVerifyKey struct {
	Key       ed25519.PublicKey
	ExpiredTS int64
}

// ValidUntil is the time up to which the document's keys are valid, in milliseconds since 1970: what the server says,
// but at most seven days after we got it.
//
// spec:rooms/v5#signing-key-validity-period
func (k ServerKeys) ValidUntil() int64 {
	if k.FetchedTS <= 0 || k.FetchedTS > math.MaxInt64-validityCap.Milliseconds() {
		return k.ValidUntilTS
	}
	return min(k.ValidUntilTS, k.FetchedTS+validityCap.Milliseconds())
}

// document is the wire form.
type document struct {
	ServerName    id.ServerName           `json:"server_name"`
	VerifyKeys    map[id.KeyID]wireKey    `json:"verify_keys"`
	OldVerifyKeys map[id.KeyID]wireOldKey `json:"old_verify_keys"`
	ValidUntilTS  int64                   `json:"valid_until_ts"`
}

type wireKey struct {
	Key string `json:"key"`
}

type wireOldKey struct {
	Key       string `json:"key"`
	ExpiredTS int64  `json:"expired_ts"`
}

// ServerKeys is our signed answer to GET /_matrix/key/v2/server: every key that is published as valid has signed it.
// The spec asks not to return answers that expire within the hour.
//
// spec:server-server-api#publishing-keys
func (f *KeyFile) ServerKeys(name id.ServerName, validUntil time.Time) (json.RawMessage, error) {
	doc := document{ServerName: name, VerifyKeys: map[id.KeyID]wireKey{}, OldVerifyKeys: map[id.KeyID]wireOldKey{},
		ValidUntilTS: validUntil.UnixMilli()}
	for _, key := range f.signing() {
		doc.VerifyKeys[key.ID] = wireKey{signedjson.EncodeBase64(key.Public())}
	}
	for keyID, old := range f.Old {
		doc.OldVerifyKeys[keyID] = wireOldKey{signedjson.EncodeBase64(old.Key), old.ExpiredTS}
	}
	signed, err := canonicaljson.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("our key document: %w", err)
	}
	for _, key := range f.signing() {
		if signed, err = signedjson.Sign(signed, string(name), key); err != nil {
			return nil, fmt.Errorf("our key document: %w", err)
		}
	}
	return signed, nil
}

// own is what we know of our own keys without asking anyone.
func (f *KeyFile) own(name id.ServerName, now time.Time) ServerKeys {
	k := ServerKeys{ServerName: name, VerifyKeys: map[id.KeyID]ed25519.PublicKey{}, OldVerifyKeys: f.Old,
		ValidUntilTS: now.Add(validityCap).UnixMilli(), FetchedTS: now.UnixMilli()}
	for _, key := range f.signing() {
		k.VerifyKeys[key.ID] = key.Public()
	}
	return k
}

// ParseServerKeys reads another server's key document, got now, and checks that it is signed with one of the keys
// that it lists as valid. FetchedTS is left for the caller to set. Keys of unknown algorithms are left out.
//
// spec:server-server-api#retrieving-server-keys
func ParseServerKeys(raw []byte) (ServerKeys, error) {
	k, err := parseDocument(raw)
	if err != nil {
		return ServerKeys{}, fmt.Errorf("key document: %w", err)
	}
	signatures, err := signedjson.Signatures(k.Raw)
	if err != nil {
		return ServerKeys{}, fmt.Errorf("key document of %s: %w", k.ServerName, err)
	}
	message, err := signedjson.SignedBytes(k.Raw)
	if err != nil {
		return ServerKeys{}, fmt.Errorf("key document of %s: %w", k.ServerName, err)
	}
	for keyID, signature := range signatures[string(k.ServerName)] {
		if public, ok := k.VerifyKeys[keyID]; ok && ed25519.Verify(public, message, signature) {
			return k, nil
		}
	}
	return ServerKeys{}, fmt.Errorf("key document of %s: none of the keys that it lists has signed it", k.ServerName)
}

// LoadServerKeys reads a document that was checked before, from a store. fetched is its FetchedTS.
func LoadServerKeys(raw []byte, fetched int64) (ServerKeys, error) {
	k, err := parseDocument(raw)
	if err != nil {
		return ServerKeys{}, fmt.Errorf("stored key document: %w", err)
	}
	k.FetchedTS = fetched
	return k, nil
}

// parseDocument reads a document without checking signatures.
func parseDocument(raw []byte) (ServerKeys, error) {
	if len(raw) > maxDocumentSize {
		return ServerKeys{}, fmt.Errorf("has more than %d bytes", maxDocumentSize)
	}
	canonical, err := canonicaljson.Append(nil, raw, canonicaljson.Lenient)
	if err != nil {
		return ServerKeys{}, err
	}
	var doc document
	if err := exactjson.Unmarshal(canonical, &doc); err != nil {
		return ServerKeys{}, err
	}
	server, err := id.ParseServerName(string(doc.ServerName))
	if err != nil {
		return ServerKeys{}, err
	}
	if doc.ValidUntilTS <= 0 {
		return ServerKeys{}, errors.New("doesn't say until when it is valid")
	}
	if len(doc.VerifyKeys)+len(doc.OldVerifyKeys) > maxDocumentKeys {
		return ServerKeys{}, fmt.Errorf("lists more than %d keys", maxDocumentKeys)
	}
	k := ServerKeys{ServerName: server, ValidUntilTS: doc.ValidUntilTS, Raw: canonical,
		VerifyKeys: map[id.KeyID]ed25519.PublicKey{}, OldVerifyKeys: map[id.KeyID]OldVerifyKey{}}
	for name, key := range doc.VerifyKeys {
		if public, err := publicKey(name, key.Key); err != nil {
			return ServerKeys{}, err
		} else if public != nil {
			k.VerifyKeys[name] = public
		}
	}
	for name, key := range doc.OldVerifyKeys {
		if public, err := publicKey(name, key.Key); err != nil {
			return ServerKeys{}, err
		} else if public != nil {
			k.OldVerifyKeys[name] = OldVerifyKey{Key: public, ExpiredTS: key.ExpiredTS}
		}
	}
	if len(k.VerifyKeys) == 0 {
		return ServerKeys{}, errors.New("lists no ed25519 key as valid")
	}
	return k, nil
}

// publicKey decodes the key of that ID; nil when the ID or its algorithm tells us nothing.
func publicKey(name id.KeyID, text string) (ed25519.PublicKey, error) {
	keyID, err := id.ParseKeyID(string(name))
	if err != nil || keyID.Algorithm() != signedjson.Algorithm {
		return nil, nil
	}
	key, err := signedjson.DecodeBase64(text)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("the key %s is not 32 bytes in Base64", keyID)
	}
	return key, nil
}
