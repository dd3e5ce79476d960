package event

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"hanse/federation/canonicaljson"
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

const someHash = "Nhcu5BS-UMnFX7hBVfVSoXiD7OgH6iRT-xyIuqDnpYQ"

// valid is the text of each member of a valid event in a room version.
func valid(rules *roomversion.Rules) map[string]string {
	members := map[string]string{
		"auth_events": `[]`, "content": `{"body":"x"}`, "depth": `5`, "hashes": `{"sha256":"x"}`,
		"origin_server_ts": `1000000`, "prev_events": `[]`, "room_id": `"!r:domain"`,
		"sender": `"@u:domain"`, "signatures": `{"domain":{"ed25519:1":"AA"}}`, "type": `"m.room.message"`,
	}
	if rules.EventIDs == roomversion.EventIDGiven {
		members["event_id"] = `"$0:domain"`
	}
	if rules.RoomIDIsCreateEvent {
		members["room_id"] = `"!` + someHash + `"`
	}
	return members
}

func text(members map[string]string) []byte {
	var b bytes.Buffer
	for key, value := range members {
		fmt.Fprintf(&b, ",%q:%s", key, value)
	}
	b.WriteByte('}')
	b.Bytes()[0] = '{'
	return b.Bytes()
}

func TestFields(t *testing.T) {
	var cases []struct {
		Name, Field string
		Set         *string
		Accept      []roomversion.Version
	}
	readJSON(t, "fields.json", &cases)
	for _, rules := range roomversion.All() {
		for _, c := range cases {
			members := valid(rules)
			delete(members, c.Field)
			if c.Set != nil {
				members[c.Field] = *c.Set
			}
			raw := text(members)
			e, err := Parse(rules, raw)
			want := slices.Contains(c.Accept, rules.Version)
			if (err == nil) != want {
				t.Errorf("version %s, %s: %v, want %v", rules.Version, c.Name, err, want)
			}
			var format *FormatError
			var syntax *canonicaljson.Error
			if err != nil && (e != nil || !errors.As(err, &format) && !errors.As(err, &syntax)) {
				t.Errorf("version %s, %s: %v, %T", rules.Version, c.Name, e, err)
			}
			if err == nil {
				checkEvent(t, e)
			}
		}
	}
}

// checkEvent checks what holds for every event that was parsed.
func checkEvent(t *testing.T, e *Event) {
	t.Helper()
	if e.Size() > MaxSize || e.Size() != len(e.JSON()) {
		t.Errorf("%s has size %d", e.JSON(), e.Size())
	}
	again, err := Parse(e.Rules(), e.JSON())
	if err != nil || again.ID() != e.ID() || !bytes.Equal(again.JSON(), e.JSON()) {
		t.Fatalf("%s parsed again: %v, %v", e.JSON(), again, err)
	}
	if _, ok := canonicaljson.Get(e.JSON(), "unsigned"); ok {
		t.Errorf("%s has unsigned", e.JSON())
	}
	loaded, err := Load(e.Rules(), e.ID(), e.JSON())
	if err != nil || fmt.Sprint(*loaded) != fmt.Sprint(*e) {
		t.Errorf("loaded %v, %v, want %v", loaded, err, e)
	}
	var glance Glance
	for range 2 { // the second time the list is known
		auth, depth, err := glance.Read(e.Rules(), e.JSON())
		if err != nil || depth != e.Depth() || !slices.Equal(auth, e.AuthEvents()) {
			t.Errorf("a glance at %s finds %v, %d, %v", e.JSON(), auth, depth, err)
		}
	}
	if auth, depth, err := glance.Read(e.Rules(), []byte(`{"auth_events":[],"depth":7}`)); err != nil || depth != 7 || len(auth) != 0 {
		t.Errorf("a glance after %s finds %v, %d, %v", e.JSON(), auth, depth, err)
	}
	if e.Rules().EventIDs != roomversion.EventIDGiven && hashedID(e.Rules(), e.ReferenceHash()) != e.ID() {
		t.Errorf("%s has ID %s", e.JSON(), e.ID())
	}
	checkRedacted(t, e)
}

