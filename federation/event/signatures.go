package event

import (
	"golang.org/x/crypto/ed25519"

	"hanse/federation/canonicaljson"
	"hanse/federation/id"
	"hanse/federation/signedjson"
)

// SignedBytes is what the event's signatures cover: its redacted form without signatures. It
// is made anew for the caller.
//
// spec:server-server-api#validating-hashes-and-signatures-on-received-events
func (e *Event) SignedBytes() []byte {
	return appendRedacted(make([]byte, 0, len(e.json)), e.rules, e.typ, e.json, false)
}

// Signatures are the event's signatures by server and key, decoded anew for the caller. Names
// that are no server names or key IDs are left out; what is not Base64 is empty.
func (e *Event) Signatures() map[id.ServerName]map[id.KeyID][]byte {
	all := make(map[id.ServerName]map[id.KeyID][]byte)
	for name, keys := range canonicaljson.Members(e.signatures) {
		server, err := id.ParseServerName(canonicaljson.Unescape(name))
		if err != nil {
			continue
		}
		all[server] = signedjson.Entity(keys)
	}
	return all
}

// SignaturesOf are the signatures of one server, like [Event.Signatures] but cheaper. The map
// is empty if it has not signed.
func (e *Event) SignaturesOf(server id.ServerName) map[id.KeyID][]byte {
	keys, _ := canonicaljson.Get(e.signatures, string(server))
	return signedjson.Entity(keys)
}

// RequiredSigners are the servers whose signatures the event must have, each once.
//
// spec:server-server-api#validating-hashes-and-signatures-on-received-events
func (e *Event) RequiredSigners() []id.ServerName {
	signers := make([]id.ServerName, 0, 2)
	add := func(server id.ServerName) {
		for _, s := range signers {
			if s == server {
				return
			}
		}
		signers = append(signers, server)
	}
	// The sender's server, but for third-party invites: another server than the sender's
	// may send them.
	if !e.isThirdPartyInvite() {
		add(e.sender.Server())
	}
	// In room versions 1 and 2 the server that made the event ID.
	if server, ok := e.id.Server(); ok {
		add(server)
	}
	// The server of the user who let a restricted join in. Other memberships may have the
	// key; it means nothing there.
	if e.rules.RestrictedJoins && e.membership == "join" {
		value, _ := canonicaljson.Get(e.content, "join_authorised_via_users_server")
		if text, ok := canonicaljson.String(value); ok {
			if user, err := id.ParseUserID(text); err == nil {
				add(user.Server())
			}
		}
	}
	return signers
}

func (e *Event) isThirdPartyInvite() bool {
	if e.membership != "invite" {
		return false
	}
	_, ok := canonicaljson.Get(e.content, "third_party_invite")
	return ok
}

// CoSign is the event with one more signature, as for an invite or a restricted join. The ID
// stays. It fails if the event becomes too large.
func (e *Event) CoSign(server id.ServerName, key signedjson.Key) (*Event, error) {
	signed, err := addSignature(e.json, e.SignedBytes(), server, key)
	if err != nil {
		return nil, err
	}
	return e.signedAs(signed)
}

// WithSignature is the event with a signature that another server made, as a policy server's; it isn't checked. One by the
// same key is replaced. It fails if the event becomes too large.
func (e *Event) WithSignature(server id.ServerName, key id.KeyID, signature []byte) (*Event, error) {
	signatures, _ := canonicaljson.Get(e.json, "signatures")
	signatures, err := signedjson.AddSignature(signatures, string(server), key, signature)
	if err != nil {
		return nil, err
	}
	return e.signedAs(canonicaljson.SetMember(nil, e.json, "signatures", signatures))
}

// signedAs is the same event with other signatures.
func (e *Event) signedAs(signed []byte) (*Event, error) {
	if len(signed) > MaxSize {
		return nil, wrong("", "is too large with one more signature")
	}
	same, err := Load(e.rules, e.id, signed)
	if err != nil {
		return nil, err
	}
	same.redacted = e.redacted
	return same, nil
}

// addSignature signs an event and puts the signature into it.
func addSignature(object, signedBytes []byte, server id.ServerName, key signedjson.Key) ([]byte, error) {
	signatures, _ := canonicaljson.Get(object, "signatures")
	signatures, err := signature(signatures, signedBytes, server, key)
	if err != nil {
		return nil, err
	}
	return canonicaljson.SetMember(nil, object, "signatures", signatures), nil
}

// signature is the signatures object with one more.
func signature(signatures, signedBytes []byte, server id.ServerName, key signedjson.Key) ([]byte, error) {
	if len(key.Private) != ed25519.PrivateKeySize {
		return nil, &signedjson.Error{Entity: string(server), Key: key.ID, Reason: "the signing key has a wrong length"}
	}
	return signedjson.AddSignature(signatures, string(server), key.ID, ed25519.Sign(key.Private, signedBytes))
}
