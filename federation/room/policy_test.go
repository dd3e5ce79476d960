package room_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"golang.org/x/crypto/ed25519"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/signedjson"
)

func policyKey() signedjson.Key {
	return signedjson.Key{ID: room.PolicyKeyID, Private: ed25519.NewKeyFromSeed([]byte("policy server policy server poli"))}
}

// policyContent names b as the room's policy server.
func policyContent() string {
	public := policyKey().Private.Public().(ed25519.PublicKey)
	return fmt.Sprintf(`{"public_keys":{"ed25519":%q},"via":"b"}`, signedjson.EncodeBase64(public))
}

func TestParsePolicy(t *testing.T) {
	for _, c := range []struct {
		content string
		valid   bool
	}{
		{policyContent(), true},
		{`{"public_keys":{"ed25519":"no key"},"via":"b"}`, true}, // valid, but no signature ever is
		{`{"public_keys":{"ed25519":1},"via":"b"}`, false},
		{`{"public_keys":{},"via":"b"}`, false},
		{`{"via":"b"}`, false},
		{`{"public_keys":{"ed25519":""}}`, false},
		{`{"public_keys":{"ed25519":""},"via":["b"]}`, false},
		{`{"public_keys":{"ed25519":""},"via":""}`, false},
		{`{"Via":"b","public_keys":{"ed25519":""}}`, false}, // other names are other members
		{`{"Public_Keys":{"ed25519":""},"via":"b"}`, false},
		{`{"public_keys":{"Ed25519":""},"via":"b"}`, false},
		{`[]`, false},
	} {
		if _, valid := room.ParsePolicy([]byte(c.content)); valid != c.valid {
			t.Errorf("%s: valid = %v", c.content, valid)
		}
	}
}

// TestPolicyServer: check 7.
func TestPolicyServer(t *testing.T) {
	m, store := founded(t, "11")
	join := func(user id.UserID) {
		key := string(user)
		made, err := m.Template(start, event.Draft{Type: "m.room.member", StateKey: &key, Sender: user, Content: json.RawMessage(`{"membership":"join"}`)}, testKey(), store)
		if err != nil || made.Refused {
			t.Fatalf("%s: %v %+v", user, err, made)
		}
		signed, err := made.Event.CoSign("b", policyKey())
		if err != nil {
			t.Fatal(err)
		}
		step(t, m, store, room.Accept{Origin: user.Server(), Event: signed})
	}
	// received is what becomes of a message of a server, before and after changes by it.
	received := func(change func(*event.Event) *event.Event) room.Status {
		t.Helper()
		made, err := m.Template(start, message("@carol:c", fmt.Sprint(len(store.events))), testKey(), store)
		if err != nil || made.Refused {
			t.Fatalf("%v %+v", err, made)
		}
		e := change(made.Event)
		v, _ := step(t, m, store, room.Receive{Origin: "c", Events: []*event.Event{e}}).Verdict(e.ID())
		return v.Status
	}
	unsigned := func(e *event.Event) *event.Event { return e }
	signed := func(by id.ServerName, key signedjson.Key) func(*event.Event) *event.Event {
		return func(e *event.Event) *event.Event {
			s, err := e.CoSign(by, key)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	}
	expect := func(what string, got, want room.Status) {
		t.Helper()
		if got != want {
			t.Errorf("%s is %s, not %s", what, got, want)
		}
	}
	policy := func(content string) {
		empty := ""
		step(t, m, store, room.Propose{Key: testKey(), Drafts: []event.Draft{{
			Type: "m.room.policy", StateKey: &empty, Sender: "@alice:a", Content: json.RawMessage(content),
		}}})
	}
	join("@carol:c")
	policy(policyContent())
	expect("an unsigned event while nobody of the policy server is joined", received(unsigned), room.Accepted)
	join("@bob:b")
	expect("an unsigned event", received(unsigned), room.SoftFailed)
	expect("an event signed by the policy server", received(signed("b", policyKey())), room.Accepted)
	expect("an event signed in the policy server's name by another key", received(signed("b", signedjson.Key{ID: room.PolicyKeyID, Private: testKey().Private})), room.SoftFailed)
	expect("an event signed by another server with the key", received(signed("c", policyKey())), room.SoftFailed)
	policy(`{"via": "b", "public_keys": {"ed25519": "AAAA"}}`)
	expect("an event signed by a key that was taken out", received(signed("b", policyKey())), room.SoftFailed)
	policy(`{}`)
	expect("an unsigned event after the policy server was taken out", received(unsigned), room.Accepted)
}
