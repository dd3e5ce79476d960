package clientsync

import (
	"database/sql"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"hanse/federation/id"
	"hanse/node/rooms"
)

// stateOf are the types and state keys of a room's state that an answer has, before or in the timeline.
func stateOf(a *Answer, room id.RoomID) []string {
	have := map[string]bool{}
	joined := a.Joined[room]
	if joined == nil {
		return nil
	}
	for _, events := range [][]Decorated{joined.State, joined.Timeline.Events} {
		for _, e := range events {
			if key, is := e.Event.StateKey(); is {
				have[e.Event.Type()+" "+key] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(have))
}

// TestAStateThatCantBeRead: an answer that needs it fails. None comes with a part of it, or with a token beyond what is missing.
func TestAStateThatCantBeRead(t *testing.T) {
	before := newChat(t, 4)
	u := before.users[1]
	since := before.sync(t, Request{User: u, Initial: true}).Next
	for i := range 60 { // so that the state takes several nodes, and the answer is limited
		_, err := before.rooms.Send(t.Context(), rooms.SendRequest{Room: before.room, Sender: before.users[0], Type: fmt.Sprint("test.", i), StateKey: new(string), Content: []byte(`{}`)})
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 30 {
		before.say(t, "hello")
	}
	lazy, err := ParseFilter([]byte(`{"room":{"state":{"lazy_load_members":true}}}`))
	if err != nil {
		t.Fatal(err)
	}
	requests := map[string]Request{
		"from the start":       {User: u, Initial: true},
		"lazily":               {User: u, Initial: true, Filter: lazy},
		"since it was shorter": {User: u, Since: since},
		"lazily since":         {User: u, Since: since, Filter: lazy},
		"with the full state":  {User: u, Since: since, FullState: true},
	}
	want := map[string][]string{}
	for name, r := range requests {
		want[name] = stateOf(before.sync(t, r), before.room)
	}

	path := filepath.Join(t.TempDir(), "hanse.db")
	other, err := sql.Open("sqlite", before.path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	execute := func(db *sql.DB, statement string) {
		t.Helper()
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	execute(other, "VACUUM INTO '"+path+"'")
	c := openChat(t, path) // it remembers nothing
	lost, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer lost.Close()
	execute(lost, "CREATE TABLE lost_nodes AS SELECT hash, node FROM state_nodes")
	execute(lost, "DELETE FROM state_nodes")
	for name, r := range requests {
		for range 2 {
			if answer, err := c.syncer.Sync(t.Context(), r); err == nil {
				t.Errorf("%s: there is an answer, with %d of %d states", name, len(stateOf(answer, before.room)), len(want[name]))
			}
		}
	}
	execute(lost, "INSERT INTO state_nodes (hash, node) SELECT hash, node FROM lost_nodes")
	for name, r := range requests {
		if got := stateOf(c.sync(t, r), before.room); len(want[name]) == 0 || !slices.Equal(got, want[name]) {
			t.Errorf("%s: once it can be read there are %d states, not %d", name, len(got), len(want[name]))
		}
	}
}
