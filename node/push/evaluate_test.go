package push

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"hanse/federation/canonicaljson"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

// aRoom is a Room.
type aRoom struct {
	members int
	name    string
	levels  map[string]bool
}

func (r aRoom) Members() (int, error)                 { return r.members, nil }
func (r aRoom) DisplayName(id.UserID) (string, error) { return r.name, nil }
func (r aRoom) MayNotify(key string) (bool, error)    { return r.levels[key], nil }

// said is an event of a type, with a state key if it is not "-".
func said(t testing.TB, typ, stateKey, content string) *Subject {
	t.Helper()
	head := map[string]any{
		"type": typ, "room_id": "!room:example.org", "sender": "@bob:example.org", "content": json.RawMessage(content), "depth": 1,
		"origin_server_ts": 1, "prev_events": []string{}, "auth_events": []string{},
		"hashes": map[string]any{"sha256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"}, "signatures": map[string]any{},
	}
	if stateKey != "-" {
		head["state_key"] = stateKey
	}
	raw, err := json.Marshal(head)
	if err != nil {
		t.Fatal(err)
	}
	rules, _ := roomversion.Lookup(roomversion.V11)
	e, err := event.Parse(rules, raw)
	if err != nil {
		t.Fatal(err)
	}
	return NewSubject(e)
}

// own is the default rules with one override rule before them.
func own(t testing.TB, conditions string) *Rules {
	t.Helper()
	rules, err := DefaultRules("@alice:example.org").Put(KindOverride, "mine",
		Change{Actions: json.RawMessage(`["notify",{"set_tweak":"mine"}]`), Conditions: json.RawMessage(conditions)}, "", "")
	if err != nil {
		t.Fatal(err)
	}
	return Compile("@alice:example.org", rules)
}

func matched(t testing.TB, rules *Rules, s *Subject, room Room) bool {
	t.Helper()
	found, err := rules.Match(s, room)
	if err != nil {
		t.Fatal(err)
	}
	_, mine := map[string]json.RawMessage{}, false
	if found != nil {
		_, mine = found.Tweaks["mine"]
	}
	return mine
}

