package event

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/crypto/ed25519"

	"hanse/federation/canonicaljson"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/federation/signedjson"
)

// complete fills what a draft leaves open, in the form of the room version.
func complete(rules *roomversion.Rules, d Draft) Draft {
	if d.RoomID == "" && !(rules.RoomIDIsCreateEvent && d.Type == "m.room.create") {
		d.RoomID = "!r:domain"
		if rules.RoomIDIsCreateEvent {
			d.RoomID = "!" + someHash
		}
	}
	if d.Sender == "" {
		d.Sender = "@u:domain"
	}
	return d
}

func sign(t testing.TB, rules *roomversion.Rules, d Draft) *Event {
	t.Helper()
	e, err := complete(rules, d).Sign(rules, "domain", vectorKey(t))
	if err != nil {
		t.Fatalf("version %s: %v", rules.Version, err)
	}
	return e
}

func TestSign(t *testing.T) {
	key := vectorKey(t)
	for _, rules := range roomversion.All() {
		stateKey := "@v:domain"
		d := complete(rules, Draft{
			Type: "m.room.member", StateKey: &stateKey, Content: json.RawMessage(` {"membership" : "join", "a":"\u0041"} `),
			PrevEvents: []id.EventID{"$p:domain", "$q:domain"}, AuthEvents: []id.EventID{"$a:domain"},
			ReferenceHashes: map[id.EventID][]byte{"$p:domain": bytes.Repeat([]byte{1}, 32), "$a:domain": {1}},
			Depth:           7, OriginServerTS: 8,
		})
		e := sign(t, rules, d)
		checkEvent(t, e)
		if !e.ContentHashMatches() || e.IsRedacted() {
			t.Errorf("version %s: %s: wrong content hash", rules.Version, e.JSON())
		}
		if !ed25519.Verify(key.Public(), e.SignedBytes(), e.SignaturesOf("domain")[key.ID]) {
			t.Errorf("version %s: %s: wrong signature", rules.Version, e.JSON())
		}
		if server, ok := e.ID().Server(); ok != (rules.EventIDs == roomversion.EventIDGiven) || ok && server != "domain" {
			t.Errorf("version %s: ID %s", rules.Version, e.ID())
		}
		if again := sign(t, rules, d); again.ID() != e.ID() {
			t.Errorf("version %s: IDs %s and %s of one draft", rules.Version, e.ID(), again.ID())
		}
		d.Depth++
		if other := sign(t, rules, d); other.ID() == e.ID() {
			t.Errorf("version %s: the same ID of two drafts", rules.Version)
		}
		prev, _ := canonicaljson.Get(e.JSON(), "prev_events")
		want := `["$p:domain","$q:domain"]`
		if rules.ReferencesWithHashes {
			want = `[["$p:domain",{"sha256":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"}],["$q:domain",{}]]`
		}
		if string(prev) != want {
			t.Errorf("version %s: prev_events %s", rules.Version, prev)
		}
	}
}

func TestSignCreate(t *testing.T) {
	for _, rules := range roomversion.All() {
		e := sign(t, rules, Draft{Type: "m.room.create", StateKey: new(string), Content: json.RawMessage(`{"a":1}`)})
		checkEvent(t, e)
		if e.HasRoomID() == rules.RoomIDIsCreateEvent {
			t.Errorf("version %s: %s", rules.Version, e.JSON())
		}
	}
}

func TestSignRedaction(t *testing.T) {
	for _, rules := range roomversion.All() {
		e := sign(t, rules, Draft{Type: "m.room.redaction", Redacts: "$x:domain", Content: json.RawMessage(`{"redacts":"$old","reason":"x"}`)})
		if got, ok := e.Redacts(); got != "$x:domain" || !ok {
			t.Errorf("version %s: %s redacts %q", rules.Version, e.JSON(), got)
		}
		if _, top := canonicaljson.Get(e.JSON(), "redacts"); top == rules.RedactsInContent {
			t.Errorf("version %s: %s", rules.Version, e.JSON())
		}
	}
}

