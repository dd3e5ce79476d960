package rooms

import (
	"path/filepath"
	"testing"

	"hanse/node/store"
	"hanse/node/store/sqlite"
)

// TestAnnouncements: what a room is given is announced to the writer, but for what can't share the next transaction, because a
// commit of the room's is on its way.
func TestAnnouncements(t *testing.T) {
	s, err := store.Open(t.Context(), sqlite.OpenUnsynced(filepath.Join(t.TempDir(), "db")), store.Options{ServerName: "hanse.test"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r := New(Config{Self: "hanse.test", Store: s})
	a := newActor(r, "!room:hanse.test")
	a.place = r.quiet.PushBack(a)
	r.actors[a.room] = a
	give := func() {
		t.Helper()
		if err := r.enqueue(a.room, &task{}, 10); err != nil {
			t.Fatal(err)
		}
	}
	check := func(want bool, when string) {
		t.Helper()
		if got := a.announced != nil; got != want {
			t.Errorf("%s: announced is %v", when, got)
		}
	}
	give()
	check(true, "at rest")
	r.setCommitting(a, true)
	check(false, "queued when a commit began")
	give()
	check(false, "while one is on its way")
	r.setCommitting(a, false)
	give()
	check(true, "after it")
	r.close(a)
}
