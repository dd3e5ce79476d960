package federation

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestHierarchyIsReadTolerantly(t *testing.T) {
	var got HierarchyResponse
	text := `{"room":{"room_id":"!a:x","room_type":"m.space","canonical_alias":"nonsense","encryption":7,"num_joined_members":1,"world_readable":false,
		"guest_can_join":false,"allowed_room_ids":["!b:x","nonsense"],"children_state":[
		{"type":"m.space.child","state_key":"!c:x","content":{"via":["x"]},"sender":"@a:x","origin_server_ts":1},
		{"type":"m.room.name","state_key":"","content":{},"sender":"@a:x","origin_server_ts":1}, 7]},
		"children":[{"room_id":"!c:x"},{"room_id":"nonsense"},{}],"inaccessible_children":["!d:x",""]}`
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Room.ChildrenState) != 1 || got.Room.CanonicalAlias != "" || len(got.Room.AllowedRoomIDs) != 1 ||
		len(got.Children) != 1 || len(got.InaccessibleChildren) != 1 {
		t.Errorf("%+v", got)
	}
	for _, bad := range []string{`{}`, `{"room":{}}`, `{"room":{"room_id":7}}`, `[]`, `{"room":{"room_id":"!a:x"},"children":7}`} {
		if err := json.Unmarshal([]byte(bad), &got); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func TestHierarchyIsBounded(t *testing.T) {
	var events, children []string
	for i := range 3 * MaxSpaceChildren {
		events = append(events, fmt.Sprintf(`{"type":"m.space.child","state_key":"!%d:x","content":{"via":["x"]},"sender":"@a:x","origin_server_ts":1}`, i))
		children = append(children, fmt.Sprintf(`{"room_id":"!%d:x"}`, i))
	}
	text := fmt.Sprintf(`{"room":{"room_id":"!a:x","children_state":[%s]},"children":[%s],"inaccessible_children":[]}`,
		strings.Join(events, ","), strings.Join(children, ","))
	var got HierarchyResponse
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Room.ChildrenState) != MaxSpaceChildren || len(got.Children) != MaxSpaceChildren {
		t.Errorf("%d child events, %d children", len(got.Room.ChildrenState), len(got.Children))
	}
}

func FuzzHierarchy(f *testing.F) {
	f.Add([]byte(`{"room":{"room_id":"!a:x","children_state":[]},"children":[{"room_id":"!c:x"}],"inaccessible_children":["!d:x"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var first, again HierarchyResponse
		if json.Unmarshal(data, &first) != nil {
			return
		}
		raw, err := json.Marshal(first)
		if err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if err := json.Unmarshal(raw, &again); err != nil || again.Room.RoomID != first.Room.RoomID || len(again.Children) != len(first.Children) {
			t.Errorf("%s becomes %s: %v", data, raw, err)
		}
	})
}
