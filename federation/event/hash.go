package event

import (
	"crypto/sha256"
	"encoding/base64"

	"hanse/federation/canonicaljson"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/federation/signedjson"
)

// ContentHashMatches tells whether the event is what its content hash says. If not, it is
// taken for a redacted copy, and [Event.Redacted] is what is used of it.
//
// spec:server-server-api#calculating-the-content-hash-for-an-event
func (e *Event) ContentHashMatches() bool {
	given, err := e.givenContentHash()
	want := contentHash(e.json)
	return err == nil && string(given) == string(want[:])
}

// givenContentHash is what the event says its content hash is.
func (e *Event) givenContentHash() ([]byte, error) {
	value, _ := canonicaljson.Get(e.hashes, "sha256")
	text, _ := canonicaljson.String(value) // as the format demands
	return signedjson.DecodeBase64(text)
}

// contentHash is the content hash of a canonical event.
func contentHash(object []byte) [sha256.Size]byte {
	var stack [stackBuffer]byte
	return sha256.Sum256(canonicaljson.Filter(stack[:0], object, inContentHash))
}

// inContentHash tells whether the content hash covers a member of the event. The specification leaves out the first three.
// Deployed servers (Synapse, Dendrite) leave out the others too, which servers once sent by mistake: an event with one of them
// must not be whole there and redacted here.
func inContentHash(key []byte) bool {
	switch string(key) {
	case "hashes", "signatures", "unsigned",
		"age_ts", "destinations", "outlier":
		return false
	}
	return true
}

// ReferenceHash is the SHA-256 hash of the event's essential fields. From room version 3 on
// the event ID is made of it.
//
// spec:server-server-api#calculating-the-reference-hash-for-an-event
func (e *Event) ReferenceHash() [sha256.Size]byte {
	var stack [stackBuffer]byte
	return sha256.Sum256(appendRedacted(stack[:0], e.rules, e.typ, e.json, false))
}

// hashedID is the event ID made of a reference hash.
//
// spec:rooms/v3#event-ids
// spec:rooms/v4#event-ids
func hashedID(rules *roomversion.Rules, hash [sha256.Size]byte) id.EventID {
	encoding := base64.RawURLEncoding
	if rules.EventIDs == roomversion.EventIDHash {
		encoding = base64.RawStdEncoding
	}
	text := [1 + 43]byte{'$'}
	encoding.Encode(text[1:], hash[:])
	return id.EventID(text[:])
}
