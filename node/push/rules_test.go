package push

import (
	"encoding/json"
	"strings"
	"testing"
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
		`{"kind":"event_match","key":"state_key","pattern":""}`,
		`{"kind":"room_member_count","is":"2"}`,
		`"content":[],"room":[],"sender":[]`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the default rules lack %s", want)
		}
	}
	if n := len(DefaultRules("@a:b").Override); n != 10 {
		t.Errorf("%d override rules, not 10", n)
	}
}

func TestKind(t *testing.T) {
	rules := DefaultRules("@alice:example.org")
	if list, ok := rules.Kind("underride"); !ok || len(list) != 5 {
		t.Errorf("underride: %d rules", len(list))
	}
	if _, ok := rules.Kind("nonsense"); ok {
		t.Error("there is no such kind")
	}
}