func TestConditions(t *testing.T) {
	const message = "m.room.message"
	room := aRoom{members: 3, name: "Alice (she) ", levels: map[string]bool{"room": true}}
	for _, c := range []struct {
		condition, typ, content string
		want                    bool
	}{
		// The examples of the specification.
		{`{"kind":"event_match","key":"content.topic","pattern":"lunc?*"}`, "m.room.topic", `{"topic":"Lunch plans"}`, true},
		{`{"kind":"event_match","key":"content.topic","pattern":"lunc?*"}`, "m.room.topic", `{"topic":"LUNCH"}`, true},
		{`{"kind":"event_match","key":"content.topic","pattern":"lunc?*"}`, "m.room.topic", `{"topic":" lunch"}`, false},
		{`{"kind":"event_match","key":"content.topic","pattern":"lunc?*"}`, "m.room.topic", `{"topic":"lunc"}`, false},
		{`{"kind":"event_match","key":"content.topic","pattern":"*"}`, "m.room.topic", `{"topic":null}`, false},
		{`{"kind":"event_match","key":"content.topic","pattern":"*"}`, "m.room.topic", `{}`, false},
		{`{"kind":"event_match","key":"content.body","pattern":"ex*ple"}`, message, `{"body":"An example event."}`, true},
		{`{"kind":"event_match","key":"content.body","pattern":"ex*ple"}`, message, `{"body":"exple"}`, true},
		{`{"kind":"event_match","key":"content.body","pattern":"ex*ple"}`, message, `{"body":"An exciting triple-whammy"}`, true},
		{`{"kind":"event_match","key":"content.body","pattern":"ex*ple"}`, message, `{"body":"samples"}`, false},
		{`{"kind":"event_match","key":"content.body","pattern":"cake"}`, message, `{"body":"pancakes and CAKE!"}`, true},
		{`{"kind":"event_match","key":"content.body","pattern":"cake"}`, message, `{"body":"pancakes, cake_s"}`, false},
		{`{"kind":"event_match","key":"content.body","pattern":"c?ke"}`, message, `{"body":"a cäke"}`, true},
		{`{"kind":"event_match","key":"content.body","pattern":"*"}`, message, `{"body":""}`, true},
		{`{"kind":"event_match","key":"content.body","pattern":"*"}`, message, `{"body":7}`, false},
		{`{"kind":"event_match","key":"room_id","pattern":"!room:*"}`, message, `{}`, true},
		{`{"kind":"event_match","key":"state_key","pattern":""}`, message, `{}`, false},
		{`{"kind":"event_match","key":"sender","pattern":"@BOB:example.org"}`, message, `{}`, true},
		{`{"kind":"event_property_is","key":"content.m\\.federate","value":true}`, "x", `{"m.federate":true}`, true},
		{`{"kind":"event_property_is","key":"content.m\\.federate","value":true}`, "x", `{"m.federate":"true"}`, false},
		{`{"kind":"event_property_is","key":"content.m\\.federate","value":true}`, "x", `{"m.federate":1}`, false},
		{`{"kind":"event_property_is","key":"content.m.federate","value":true}`, "x", `{"m.federate":true}`, false},
		{`{"kind":"event_property_is","key":"content.m.federate","value":true}`, "x", `{"m":{"federate":true}}`, true},
		{`{"kind":"event_property_is","key":"content.a\\\\b","value":null}`, "x", `{"a\\b":null}`, true},
		{`{"kind":"event_property_is","key":"content.a\\b","value":7}`, "x", `{"a\\b":7}`, true},
		{`{"kind":"event_property_is","key":"content.a","value":"<&>"}`, "x", `{"a":"<&>"}`, true},
		{`{"kind":"event_property_is","key":"content.a","value":7}`, "x", `{"a":[7]}`, false},
		{`{"kind":"event_property_is","key":"type","value":"x"}`, "x", `{}`, true},
		{`{"kind":"event_property_is","key":"type","value":"X"}`, "x", `{}`, false},
		{`{"kind":"event_property_contains","key":"content.a","value":"#r:e"}`, "x", `{"a":["#s:e","#r:e",{}]}`, true},
		{`{"kind":"event_property_contains","key":"content.a","value":":e"}`, "x", `{"a":["#s:e","#r:e"]}`, false},
		{`{"kind":"event_property_contains","key":"content.a","value":"x"}`, "x", `{"a":"x"}`, false},
		{`{"kind":"contains_display_name"}`, message, `{"body":"hi ALICE (she) !"}`, true},
		{`{"kind":"contains_display_name"}`, message, `{"body":"hi alice"}`, false},
		{`{"kind":"room_member_count","is":"3"}`, "x", `{}`, true},
		{`{"kind":"room_member_count","is":"==3"}`, "x", `{}`, true},
		{`{"kind":"room_member_count","is":"<3"}`, "x", `{}`, false},
		{`{"kind":"room_member_count","is":"<=3"}`, "x", `{}`, true},
		{`{"kind":"room_member_count","is":">3"}`, "x", `{}`, false},
		{`{"kind":"room_member_count","is":">=3"}`, "x", `{}`, true},
		{`{"kind":"sender_notification_permission","key":"room"}`, "x", `{}`, true},
		{`{"kind":"sender_notification_permission","key":"other"}`, "x", `{}`, false},
		{`{"kind":"org.example.unknown"}`, "x", `{}`, false},
		{`{"kind":"device"},{"kind":"event_match","key":"type","pattern":"x"}`, "x", `{}`, false},
	} {
		if got := matched(t, own(t, "["+c.condition+"]"), said(t, c.typ, "-", c.content), room); got != c.want {
			t.Errorf("%s on %s %s: %v", c.condition, c.typ, c.content, got)
		}
	}
	if !matched(t, own(t, `[]`), said(t, "x", "-", `{}`), room) {
		t.Error("a rule without conditions always matches")
	}
}