func TestSignRefuses(t *testing.T) {
	tooLong, notUTF8 := strings.Repeat("💥", 64), "\xff" // 256 bytes: ours are held to bytes in every version
	many := make([]id.EventID, 21)
	for i := range many {
		many[i] = "$x:domain"
	}
	for _, rules := range roomversion.All() {
		for name, d := range map[string]Draft{
			"type":               {Type: tooLong},
			"state key":          {StateKey: &tooLong},
			"no UTF-8":           {StateKey: &notUTF8},
			"type no UTF-8":      {Type: notUTF8},
			"sender":             {Sender: "u"},
			"room":               {RoomID: "!x"},
			"prev events":        {PrevEvents: many},
			"auth events":        {AuthEvents: many[:11]},
			"content":            {Content: json.RawMessage(`[]`)},
			"broken content":     {Content: json.RawMessage(`{`)},
			"large content":      {Content: json.RawMessage(`{"a":"` + strings.Repeat("x", MaxSize) + `"}`)},
			"very large content": {Content: json.RawMessage(`{"a":"` + strings.Repeat("x", maxRaw) + `"}`)},
			"depth":              {Depth: -1},
		} {
			if e, err := complete(rules, d).Sign(rules, "domain", vectorKey(t)); err == nil {
				t.Errorf("version %s, %s: signed %.100s", rules.Version, name, e.JSON())
			}
		}
		_, err := complete(rules, Draft{Content: json.RawMessage(`{"a":1.5}`)}).Sign(rules, "domain", vectorKey(t))
		if (err != nil) != rules.StrictCanonicalJSON {
			t.Errorf("version %s, float: %v", rules.Version, err)
		}
		if _, err := complete(rules, Draft{}).Sign(rules, "domain", signedjson.Key{ID: "ed25519:1"}); err == nil {
			t.Errorf("version %s: signed without a key", rules.Version)
		}
	}
}

func TestTemplate(t *testing.T) {
	for _, rules := range roomversion.All() {
		stateKey := "@u:domain"
		d := complete(rules, Draft{
			Type: "m.room.member", StateKey: &stateKey, Content: json.RawMessage(`{"membership":"join"}`),
			PrevEvents: []id.EventID{"$p:domain"}, AuthEvents: []id.EventID{"$a:domain"}, Depth: 3, OriginServerTS: 4,
		})
		if rules.ReferencesWithHashes {
			d.ReferenceHashes = map[id.EventID][]byte{"$p:domain": bytes.Repeat([]byte{2}, 32)}
		}
		template, err := d.Template(rules, "resident")
		if err != nil {
			t.Fatal(err)
		}
		if origin, _ := canonicaljson.Get(template, "origin"); string(origin) != `"resident"` {
			t.Errorf("version %s: %s", rules.Version, template)
		}
		for _, key := range []string{"event_id", "hashes", "signatures", "unsigned"} {
			if _, ok := canonicaljson.Get(template, key); ok {
				t.Errorf("version %s: %s in %s", rules.Version, key, template)
			}
		}
		got, err := ParseDraft(rules, template)
		if err != nil || !reflect.DeepEqual(got, d) {
			t.Errorf("version %s: got %+v, %v, want %+v", rules.Version, got, err, d)
		}
		// The joiner's event is the same whether it was drafted here or read from the template.
		if a, b := sign(t, rules, got), sign(t, rules, d); !bytes.Equal(a.JSON(), b.JSON()) {
			t.Errorf("version %s: %s and %s", rules.Version, a.JSON(), b.JSON())
		}
	}
}

func TestParseDraftRefuses(t *testing.T) {
	for _, rules := range roomversion.All() {
		for field, value := range map[string]string{
			"type": `1`, "sender": `"u"`, "room_id": `"!x"`, "content": `[]`, "depth": `-1`, "prev_events": `{}`,
			"auth_events": `[1]`, "state_key": `null`, "origin_server_ts": `"x"`,
		} {
			members := valid(rules)
			members[field] = value
			if d, err := ParseDraft(rules, text(members)); err == nil {
				t.Errorf("version %s: %s %s: got %+v", rules.Version, field, value, d)
			}
		}
		// No room can be joined by its create event.
		members := valid(rules)
		members["type"] = `"m.room.create"`
		delete(members, "room_id")
		if d, err := ParseDraft(rules, text(members)); err == nil {
			t.Errorf("version %s: got %+v", rules.Version, d)
		}
		members = valid(rules)
		delete(members, "origin_server_ts")
		delete(members, "hashes")
		delete(members, "signatures")
		delete(members, "event_id")
		if _, err := ParseDraft(rules, text(members)); err != nil {
			t.Errorf("version %s: %v", rules.Version, err)
		}
	}
}