func TestAccessors(t *testing.T) {
	rules := rulesOf(t, roomversion.V10)
	e, err := Parse(rules, []byte(`{
		"auth_events": ["$a", "$b"], "prev_events": ["$c"], "type": "m.room.member", "state_key": "@v:domain:1",
		"content": {"membership": "ban", "b": [1]}, "depth": 7, "hashes": {"sha256": "x"}, "origin_server_ts": -3,
		"room_id": "!r:domain", "sender": "@u:domain", "signatures": {}, "unsigned": {"age": 1}}`))
	if err != nil {
		t.Fatal(err)
	}
	if e.Rules() != rules || e.Type() != "m.room.member" || e.Sender() != "@u:domain" || e.RoomID() != "!r:domain" ||
		e.Depth() != 7 || e.OriginServerTS() != -3 || e.Membership() != "ban" || !e.IsState() || !e.HasRoomID() {
		t.Errorf("got %+v", e)
	}
	if key, ok := e.StateKey(); key != "@v:domain:1" || !ok || !e.Is("m.room.member", key) || e.Is("m.room.member", "") || e.Is("x", key) {
		t.Errorf("state key %q, %v", key, ok)
	}
	if !slices.Equal(e.PrevEvents(), []id.EventID{"$c"}) || !slices.Equal(e.AuthEvents(), []id.EventID{"$a", "$b"}) {
		t.Errorf("prev %q, auth %q", e.PrevEvents(), e.AuthEvents())
	}
	if string(e.Content()) != `{"b":[1],"membership":"ban"}` {
		t.Errorf("content %s", e.Content())
	}
	if want := `{"auth_events":["$a","$b"],"content":{"b":[1],"membership":"ban"},"depth":7,"hashes":{"sha256":"x"},"origin_server_ts":-3,"prev_events":["$c"],"room_id":"!r:domain","sender":"@u:domain","signatures":{},"state_key":"@v:domain:1","type":"m.room.member"}`; string(e.JSON()) != want {
		t.Errorf("JSON %s", e.JSON())
	}
	if want := `{"content":{"b":[1],"membership":"ban"},"sender":"@u:domain","state_key":"@v:domain:1","type":"m.room.member"}`; string(Stripped(e)) != want {
		t.Errorf("stripped %s", Stripped(e))
	}
}

// A message is not the state event with an empty key.
func TestMessageIsNotState(t *testing.T) {
	rules := rulesOf(t, roomversion.V10)
	e, err := Parse(rules, text(valid(rules)))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := e.StateKey(); ok || e.IsState() || e.Is("m.room.message", "") || e.Membership() != "" {
		t.Errorf("got %+v", e)
	}
	if _, ok := e.Redacts(); ok {
		t.Error("it redacts something")
	}
}

func TestRedacts(t *testing.T) {
	for _, rules := range roomversion.All() {
		for _, c := range []struct {
			typ, top, content string
			old, new          id.EventID
		}{
			{`"m.room.redaction"`, `"$top:domain"`, `{"redacts":"$in:domain"}`, "$top:domain", "$in:domain"},
			{`"m.room.redaction"`, `null`, `{"redacts":1}`, "", ""},
			{`"m.room.redaction"`, `"x"`, `{}`, "", ""},
			{`"m.room.message"`, `"$top:domain"`, `{"redacts":"$in:domain"}`, "", ""},
		} {
			members := valid(rules)
			members["type"], members["redacts"], members["content"] = c.typ, c.top, c.content
			e, err := Parse(rules, text(members))
			if err != nil {
				t.Fatal(err)
			}
			want := c.old
			if rules.RedactsInContent {
				want = c.new
			}
			if got, ok := e.Redacts(); got != want || ok != (want != "") {
				t.Errorf("version %s: %s redacts %q, %v", rules.Version, e.JSON(), got, ok)
			}
		}
	}
}

