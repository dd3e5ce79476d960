package authrules

import (
	"strings"

	"golang.org/x/crypto/ed25519" // the algorithm of every Matrix signature; the house uses this import throughout

	"hanse/federation/canonicaljson"
	"hanse/federation/event"
	"hanse/federation/signedjson"
)

// invite is rule 5.4.
func (c *check) invite(target string) (verdict, error) {
	membership, err := c.membership(target)
	if err != nil {
		return next, err
	}
	// spec:rooms/v12#authorisation-rules 5.4.1
	if value, ok := member(c.e.Content(), "third_party_invite"); ok {
		return c.redeemedInvite(target, membership, value)
	}
	// spec:rooms/v12#authorisation-rules 5.4.2
	if err := c.requireJoined("member.invite.sender_not_joined"); err != nil {
		return next, err
	}
	// spec:rooms/v12#authorisation-rules 5.4.3
	if membership == "join" || membership == "ban" {
		return next, c.reject("member.invite.already_member", "%s can't be invited: the membership is %q", target, membership)
	}
	levels, err := LevelsOf(c.state)
	if err != nil {
		return next, err
	}
	// spec:rooms/v12#authorisation-rules 5.4.4
	have := levels.User(c.e.Sender())
	if have >= levels.Invite() {
		return allow, nil
	}
	// spec:rooms/v12#authorisation-rules 5.4.5
	return next, c.reject("member.invite.level", "inviting needs power level %d, %s has %d", levels.Invite(), c.e.Sender(), have)
}

// redeemedInvite is rule 5.4.1: somebody invited by an address of a third party (say, mail) has shown that a Matrix
// user is theirs. invite is the property third_party_invite.
func (c *check) redeemedInvite(target, membership string, invite []byte) (verdict, error) {
	// spec:rooms/v12#authorisation-rules 5.4.1.1
	if membership == "ban" {
		return next, c.reject("member.invite.third_party.banned", "%s is banned", target)
	}
	// spec:rooms/v12#authorisation-rules 5.4.1.2
	signed, ok := member(invite, "signed")
	if !ok {
		return next, c.reject("member.invite.third_party.not_signed", "third_party_invite has nothing signed")
	}
	// spec:rooms/v12#authorisation-rules 5.4.1.3
	mxid, hasUser := canonicaljson.GetString(signed, "mxid")
	token, hasToken := canonicaljson.GetString(signed, "token")
	if !hasUser || !hasToken {
		return next, c.reject("member.invite.third_party.incomplete", "third_party_invite.signed lacks the user or the token")
	}
	// spec:rooms/v12#authorisation-rules 5.4.1.4
	if mxid != target {
		return next, c.reject("member.invite.third_party.other_user", "the signed invite is for %q", mxid)
	}
	// spec:rooms/v12#authorisation-rules 5.4.1.5
	sent, err := c.state.StateEvent(typeThirdPartyInvite, token)
	if err != nil {
		return next, err
	}
	if sent == nil {
		return next, c.reject("member.invite.third_party.unknown_token", "the room has no m.room.third_party_invite with that token")
	}
	// spec:rooms/v12#authorisation-rules 5.4.1.6
	if sent.Sender() != c.e.Sender() {
		return next, c.reject("member.invite.third_party.other_sender", "the invite came from %s, not from %s", sent.Sender(), c.e.Sender())
	}
	// spec:rooms/v12#authorisation-rules 5.4.1.7
	good := signedByAny
	if memo, ok := c.state.(*Memo); ok {
		good = memo.signedByAny
	}
	if good(signed, inviteKeys(sent)) {
		return allow, nil
	}
	// spec:rooms/v12#authorisation-rules 5.4.1.8
	return next, c.reject("member.invite.third_party.bad_signature", "no key of the m.room.third_party_invite has signed the invite")
}

// signedByAny tells whether one of the signatures on the signed object was made with one of the keys. Who made it, and
// under what name of a key, is not asked: the keys in the room's event decide. Names that are no key IDs count too, as
// with deployed servers.
func signedByAny(signed []byte, keys []ed25519.PublicKey) bool {
	message, err := signedjson.SignedBytes(signed)
	if err != nil {
		return false
	}
	signatures := inviteSignatures(signed)
	if len(signatures)*len(keys) > maxInviteChecks {
		return false
	}
	for _, signature := range signatures {
		for _, key := range keys {
			if ed25519.Verify(key, message, signature) {
				return true
			}
		}
	}
	return false
}

// inviteSignatures are all ed25519 signatures on the signed object; unreadable ones are left out.
func inviteSignatures(signed []byte) [][]byte {
	var signatures [][]byte
	all, _ := member(signed, "signatures")
	for _, byKey := range canonicaljson.Members(all) {
		for name, value := range canonicaljson.Members(byKey) {
			encoded, ok := canonicaljson.String(value)
			if !ok || !strings.HasPrefix(canonicaljson.Unescape(name), signedjson.Algorithm+":") {
				continue
			}
			if signature, err := signedjson.DecodeBase64(encoded); err == nil {
				signatures = append(signatures, signature)
			}
		}
	}
	return signatures
}

// inviteKeys are the public keys in an m.room.third_party_invite event; unreadable ones are left out.
//
// spec:rooms/v12#authorisation-rules 5.4.1.7.1
// spec:rooms/v12#authorisation-rules 5.4.1.7.2
func inviteKeys(e *event.Event) []ed25519.PublicKey {
	var keys []ed25519.PublicKey
	add := func(value []byte) {
		encoded, ok := canonicaljson.GetString(value, "public_key")
		if !ok {
			return
		}
		if key, err := signedjson.DecodeBase64(encoded); err == nil && len(key) == ed25519.PublicKeySize {
			keys = append(keys, key)
		}
	}
	add(e.Content())
	if list, ok := member(e.Content(), "public_keys"); ok {
		for value := range canonicaljson.Elements(list) {
			add(value)
		}
	}
	return keys
}

// thirdPartyInvite is rule 7.
func (c *check) thirdPartyInvite() (verdict, error) {
	// spec:rooms/v12#authorisation-rules 7
	if c.e.Type() != typeThirdPartyInvite {
		return next, nil
	}
	levels, err := LevelsOf(c.state)
	if err != nil {
		return next, err
	}
	// spec:rooms/v12#authorisation-rules 7.1
	if have := levels.User(c.e.Sender()); have < levels.Invite() {
		return next, c.reject("third_party_invite.level", "inviting needs power level %d, %s has %d", levels.Invite(), c.e.Sender(), have)
	}
	return allow, nil
}
