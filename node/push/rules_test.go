package push

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"hanse/federation"
)

func TestDefaultRules(t *testing.T) {
	raw, err := json.Marshal(DefaultRules("@alice:example.org"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	for _, want := range []string{
		`{"rule_id":".m.rule.master","default":true,"enabled":false,"conditions":[],"actions":[]}`,
		`{"kind":"event_match","key":"state_key","pattern":"@alice:example.org"}`,
		`{"kind":"event_property_contains","key":"content.m\\.mentions.user_ids","value":"@alice:example.org"}`,
		`{"kind":"event_property_is","key":"content.m\\.mentions.room","value":true}`,
		`{"kind":"event_match","key":"state_key","pattern":""}`,
		`{"kind":"room_member_count","is":"2"}`,
		`"content":[],"room":[],"sender":[]`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the default rules lack %s in %s", want, text)
		}
	}
	want := []string{".m.rule.master", ".m.rule.suppress_notices", ".m.rule.invite_for_me", ".m.rule.member_event",
		".m.rule.is_user_mention", ".m.rule.is_room_mention", ".m.rule.tombstone", ".m.rule.reaction", ".m.rule.room.server_acl",
		".m.rule.suppress_edits"}
	if got := ids(DefaultRules("@a:b").Override); !slices.Equal(got, want) {
		t.Errorf("override: %v", got)
	}
	want = []string{".m.rule.call", ".m.rule.encrypted_room_one_to_one", ".m.rule.room_one_to_one", ".m.rule.message", ".m.rule.encrypted"}
	if got := ids(DefaultRules("@a:b").Underride); !slices.Equal(got, want) {
		t.Errorf("underride: %v", got)
	}
}

func ids(list []Rule) (names []string) {
	for _, rule := range list {
		names = append(names, rule.ID)
	}
	return names
}

func put(t *testing.T, rules Ruleset, kind, ruleID, before, after string) Ruleset {
	t.Helper()
	pattern := "x"
	rules, err := rules.Put(kind, ruleID, Change{Actions: json.RawMessage(`["notify"]`), Pattern: &pattern}, before, after)
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

func TestOrderOfOwnRules(t *testing.T) {
	rules := DefaultRules("@a:b")
	for _, add := range []struct{ id, before, after string }{
		{"one", "", ""}, {"two", "", ""}, {"three", "", "two"}, {"four", "one", ""}, {"five", "two", "one"}, {"three", "two", ""}, {"four", "", ""},
	} {
		rules = put(t, rules, KindOverride, add.id, add.before, add.after)
	}
	if got := ids(rules.Override)[:7]; !slices.Equal(got, []string{".m.rule.master", "five", "three", "two", "four", "one", ".m.rule.suppress_notices"}) {
		t.Errorf("override: %v", got)
	}
	rules = put(t, rules, KindContent, "one", "", "")
	rules = put(t, rules, KindContent, "two", "", "one")
	if got := ids(rules.Content); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("content: %v", got)
	}
	if got := ids(put(t, rules, KindUnderride, "last", "", "").Underride)[0]; got != "last" {
		t.Errorf("underride begins with %v", got)
	}
}

func TestOwnRulesAreKept(t *testing.T) {
	rules := put(t, DefaultRules("@a:b"), KindContent, "cake", "", "")
	change := func(changed Ruleset, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		rules = changed
	}
	change(rules.Enable(KindContent, "cake", false))
	change(rules.Enable(KindOverride, ".m.rule.master", true))
	change(rules.SetActions(KindUnderride, ".m.rule.message", json.RawMessage(`["dont_notify",{"set_tweak":"sound","value":"<&>"}]`)))
	stored, err := rules.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again := Read("@a:b", stored)
	if back, _ := again.Encode(); string(back) != string(stored) {
		t.Errorf("read as %s, stored as %s", back, stored)
	}
	cake, _ := again.Rule(KindContent, "cake")
	master, _ := again.Rule(KindOverride, ".m.rule.master")
	message, _ := again.Rule(KindUnderride, ".m.rule.message")
	if cake.Enabled || cake.Default || !master.Enabled || len(message.Actions) != 2 {
		t.Errorf("%+v, %+v, %+v", cake, master, message)
	}
	if cake = func() Rule { r, _ := put(t, again, KindContent, "cake", "", "").Rule(KindContent, "cake"); return r }(); cake.Enabled {
		t.Error("a changed rule is on again")
	}
	change(rules.Delete(KindContent, "cake"))
	if len(rules.Content) != 0 {
		t.Errorf("content: %v", ids(rules.Content))
	}
	// A default rule that is not stored is there, one that is no more is not.
	old := Read("@a:b", json.RawMessage(`{"global":{"override":[{"rule_id":".m.rule.gone","default":true,"enabled":true,"actions":[]},
		{"rule_id":"mine","default":false,"enabled":true,"conditions":[],"actions":[]}]}}`))
	if got := ids(old.Override); len(got) != 11 || got[1] != "mine" {
		t.Errorf("override: %v", got)
	}
	if got := Read("@a:b", json.RawMessage(`{"global":7}`)); len(got.Override) != 10 {
		t.Errorf("unreadable rules give %v", got)
	}
}

func TestMalformedRulesAreRefused(t *testing.T) {
	text := func(s string) *string { return &s }
	good := json.RawMessage(`["notify"]`)
	for name, c := range map[string]struct {
		kind, id      string
		change        Change
		before, after string
		code          string
	}{
		"kind":            {"device", "x", Change{Actions: good}, "", "", "M_INVALID_PARAM"},
		"dot":             {KindOverride, ".x", Change{Actions: good}, "", "", "M_INVALID_PARAM"},
		"slash":           {KindOverride, "a/b", Change{Actions: good}, "", "", "M_INVALID_PARAM"},
		"backslash":       {KindOverride, `a\b`, Change{Actions: good}, "", "", "M_INVALID_PARAM"},
		"empty ID":        {KindOverride, "", Change{Actions: good}, "", "", "M_INVALID_PARAM"},
		"long ID":         {KindOverride, strings.Repeat("x", 256), Change{Actions: good}, "", "", "M_INVALID_PARAM"},
		"no actions":      {KindOverride, "x", Change{}, "", "", "M_MISSING_PARAM"},
		"no pattern":      {KindContent, "x", Change{Actions: good}, "", "", "M_MISSING_PARAM"},
		"actions":         {KindOverride, "x", Change{Actions: json.RawMessage(`{}`)}, "", "", "M_BAD_JSON"},
		"action":          {KindOverride, "x", Change{Actions: json.RawMessage(`["explode"]`)}, "", "", "M_INVALID_PARAM"},
		"action number":   {KindOverride, "x", Change{Actions: json.RawMessage(`[7]`)}, "", "", "M_INVALID_PARAM"},
		"tweak":           {KindOverride, "x", Change{Actions: json.RawMessage(`[{"set_tweak":7}]`)}, "", "", "M_INVALID_PARAM"},
		"float":           {KindOverride, "x", Change{Actions: json.RawMessage(`[{"set_tweak":"a","value":1.5}]`)}, "", "", "M_BAD_JSON"},
		"conditions":      {KindOverride, "x", Change{good, json.RawMessage(`7`), nil}, "", "", "M_BAD_JSON"},
		"condition":       {KindOverride, "x", Change{good, json.RawMessage(`[7]`), nil}, "", "", "M_INVALID_PARAM"},
		"no kind":         {KindOverride, "x", Change{good, json.RawMessage(`[{}]`), nil}, "", "", "M_INVALID_PARAM"},
		"no key":          {KindOverride, "x", Change{good, json.RawMessage(`[{"kind":"event_match","pattern":"x"}]`), nil}, "", "", "M_INVALID_PARAM"},
		"no glob":         {KindOverride, "x", Change{good, json.RawMessage(`[{"kind":"event_match","key":"x"}]`), nil}, "", "", "M_INVALID_PARAM"},
		"compound":        {KindOverride, "x", Change{good, json.RawMessage(`[{"kind":"event_property_is","key":"x","value":{}}]`), nil}, "", "", "M_INVALID_PARAM"},
		"no value":        {KindOverride, "x", Change{good, json.RawMessage(`[{"kind":"event_property_contains","key":"x"}]`), nil}, "", "", "M_INVALID_PARAM"},
		"count":           {KindOverride, "x", Change{good, json.RawMessage(`[{"kind":"room_member_count","is":"=2"}]`), nil}, "", "", "M_INVALID_PARAM"},
		"no count":        {KindOverride, "x", Change{good, json.RawMessage(`[{"kind":"room_member_count"}]`), nil}, "", "", "M_INVALID_PARAM"},
		"before":          {KindOverride, "x", Change{Actions: good}, "nobody", "", "M_UNKNOWN"},
		"after a default": {KindOverride, "x", Change{Actions: good}, "", ".m.rule.master", "M_UNKNOWN"},
		"large":           {KindContent, "x", Change{good, nil, text(strings.Repeat("x", maxRule+1))}, "", "", "M_TOO_LARGE"},
	} {
		_, err := DefaultRules("@a:b").Put(c.kind, c.id, c.change, c.before, c.after)
		wire, ok := err.(*federation.Error)
		if !ok || wire.Code != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	rules := DefaultRules("@a:b")
	if _, err := rules.Put(KindOverride, "x", Change{good, json.RawMessage(`[{"kind":"org.example.new","anything":[]}]`), nil}, "", ""); err != nil {
		t.Errorf("a condition that is not known here is refused: %v", err)
	}
	if _, err := rules.Delete(KindOverride, ".m.rule.master"); err == nil {
		t.Error("a default rule was deleted")
	}
	for range maxOwnRules {
		rules.Sender = append(rules.Sender, Rule{ID: "@x:y"})
	}
	if _, err := rules.Put(KindOverride, "x", Change{Actions: good}, "", ""); err == nil {
		t.Error("there is no end of rules")
	}
}
