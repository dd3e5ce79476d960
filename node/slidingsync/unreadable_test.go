package slidingsync

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
)

// TestAStateThatCantBeRead: an answer that needs it fails, and the connection stays where it was: all comes once it can be read.
func TestAStateThatCantBeRead(t *testing.T) {
	before := newHouse(t, 3)
	room := before.rooms[0]
	key := ""
	for i := range 60 { // so that the state takes several nodes
		before.do(t, room, fmt.Sprint("test.", i), &key, map[string]any{})
	}
	path := filepath.Join(t.TempDir(), "hanse.db")
	execute := func(file, statement string) {
		t.Helper()
		db, err := sql.Open("sqlite", file)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	execute(before.path, "VACUUM INTO '"+path+"'")
	h := openHouse(t, path) // it remembers nothing
	states := func(a *Answer) int {
		r := a.Rooms[room]
		if r == nil {
			return 0
		}
		return len(r.State) + r.Rest.Len()
	}

	const little, all = `{"lists":{"a":{"ranges":[[0,9]],"timeline_limit":1}}}`, `{"lists":{"a":{"ranges":[[0,9]],"timeline_limit":1,"required_state":[["*","*"]]}}}`
	whole, err := before.Sync(t.Context(), before.request(t, all))
	if err != nil {
		t.Fatal(err)
	}
	begun, err := h.Sync(t.Context(), h.request(t, little))
	if err != nil {
		t.Fatal(err)
	}
	execute(path, "CREATE TABLE lost_nodes AS SELECT hash, node FROM state_nodes")
	execute(path, "DELETE FROM state_nodes")
	more := h.request(t, all)
	more.Pos = begun.Pos
	for range 2 {
		if answer, err := h.Sync(t.Context(), more); err == nil {
			t.Errorf("there is an answer, with %d of %d states", states(answer), states(whole))
		}
	}
	execute(path, "INSERT INTO state_nodes (hash, node) SELECT hash, node FROM lost_nodes")
	answer, err := h.Sync(t.Context(), more)
	if err != nil || states(answer) != states(whole) || states(whole) < 60 {
		t.Errorf("once it can be read there are %d of %d states: %v", states(answer), states(whole), err)
	}
}
