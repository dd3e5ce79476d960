package event

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ed25519"

	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/federation/signedjson"
)

func TestRequiredSigners(t *testing.T) {
	stateKey := "@v:other"
	for _, rules := range roomversion.All() {
		for _, c := range []struct {
			name, typ, content string
			old, new, v8       []id.ServerName // versions 1 and 2; later ones; with restricted joins
		}{
			{"message", "m.room.message", `{}`, []id.ServerName{"domain", "maker"}, []id.ServerName{"domain"}, nil},
			{"invite", "m.room.member", `{"membership":"invite"}`, []id.ServerName{"domain", "maker"}, []id.ServerName{"domain"}, nil},
			{"third-party invite", "m.room.member", `{"membership":"invite","third_party_invite":{}}`, []id.ServerName{"maker"}, []id.ServerName{}, nil},
			{"join with a third-party invite", "m.room.member", `{"membership":"join","third_party_invite":{}}`, []id.ServerName{"domain", "maker"}, []id.ServerName{"domain"}, nil},
			{"not a member event", "m.room.x", `{"membership":"invite","third_party_invite":{}}`, []id.ServerName{"domain", "maker"}, []id.ServerName{"domain"}, nil},
			{"restricted join", "m.room.member", `{"membership":"join","join_authorised_via_users_server":"@a:resident"}`, []id.ServerName{"domain", "maker"}, []id.ServerName{"domain"}, []id.ServerName{"domain", "resident"}},
			{"restricted join by the same server", "m.room.member", `{"membership":"join","join_authorised_via_users_server":"@a:domain"}`, []id.ServerName{"domain", "maker"}, []id.ServerName{"domain"}, nil},
			{"restricted join by nobody", "m.room.member", `{"membership":"join","join_authorised_via_users_server":1}`, []id.ServerName{"domain", "maker"}, []id.ServerName{"domain"}, nil},
			{"leave", "m.room.member", `{"membership":"leave","join_authorised_via_users_server":"@a:resident"}`, []id.ServerName{"domain", "maker"}, []id.ServerName{"domain"}, nil},
		} {
			e, err := complete(rules, Draft{Type: c.typ, StateKey: &stateKey, Content: json.RawMessage(c.content)}).Sign(rules, "maker", vectorKey(t))
			if err != nil {
				t.Fatal(err)
			}
			want := c.new
			switch {
			case rules.EventIDs == roomversion.EventIDGiven:
				want = c.old
			case rules.RestrictedJoins && c.v8 != nil:
				want = c.v8
			}
			if got := e.RequiredSigners(); !slices.Equal(got, want) {
				t.Errorf("version %s, %s: got %q, want %q", rules.Version, c.name, got, want)
			}
		}
	}
}

func TestCoSign(t *testing.T) {
	other := signedjson.Key{ID: "ed25519:o", Private: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))}
	for _, rules := range roomversion.All() {
		e := sign(t, rules, Draft{Type: "m.room.message", Content: json.RawMessage(`{"body":"x"}`)})
		both, err := e.CoSign("a.other", other)
		if err != nil {
			t.Fatal(err)
		}
		checkEvent(t, both)
		if both.ID() != e.ID() || !bytes.Equal(both.SignedBytes(), e.SignedBytes()) || !both.ContentHashMatches() {
			t.Errorf("version %s: %s became %s", rules.Version, e.JSON(), both.JSON())
		}
		for server, key := range map[id.ServerName]signedjson.Key{"domain": vectorKey(t), "a.other": other} {
			if !ed25519.Verify(key.Public(), both.SignedBytes(), both.Signatures()[server][key.ID]) {
				t.Errorf("version %s: no signature of %s in %s", rules.Version, server, both.JSON())
			}
		}
		if len(e.SignaturesOf("a.other")) != 0 || len(e.Signatures()) != 1 {
			t.Errorf("version %s: the event itself was changed", rules.Version)
		}
		redacted, err := e.Redacted().CoSign("a.other", other)
		if err != nil || !redacted.IsRedacted() {
			t.Errorf("version %s: %v", rules.Version, err)
		}
		large := strings.Repeat("x", MaxSize-e.Size()-10)
		full := sign(t, rules, Draft{Type: "m.room.message", Content: json.RawMessage(`{"body":"` + large + `"}`)})
		if _, err := full.CoSign("a.other", other); err == nil {
			t.Errorf("version %s: too large, and signed", rules.Version)
		}
	}
}

func TestSignaturesAreTolerant(t *testing.T) {
	rules := rulesOf(t, roomversion.V10)
	members := valid(rules)
	members["signatures"] = `{"domain":{"ed25519:1":"AQ==","ed25519:2":"*","x":"AA","rsa:1":"AA"},"a_b":{"ed25519:1":"AA"},"d":{}}`
	e, err := Parse(rules, text(members))
	if err != nil {
		t.Fatal(err)
	}
	got := e.Signatures()
	garbage, ok := got["domain"]["ed25519:2"] // it must not pass for one that isn't there
	if len(got) != 2 || len(got["domain"]) != 3 || string(got["domain"]["ed25519:1"]) != "\x01" || !ok || len(garbage) > 0 || len(got["d"]) != 0 {
		t.Errorf("got %v", got)
	}
}
