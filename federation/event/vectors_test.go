package event

import (
	"encoding/json"
	"os"
	"testing"

	"golang.org/x/crypto/ed25519"

	"hanse/federation/canonicaljson"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/federation/signedjson"
)

func readJSON(t testing.TB, name string, into any) {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func canonical(t testing.TB, text []byte) []byte {
	t.Helper()
	c, err := canonicaljson.Append(nil, text, canonicaljson.Strict)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return c
}

func isNotUnsigned(key []byte) bool { return string(key) != "unsigned" }

type signingVectors struct {
	ServerName id.ServerName `json:"server_name"`
	KeyID      id.KeyID      `json:"key_id"`
	Cases      []struct {
		Name          string
		RoomVersion   roomversion.Version `json:"room_version"`
		Event, Signed json.RawMessage
		Whole         bool
	}
}

// spec:appendices#event-signing
func TestSigningVectors(t *testing.T) {
	var v signingVectors
	readJSON(t, "signing.json", &v)
	key := vectorKey(t)
	for _, c := range v.Cases {
		rules := rulesOf(t, c.RoomVersion)
		var head struct{ Type string }
		if err := json.Unmarshal(c.Event, &head); err != nil {
			t.Fatal(err)
		}
		unsigned := canonicaljson.Filter(nil, canonical(t, c.Event), func(key []byte) bool {
			return inContentHash(key)
		})
		got, _, err := hashAndSign(rules, head.Type, unsigned, v.ServerName, key)
		if want := canonicaljson.Filter(nil, canonical(t, c.Signed), isNotUnsigned); err != nil || string(got) != string(want) {
			t.Errorf("%s: got %s, %v", c.Name, got, err)
		}
		if !c.Whole {
			continue
		}
		e, err := Parse(rules, c.Signed)
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		if !e.ContentHashMatches() {
			t.Errorf("%s: the content hash does not match", c.Name)
		}
		if !ed25519.Verify(key.Public(), e.SignedBytes(), e.Signatures()[v.ServerName][v.KeyID]) {
			t.Errorf("%s: the signature is wrong", c.Name)
		}
	}
}

type redactionVector struct {
	Name            string
	RoomVersion     roomversion.Version `json:"room_version"`
	Event, Redacted json.RawMessage
	EventID         id.EventID `json:"event_id"`
	ContentHash     string     `json:"content_hash"`
}

func TestRedactionVectors(t *testing.T) {
	var all []redactionVector
	readJSON(t, "redactions.json", &all)
	for _, v := range all {
		name := v.Name + " in version " + string(v.RoomVersion)
		rules := rulesOf(t, v.RoomVersion)
		e, err := Parse(rules, v.Event)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if e.ID() != v.EventID {
			t.Errorf("%s: ID %s, want %s", name, e.ID(), v.EventID)
		}
		if hash := contentHash(e.JSON()); signedjson.EncodeBase64(hash[:]) != v.ContentHash {
			t.Errorf("%s: content hash %s", name, signedjson.EncodeBase64(hash[:]))
		}
		r := e.Redacted()
		if string(r.JSON()) != string(canonical(t, v.Redacted)) {
			t.Errorf("%s: got %s, want %s", name, r.JSON(), canonical(t, v.Redacted))
		}
		checkRedacted(t, e)
	}
}

// checkRedacted checks what holds for the redacted form of any event.
func checkRedacted(t *testing.T, e *Event) {
	t.Helper()
	r := e.Redacted()
	if r.ID() != e.ID() || r.RoomID() != e.RoomID() || r.Type() != e.Type() || r.Sender() != e.Sender() ||
		r.ReferenceHash() != e.ReferenceHash() || string(r.SignedBytes()) != string(e.SignedBytes()) {
		t.Errorf("%s became %s by redaction", e.JSON(), r.JSON())
	}
	if r.Redacted() != r {
		t.Errorf("%s is not the same redacted again", r.JSON())
	}
	if r != e && !r.IsRedacted() {
		t.Errorf("%s does not know that it is redacted", r.JSON())
	}
	again, err := Parse(e.Rules(), r.JSON())
	if err != nil || again.ID() != e.ID() || string(again.JSON()) != string(r.JSON()) {
		t.Errorf("%s: parsed again: %v", r.JSON(), err)
	} else if e.ContentHashMatches() && again.IsRedacted() != r.IsRedacted() {
		t.Errorf("%s: redacted %v, parsed again %v", r.JSON(), r.IsRedacted(), again.IsRedacted())
	}
}

// examples are the example events of the specification and the room versions they are of.
var examples = map[string][]roomversion.Version{
	"pdu_v1.json":                 {"1", "2"},
	"pdu_v3.json":                 {"3"},
	"pdu_v4.json":                 {"4", "5", "6", "7", "8", "9", "10"},
	"pdu_v4_join_membership.json": {"4", "5", "6", "7", "8", "9", "10"},
	"pdu_v11.json":                {"11"},
	"pdu_v12.json":                {"12"},
}

func TestExamples(t *testing.T) {
	for name, versions := range examples {
		var raw json.RawMessage
		readJSON(t, "examples/"+name, &raw)
		for _, version := range versions {
			e, err := Parse(rulesOf(t, version), raw)
			if err != nil {
				t.Errorf("%s in version %s: %v", name, version, err)
				continue
			}
			checkEvent(t, e)
		}
	}
}