// spec:rooms/v12#event-format
func TestRoomIDOfCreateEvent(t *testing.T) {
	for _, rules := range roomversion.All() {
		members := valid(rules)
		members["type"], members["state_key"] = `"m.room.create"`, `""`
		given, err := Parse(rules, text(members))
		if err != nil || !given.HasRoomID() || `"`+string(given.RoomID())+`"` != members["room_id"] {
			t.Errorf("version %s: %v, %v", rules.Version, given, err)
		}
		delete(members, "room_id")
		e, err := Parse(rules, text(members))
		if !rules.RoomIDIsCreateEvent {
			if err == nil {
				t.Errorf("version %s: accepted without room_id", rules.Version)
			}
			continue
		}
		if err != nil || e.HasRoomID() || e.RoomID() != "!"+id.RoomID(e.ID()[1:]) {
			t.Errorf("version %s: %v, %v", rules.Version, e, err)
			continue
		}
		if create, ok := e.RoomID().CreateEvent(); create != e.ID() || !ok {
			t.Errorf("version %s: create event %s", rules.Version, create)
		}
		checkEvent(t, e)
		for _, stateKey := range []string{"", `"x"`} { // no state event, another state event
			if delete(members, "state_key"); stateKey != "" {
				members["state_key"] = stateKey
			}
			if _, err := Parse(rules, text(members)); err == nil {
				t.Errorf("version %s: a create event with state key %s needs no room_id", rules.Version, stateKey)
			}
		}
	}
}

// The limit is on the canonical text without unsigned, whatever the received text was.
//
// spec:client-server-api#size-limits
func TestSize(t *testing.T) {
	for _, rules := range roomversion.All() {
		members := valid(rules)
		members["content"] = `{"body":""}`
		e, err := Parse(rules, text(members))
		if err != nil {
			t.Fatal(err)
		}
		room := MaxSize - e.Size()
		for _, c := range []struct {
			body string
			ok   bool
		}{
			{strings.Repeat("x", room), true},
			{strings.Repeat("x", room+1), false},
			{strings.Repeat("ü", room/2), true},
			{strings.Repeat("ü", room/2+1), false},
			{strings.Repeat(`\u0078`, room), true},
			{strings.Repeat(`\u0078`, room+1), false},
			{strings.Repeat(`\n`, room/2), true},
			{strings.Repeat(`\n`, room/2+1), false},
		} {
			members["content"] = `{"body":"` + c.body + `"}`
			members["unsigned"] = `{"x":"` + strings.Repeat("x", 100000) + `"}`
			e, err := Parse(rules, text(members))
			if (err == nil) != c.ok || err == nil && e.Size() > MaxSize {
				t.Errorf("version %s, %.12s…, %d: %v", rules.Version, c.body, len(c.body), err)
			}
		}
	}
	if _, err := Parse(rulesOf(t, roomversion.V1), bytes.Repeat([]byte(" "), maxRaw+1)); err == nil {
		t.Error("a text over the limit accepted")
	}
}

// TestKeyLength: who counts bytes in the rooms up to version 10 lacks events that Synapse and Dendrite have.
func TestKeyLength(t *testing.T) {
	for _, rules := range roomversion.All() {
		inCharacters := !slices.Contains([]roomversion.Version{roomversion.V11, roomversion.V12}, rules.Version)
		for _, field := range []string{"type", "state_key"} {
			for _, c := range []struct {
				text   string
				accept bool
			}{
				{strings.Repeat("x", 255), true},
				{strings.Repeat("x", 256), false},
				{strings.Repeat("💥", 63) + "xxx", true},
				{strings.Repeat("💥", 64), inCharacters},
				{strings.Repeat("💥", 255), inCharacters},
				{strings.Repeat("💥", 256), false},
			} {
				members := valid(rules)
				members[field] = strconv.Quote(c.text)
				e, err := Parse(rules, text(members))
				if (err == nil) != c.accept {
					t.Errorf("version %s, %s of %d bytes: %v", rules.Version, field, len(c.text), err)
				}
				if err == nil {
					checkEvent(t, e)
				}
			}
		}
	}
}

// A member whose name only looks like unsigned stays.
func TestUnsignedInside(t *testing.T) {
	rules := rulesOf(t, roomversion.V10)
	members := valid(rules)
	members["content"] = `{"unsigned":{"a":1}}`
	e, err := Parse(rules, text(members))
	if err != nil || string(e.Content()) != members["content"] {
		t.Errorf("got %s, %v", e.Content(), err)
	}
}