func TestDefaultOutcomes(t *testing.T) {
	rules := Compile("@alice:example.org", DefaultRules("@alice:example.org"))
	for _, c := range []struct {
		typ, key, content string
		room              aRoom
		want              string
	}{
		{"m.room.message", "-", `{"body":"hi","msgtype":"m.text"}`, aRoom{members: 3}, "notify"},
		{"m.room.message", "-", `{"body":"hi","msgtype":"m.text"}`, aRoom{members: 2}, `notify sound="default"`},
		{"m.room.message", "-", `{"body":"hi","msgtype":"m.notice"}`, aRoom{members: 2}, ""},
		{"m.room.encrypted", "-", `{}`, aRoom{members: 2}, `notify sound="default"`},
		{"m.room.encrypted", "-", `{}`, aRoom{members: 9}, "notify"},
		{"m.call.invite", "-", `{}`, aRoom{}, `notify sound="ring"`},
		{"m.reaction", "-", `{"m.mentions":{"user_ids":["@alice:example.org"]}}`, aRoom{}, `notify highlight sound="default"`},
		{"m.reaction", "-", `{}`, aRoom{}, ""},
		{"m.room.message", "-", `{"body":"alice","m.mentions":{"room":true}}`, aRoom{levels: map[string]bool{"room": true}}, "notify highlight"},
		{"m.room.message", "-", `{"body":"alice","m.mentions":{"room":true}}`, aRoom{}, "notify"},
		{"m.room.message", "-", `{"body":"x","m.relates_to":{"rel_type":"m.replace","event_id":"$x"}}`, aRoom{}, ""},
		{"m.room.member", "@alice:example.org", `{"membership":"invite"}`, aRoom{}, `notify sound="default"`},
		{"m.room.member", "@carol:example.org", `{"membership":"invite"}`, aRoom{}, ""},
		{"m.room.tombstone", "", `{}`, aRoom{}, "notify highlight"},
		{"m.room.tombstone", "x", `{}`, aRoom{}, ""},
		{"m.room.server_acl", "", `{}`, aRoom{}, ""},
		{"m.room.topic", "", `{}`, aRoom{}, ""},
	} {
		got := ""
		found, err := rules.Match(said(t, c.typ, c.key, c.content), c.room)
		if err != nil {
			t.Fatal(err)
		}
		if found != nil && found.Notify {
			got = "notify"
			if found.Highlight {
				got += " highlight"
			}
			if sound, ok := found.Tweaks["sound"]; ok {
				got += " sound=" + string(sound)
			}
		}
		if got != c.want {
			t.Errorf("%s %s: %q, not %q", c.typ, c.content, got, c.want)
		}
	}
}

func TestKindsComeInTheirOrder(t *testing.T) {
	rules := DefaultRules("@alice:example.org")
	words := "cake"
	message := said(t, "m.room.message", "-", `{"body":"cake"}`)
	for _, kind := range []struct{ kind, id string }{
		{KindUnderride, "mine"}, {KindSender, "@bob:example.org"}, {KindRoom, "!room:example.org"}, {KindContent, "mine"}, {KindOverride, "mine"},
	} {
		var err error
		if rules, err = rules.Put(kind.kind, kind.id, Change{
			Actions: json.RawMessage(`["notify",{"set_tweak":"from","value":"` + kind.kind + `"}]`), Pattern: &words}, "", ""); err != nil {
			t.Fatal(err)
		}
		found, err := Compile("@alice:example.org", rules).Match(message, aRoom{})
		if err != nil || found == nil || string(found.Tweaks["from"]) != `"`+kind.kind+`"` {
			t.Errorf("%s does not come first: %+v, %v", kind.kind, found, err)
		}
	}
	rules, _ = rules.Enable(KindOverride, masterRule, true)
	if found, _ := Compile("@alice:example.org", rules).Match(message, aRoom{}); found == nil || found.Notify {
		t.Errorf("the master rule does not come first: %+v", found)
	}
}

