// Package signedjson signs JSON objects and checks their signatures, with keys that are given.
//
// It is for objects that are no events: server keys, requests, third-party invites. Events
// are redacted before they are signed, which package event does. It does not find keys and
// does not know whether a key is still valid: package keys does.
//
// Objects are encoded in canonicaljson's Lenient mode: what is signed here may hold events of
// old room versions, whose numbers must come out as other servers write them.
//
// spec:appendices#signing-json
package signedjson

import (
	"encoding/base64"
	"fmt"

	"golang.org/x/crypto/ed25519"

	"hanse/federation/canonicaljson"
	"hanse/federation/id"
)

// Algorithm is the only signature algorithm of Matrix.
const Algorithm = "ed25519"

// Key is a signing key.
type Key struct {
	ID      id.KeyID
	Private ed25519.PrivateKey
}

// Public is the key that checks what this one signs.
func (k Key) Public() ed25519.PublicKey {
	return ed25519.PublicKey(k.Private[ed25519.PublicKeySize:])
}

// Error says why an object could not be signed, or why a signature does not hold.
type Error struct {
	Entity string   // who should have signed
	Key    id.KeyID // with which key; "" if the object is wrong as a whole
	Reason string
}

// Error is a sentence for people.
func (e *Error) Error() string {
	if e.Entity == "" {
		return "signed JSON: " + e.Reason
	}
	return fmt.Sprintf("signature of %.64q with key %.64q: %s", e.Entity, e.Key, e.Reason)
}

// Sign adds the signature of entity to a JSON object. Other signatures stay, one by the same
// entity with the same key is replaced, unsigned stays. The result is canonical.
//
// spec:appendices#signing-details
func Sign(object []byte, entity string, key Key) ([]byte, error) {
	canonical, err := canonicalObject(object)
	if err != nil {
		return nil, err
	}
	if len(key.Private) != ed25519.PrivateKeySize {
		return nil, &Error{Entity: entity, Key: key.ID, Reason: "the signing key has a wrong length"}
	}
	signature := ed25519.Sign(key.Private, withoutSignatures(nil, canonical))
	signatures, ok := canonicaljson.Get(canonical, "signatures")
	if ok && !canonicaljson.IsObject(signatures) {
		return nil, &Error{Reason: "the signatures are not an object"}
	}
	signatures, err = AddSignature(signatures, entity, key.ID, signature)
	if err != nil {
		return nil, err
	}
	return canonicaljson.SetMember(nil, canonical, "signatures", signatures), nil
}

// AddSignature is the canonical signatures object with one more signature. An empty or nil
// signatures stands for an object without members.
func AddSignature(signatures []byte, entity string, keyID id.KeyID, signature []byte) ([]byte, error) {
	if len(signatures) == 0 {
		signatures = []byte("{}")
	}
	keys, ok := canonicaljson.Get(signatures, entity)
	switch {
	case !ok:
		keys = []byte("{}")
	case !canonicaljson.IsObject(keys):
		return nil, &Error{Entity: entity, Key: keyID, Reason: "the signatures of this entity are not an object"}
	}
	value := AppendBase64(make([]byte, 0, len(`""`)+base64.RawStdEncoding.EncodedLen(len(signature))), signature)
	keys = canonicaljson.SetMember(nil, keys, string(keyID), value)
	return canonicaljson.SetMember(nil, signatures, entity, keys), nil
}

// SignedBytes is what the signatures of an object cover: its canonical form without the
// members signatures and unsigned.
func SignedBytes(object []byte) ([]byte, error) {
	canonical, err := canonicalObject(object)
	if err != nil {
		return nil, err
	}
	return withoutSignatures(nil, canonical), nil
}

// Signatures are the signatures of an object, by entity and key, as [Entity] decodes them.
// Keys of unknown algorithms are kept.
func Signatures(object []byte) (map[string]map[id.KeyID][]byte, error) {
	canonical, err := canonicalObject(object)
	if err != nil {
		return nil, err
	}
	signatures, ok := canonicaljson.Get(canonical, "signatures")
	if !ok {
		return map[string]map[id.KeyID][]byte{}, nil
	}
	if !canonicaljson.IsObject(signatures) {
		return nil, &Error{Reason: "the signatures are not an object"}
	}
	all := make(map[string]map[id.KeyID][]byte)
	for entity, keys := range canonicaljson.Members(signatures) {
		all[canonicaljson.Unescape(entity)] = Entity(keys)
	}
	return all, nil
}

// Entity decodes the signatures of one entity, a canonical object from key IDs to Base64.
// What is not Base64 is an empty signature, which no key can have made. What stands under no
// key ID is left out, as there can be no such key.
//
// spec:appendices#checking-for-a-signature 4
func Entity(keys []byte) map[id.KeyID][]byte {
	decoded := make(map[id.KeyID][]byte)
	for key, value := range canonicaljson.Members(keys) {
		keyID, err := id.ParseKeyID(canonicaljson.Unescape(key))
		if err != nil {
			continue
		}
		text, _ := canonicaljson.String(value)
		signature, err := DecodeBase64(text)
		if err != nil {
			signature = nil
		}
		decoded[keyID] = signature
	}
	return decoded
}

// Verify checks one signature of an object. The error is an [*Error], or one of
// canonicaljson if the object is no JSON.
//
// spec:appendices#checking-for-a-signature
func Verify(object []byte, entity string, keyID id.KeyID, public ed25519.PublicKey) error {
	canonical, err := canonicalObject(object)
	if err != nil {
		return err
	}
	fail := func(reason string) error { return &Error{Entity: entity, Key: keyID, Reason: reason} }
	// 1. There is an entry with the name of the entity.
	signatures, _ := canonicaljson.Get(canonical, "signatures")
	keys, ok := canonicaljson.Get(signatures, entity)
	if !ok {
		return fail("it has not signed")
	}
	// 2. The algorithm is known. 3. The key is given.
	if keyID.Algorithm() != Algorithm {
		return fail("the algorithm is unknown")
	}
	if len(public) != ed25519.PublicKeySize {
		return fail("the public key has a wrong length")
	}
	// 4. The signature is Base64.
	value, ok := canonicaljson.Get(keys, string(keyID))
	if !ok {
		return fail("it has not signed with this key")
	}
	text, ok := canonicaljson.String(value)
	if !ok {
		return fail("the signature is not a string")
	}
	signature, err := DecodeBase64(text)
	if err != nil {
		return fail("the signature is not Base64")
	}
	// 5. to 7. It covers the object without signatures and unsigned.
	if !ed25519.Verify(public, withoutSignatures(nil, canonical), signature) {
		return fail("the signature is wrong")
	}
	return nil
}

func canonicalObject(object []byte) ([]byte, error) {
	canonical, err := canonicaljson.Append(nil, object, canonicaljson.Lenient)
	if err != nil {
		return nil, err
	}
	if !canonicaljson.IsObject(canonical) {
		return nil, &Error{Reason: "it is not an object"}
	}
	return canonical, nil
}

// withoutSignatures appends a canonical object without its members signatures and unsigned.
func withoutSignatures(dst, canonical []byte) []byte {
	return canonicaljson.Filter(dst, canonical, func(key []byte) bool {
		return string(key) != "signatures" && string(key) != "unsigned"
	})
}