func TestParseNoObject(t *testing.T) {
	for _, rules := range roomversion.All() {
		for _, raw := range []string{"", "[]", "1", "null", `"x"`, "{}", "{", "\xff"} {
			if _, err := Parse(rules, []byte(raw)); err == nil {
				t.Errorf("%q accepted", raw)
			}
			if _, err := Load(rules, "$x", []byte(raw)); err == nil {
				t.Errorf("%q loaded", raw)
			}
			if _, err := ParseDraft(rules, []byte(raw)); err == nil {
				t.Errorf("%q taken for a draft", raw)
			}
		}
	}
}

func TestContentHash(t *testing.T) {
	rules := rulesOf(t, roomversion.V10)
	e := sign(t, rules, Draft{Type: "m.room.message", Content: []byte(`{"body":"x"}`)})
	if !e.ContentHashMatches() || e.IsRedacted() {
		t.Errorf("%s does not match", e.JSON())
	}
	padded := bytes.Replace(e.JSON(), []byte(`"},"origin_server_ts"`), []byte(`="},"origin_server_ts"`), 1)
	changed := bytes.Replace(e.JSON(), []byte(`"body":"x"`), []byte(`"body":"y"`), 1)
	for name, c := range map[string]struct {
		raw  []byte
		want bool
	}{"padded": {padded, true}, "changed": {changed, false}} {
		if bytes.Equal(c.raw, e.JSON()) {
			t.Fatalf("%s: nothing was changed", name)
		}
		got, err := Parse(rules, c.raw)
		if err != nil || got.ContentHashMatches() != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	// A change to what a redaction takes away leaves ID and signatures.
	got, err := Parse(rules, changed)
	if err != nil || got.ID() != e.ID() || !bytes.Equal(got.SignedBytes(), e.SignedBytes()) || got.IsRedacted() {
		t.Errorf("got %s, %v", got.JSON(), err)
	}
	if r := got.Redacted(); !r.IsRedacted() || r.ContentHashMatches() || string(r.Content()) != "{}" {
		t.Errorf("redacted %s", r.JSON())
	}
}

// Servers once sent fields of their own at the top of events. Synapse and Dendrite leave them out of the content hash; if we did not, the
// same event would be whole there and redacted here.
func TestContentHashOfFieldsBesideTheFormat(t *testing.T) {
	for _, rules := range roomversion.All() {
		e := sign(t, rules, Draft{Type: "m.room.power_levels", StateKey: new(""), Content: []byte(`{"invite":50}`)})
		for field, covered := range map[string]bool{"age_ts": false, "destinations": false, "outlier": false, "age": true, "prev_content": true} {
			got, err := Parse(rules, canonicaljson.SetMember(nil, e.JSON(), field, []byte(`{"a":1}`)))
			if err != nil || got.ID() != e.ID() || got.ContentHashMatches() == covered {
				t.Errorf("%s in version %s: %v, the hash covers it: %v", field, rules.Version, err, !got.ContentHashMatches())
			}
		}
	}
}

// Deployed servers drop an event whose content hash is no Base64: who took it in redacted would build on what others never have.
//
// spec:appendices#binary-data
func TestContentHashIsBase64(t *testing.T) {
	rules, _ := roomversion.Lookup(roomversion.V10)
	for _, receive := range []func(*roomversion.Rules, []byte) (*Event, error){Received, ReceivedOld} {
		for hash, taken := range map[string]bool{"": true, "eA": true, "eA==": true, "+-/_": true, "x": false, "eA*": false, "é": false} {
			e, err := receive(rules, []byte(`{"auth_events":[],"content":{},"depth":1,"hashes":{"sha256":"`+hash+`"},"origin_server_ts":1,"prev_events":[],`+
				`"room_id":"!r:domain","sender":"@u:domain","signatures":{},"type":"t"}`))
			if taken != (err == nil) || taken && !e.IsRedacted() {
				t.Errorf("%q: %v", hash, err)
			}
		}
	}
}