func TestPatternsAreBounded(t *testing.T) {
	rules := DefaultRules("@alice:example.org")
	glob := strings.Repeat("a?", 200) + "c*b"
	for i := range 40 {
		var err error
		if rules, err = rules.Put(KindContent, "mine"+strings.Repeat("x", i), Change{Actions: json.RawMessage(`["notify"]`), Pattern: &glob}, "", ""); err != nil {
			t.Fatal(err)
		}
	}
	e := &evaluation{subject: said(t, "m.room.message", "-", `{"body":"`+strings.Repeat("a ", 20_000)+`"}`), room: aRoom{}, left: maxSteps}
	if found, err := e.first(Compile("@alice:example.org", rules).before); found != nil || err != nil {
		t.Errorf("%v, %v", found, err)
	}
	if e.left >= 0 {
		t.Errorf("%d steps are left: the bound was not reached", e.left)
	}
}

// slowly is what within says, letter by letter.
func slowly(glob, text string) bool {
	glob, text = strings.ToLower(glob), strings.ToLower(text)
	for start := range len(text) + 1 {
		for end := start; end <= len(text); end++ {
			if start < len(text) && !utf8.RuneStart(text[start]) || end < len(text) && !utf8.RuneStart(text[end]) {
				continue // within a letter
			}
			if boundary(text, start, false) && boundary(text, end, true) && whole([]rune(glob), []rune(text[start:end])) {
				return true
			}
		}
	}
	return false
}

func whole(glob, text []rune) bool {
	switch {
	case len(glob) == 0:
		return len(text) == 0
	case glob[0] == '*':
		return whole(glob[1:], text) || len(text) > 0 && whole(glob, text[1:])
	case len(text) == 0:
		return false
	}
	return (glob[0] == '?' || glob[0] == text[0]) && whole(glob[1:], text[1:])
}

func FuzzPatterns(f *testing.F) {
	f.Add("ex*ple", "An exciting triple-whammy")
	f.Add("*a?b", "a ab_xb")
	f.Add("", " ")
	f.Add("ä*?", "Ä b")
	f.Fuzz(func(t *testing.T, glob, text string) {
		glob, text = strings.ToValidUTF8(glob, "?"), strings.ToValidUTF8(text, "?")
		if len(glob) > 8 || len(text) > 24 || len(strings.ToLower(text)) != len(text) {
			return
		}
		left := steps(maxSteps)
		if got, want := newPattern(glob).within(strings.ToLower(text), &left), slowly(glob, text); got != want {
			t.Errorf("%q within %q: %v, not %v", glob, text, got, want)
		}
		if got, want := newPattern(glob).matches(strings.ToLower(text), &left), whole([]rune(strings.ToLower(glob)), []rune(strings.ToLower(text))); got != want {
			t.Errorf("%q matches %q: %v, not %v", glob, text, got, want)
		}
	})
}

