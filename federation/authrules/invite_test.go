package authrules

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/crypto/ed25519"

	"hanse/federation/roomversion"
	"hanse/federation/signedjson"
)

// redeemed is how somebody redeems a third-party invite: what the identity server signed, what the room holds.
type redeemed struct {
	sender, target string
	signed         string // replaces what the identity server signed
	invite         string // replaces third_party_invite altogether
	key            signedjson.Key
	event          string // content of the m.room.third_party_invite; %s is the right public key
	token          string // its state key
}

// try puts the invite into the room and redeems it.
func (r redeemed) try(w *world) error {
	if r.sender == "" {
		r.sender = user
	}
	if r.target == "" {
		r.target = stranger
	}
	if r.signed == "" {
		r.signed = fmt.Sprintf(`{"mxid":%q,"token":"tok"}`, r.target)
	}
	if r.key.ID == "" {
		r.key = testKey(7)
	}
	if r.event == "" {
		r.event = `{"display_name":"x","public_key":"%s"}`
	}
	if r.token == "" {
		r.token = "tok"
	}
	public := signedjson.EncodeBase64(testKey(7).Private.Public().(ed25519.PublicKey))
	w.set(w.event(user, typeThirdPartyInvite, key(r.token), strings.ReplaceAll(r.event, "%s", public), nil))
	signed, err := signedjson.Sign([]byte(r.signed), "identity.test", r.key)
	if err != nil {
		return err
	}
	if r.invite == "" {
		r.invite = fmt.Sprintf(`{"display_name":"x","signed":%s}`, signed)
	}
	return w.send(r.sender, typeMember, key(r.target), fmt.Sprintf(`{"membership":"invite","third_party_invite":%s}`, r.invite))
}

func inviteCases() []ruleCase {
	good := redeemed{}.try
	keyList := `{"public_key":"","public_keys":[{"public_key":"AAAA"},{"public_key":"%s"}]}`
	return []ruleCase{
		{rule: "member.invite.third_party.banned", why: "the target is banned", good: redeemed{target: left}.try, bad: redeemed{target: banned}.try},
		{rule: "member.invite.third_party.not_signed", why: "nothing signed", good: good, bad: redeemed{invite: `{"display_name":"x"}`}.try},
		{rule: "member.invite.third_party.not_signed", why: "not an object", good: good, bad: redeemed{invite: `true`}.try},
		{rule: "member.invite.third_party.incomplete", why: "no user", good: good, bad: redeemed{signed: `{"token":"tok"}`}.try},
		{rule: "member.invite.third_party.incomplete", why: "no token", good: good, bad: redeemed{signed: `{"mxid":"@stranger:three.test"}`}.try},
		{rule: "member.invite.third_party.other_user", why: "signed for another", good: good, bad: redeemed{signed: `{"mxid":"@left:three.test","token":"tok"}`}.try},
		{rule: "member.invite.third_party.unknown_token", why: "no such invite", good: good, bad: redeemed{token: "other"}.try},
		{rule: "member.invite.third_party.other_sender", why: "sent by who invited", good: good, bad: redeemed{sender: mod}.try},
		{rule: "member.invite.third_party.bad_signature", why: "signed with another key", good: good, bad: redeemed{key: testKey(8)}.try},
		{rule: "member.invite.third_party.bad_signature", why: "any key of the list will do", good: redeemed{event: keyList}.try, bad: redeemed{event: keyList, key: testKey(8)}.try},
		{rule: "member.invite.third_party.bad_signature", why: "keys that are none", good: good, bad: redeemed{event: `{"public_key":"AAAA","public_keys":"%s"}`}.try},
		{rule: "member.invite.third_party.bad_signature", why: "more keys than anybody needs", good: good,
			bad: redeemed{event: `{"public_keys":[{"public_key":"%s"}` + strings.Repeat(`,{"public_key":"%s"}`, maxInviteChecks) + `]}`}.try},
		{rule: "member.invite.third_party.bad_signature", why: "whatever the key is called",
			good: redeemed{key: signedjson.Key{ID: "ed25519:a b", Private: testKey(7).Private}}.try,
			bad:  redeemed{key: signedjson.Key{ID: "ed25519:a b", Private: testKey(8).Private}}.try},
		{rule: "member.invite.third_party.bad_signature", why: "the algorithm is ed25519", good: good,
			bad: redeemed{key: signedjson.Key{ID: "rsa:1", Private: testKey(7).Private}}.try},

		{rule: "member.invite.sender_not_joined", why: "who invites is in the room", good: becomes("", mod, stranger, "invite"), bad: func(w *world) error {
			w.member(mod, "leave")
			return w.become(mod, stranger, "invite")
		}},
		{rule: "member.invite.already_member", why: "joined", good: becomes("", mod, left, "invite"), bad: becomes("", mod, user, "invite")},
		{rule: "member.invite.already_member", why: "banned", good: becomes("", mod, invited, "invite"), bad: becomes("", mod, banned, "invite")},
		{rule: "member.invite.level", why: "the invite level", good: becomes("", mod, stranger, "invite"), bad: becomes("", user, stranger, "invite")},
		{rule: "member.invite.level", why: "which is 0 if nobody says otherwise", good: func(w *world) error {
			w.power(edited(`{"invite":null}`))
			return w.become(user, stranger, "invite")
		}, bad: func(w *world) error {
			w.power(edited(`{"invite":1}`))
			return w.become(user, stranger, "invite")
		}},
	}
}

