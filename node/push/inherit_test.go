package push

import (
	"encoding/json"
	"testing"

	"hanse/federation/id"
)

// TestAnInheritedRuleKeepsItsName: with each upgrade of a room only the room in it is another.
func TestAnInheritedRuleKeepsItsName(t *testing.T) {
	rooms := []id.RoomID{"!one:a", "!two:a", "!three:a"}
	condition, err := json.Marshal(match("room_id", string(rooms[0])))
	if err != nil {
		t.Fatal(err)
	}
	rules := Ruleset{Override: []Rule{{ID: "mine", Conditions: []json.RawMessage{condition}}}}
	for i, room := range rooms[1:] {
		if rules, err = rules.Inherit(rooms[i], room); err != nil {
			t.Fatal(err)
		}
		if want := "mine." + string(room); index(rules.Override, want) < 0 {
			t.Errorf("no rule %q: %+v", want, rules.Override)
		}
	}
}