// FuzzRules has any rule, stored or put, meet any event: nothing panics, and what was taken is read back.
func FuzzRules(f *testing.F) {
	f.Add(`{"actions":["notify"],"conditions":[{"kind":"event_match","key":"content.body","pattern":"*a"}],"pattern":"x"}`, `{"body":"a"}`)
	f.Add(`{"actions":[{"set_tweak":"x","value":{}}],"conditions":[{"kind":"event_property_is","key":"content.\\.","value":7}]}`, `{".":7}`)
	f.Fuzz(func(t *testing.T, raw, content string) {
		clean, err := canonicaljson.Append(nil, []byte(content), canonicaljson.Strict)
		if err != nil || !canonicaljson.IsObject(clean) || len(clean) > 10_000 {
			return
		}
		subject := said(t, "m.room.message", "-", string(clean))
		var change Change
		if json.Unmarshal([]byte(raw), &change) == nil {
			for _, kind := range kinds() {
				rules, err := DefaultRules("@a:b").Put(kind, map[string]string{
					KindRoom: "!room:example.org", KindSender: "@bob:example.org", KindOverride: "x", KindUnderride: "x", KindContent: "x",
				}[kind], change, "", "")
				if err != nil {
					continue
				}
				stored, err := rules.Encode()
				if err != nil {
					t.Fatal(err)
				}
				again := Read("@a:b", stored)
				if back, _ := again.Encode(); string(back) != string(stored) {
					t.Errorf("stored %s, read %s", stored, back)
				}
				one, err1 := Compile("@a:b", rules).Match(subject, aRoom{})
				two, err2 := Compile("@a:b", again).Match(subject, aRoom{})
				if err1 != nil || err2 != nil || (one == nil) != (two == nil) || one != nil && one.Notify != two.Notify {
					t.Errorf("%v %v before it was stored, %v %v after", one, err1, two, err2)
				}
			}
		}
		_, _ = Compile("@a:b", Read("@a:b", json.RawMessage(raw))).Match(subject, aRoom{})
	})
}

// TestUsualRulesAreSharedByUsers: what they make of an event for one user is what they make of it for each.
func TestUsualRulesAreSharedByUsers(t *testing.T) {
	alice := Compile("@alice:example.org", DefaultRules("@alice:example.org"))
	carol := Compile("@carol:example.org", Read("@carol:example.org", nil))
	changed, err := DefaultRules("@dora:example.org").Enable(KindUnderride, ".m.rule.message", false)
	if err != nil {
		t.Fatal(err)
	}
	dora := Compile("@dora:example.org", changed)
	if !alice.usual || !carol.usual || dora.usual {
		t.Errorf("usual: %v, %v, %v", alice.usual, carol.usual, dora.usual)
	}
	for _, content := range []string{
		`{"body":"hi"}`, `{"body":"hi","m.mentions":{"user_ids":["@alice:example.org"]}}`, `{"body":"hi","m.mentions":{"user_ids":7}}`,
	} {
		s := said(t, "m.room.message", "-", content)
		for _, rules := range []*Rules{carol, alice, dora, alice} {
			got, err := rules.Match(s, aRoom{members: 3})
			want, _ := rules.match(said(t, "m.room.message", "-", content), aRoom{members: 3})
			if err != nil || (got == nil) != (want == nil) || got != nil && (got.Notify != want.Notify || got.Highlight != want.Highlight) {
				t.Errorf("%s of %s: %+v, not %+v, %v", rules.user, content, got, want, err)
			}
		}
	}
}

func BenchmarkDefaultRules(b *testing.B) {
	rules := Compile("@alice:example.org", DefaultRules("@alice:example.org"))
	message := said(b, "m.room.message", "-", `{"body":"hello","msgtype":"m.text"}`)
	b.ReportAllocs()
	for b.Loop() {
		if found, err := rules.Match(message, aRoom{members: 50}); err != nil || !found.Notify {
			b.Fatal(found, err)
		}
	}
}

func TestHistoricalActionsDoNothing(t *testing.T) {
	rules, err := DefaultRules("@alice:example.org").Put(KindRoom, "!room:example.org",
		Change{Actions: json.RawMessage(`["dont_notify","coalesce"]`)}, "", "")
	if err != nil {
		t.Fatal(err)
	}
	found, err := Compile("@alice:example.org", rules).Match(said(t, "m.room.message", "-", `{"body":"hello"}`), aRoom{members: 2})
	if err != nil || found == nil || found.Notify || len(found.Actions) > 0 {
		t.Errorf("%+v, %v", found, err)
	}
}