func TestRedeemedInviteNeedsNoMember(t *testing.T) {
	for _, rules := range roomversion.All() {
		w := newWorld(t, rules)
		w.member(user, "leave") // the inviter has left: the rules don't ask
		if err := (redeemed{}).try(w); err != nil {
			t.Errorf("room version %s: %v", rules.Version, err)
		}
	}
}

// A resolution of branches that differ in thousands of redeemed invites asks for the same signatures as the one before.
func TestAMemoChecksSignaturesOfInvitesOnce(t *testing.T) {
	m := NewMemo(nil)
	right, wrong := testKey(7), testKey(8)
	signed, err := signedjson.Sign([]byte(`{"mxid":"@a:b","token":"tok"}`), "identity.test", right)
	if err != nil {
		t.Fatal(err)
	}
	of := func(k signedjson.Key) []ed25519.PublicKey {
		return []ed25519.PublicKey{k.Private.Public().(ed25519.PublicKey)}
	}
	for range 2 {
		if !m.signedByAny(signed, of(right)) || m.signedByAny(signed, of(wrong)) {
			t.Fatal("a wrong verdict")
		}
	}
	if len(m.redeemed) != 2 {
		t.Errorf("%d verdicts are remembered", len(m.redeemed))
	}
	for asked, good := range m.redeemed {
		m.redeemed[asked] = !good
	}
	if m.signedByAny(signed, of(right)) || !m.signedByAny(signed, of(wrong)) {
		t.Error("what is remembered is checked again")
	}
	for i := range maxRedeemed {
		m.redeemed[[32]byte{byte(i), byte(i >> 8)}] = true
	}
	if m.signedByAny(signed, of(testKey(9))); len(m.redeemed) > maxRedeemed {
		t.Errorf("%d verdicts are remembered", len(m.redeemed))
	}
}

// It is the memo of a check that is asked.
func TestChecksRememberRedeemedInvites(t *testing.T) {
	rules, _ := roomversion.Lookup(roomversion.V11)
	w := newWorld(t, rules)
	w.set(w.event(user, typeThirdPartyInvite, key("tok"), `{"public_key":"`+signedjson.EncodeBase64(testKey(7).Private.Public().(ed25519.PublicKey))+`"}`, nil))
	signed, err := signedjson.Sign([]byte(`{"mxid":"`+stranger+`","token":"tok"}`), "identity.test", testKey(7))
	if err != nil {
		t.Fatal(err)
	}
	invite := w.event(user, typeMember, key(stranger), `{"membership":"invite","third_party_invite":{"display_name":"x","signed":`+string(signed)+`}}`, nil)
	memo := NewMemo(w)
	if err := Check(invite, memo); err != nil || len(memo.redeemed) != 1 {
		t.Errorf("%v; %d verdicts are remembered", err, len(memo.redeemed))
	}
}
