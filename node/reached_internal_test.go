package node

import (
	"os"
	"path/filepath"
	"testing"

	"hanse/node/store"
	"hanse/node/store/sqlite"
)

// TestReached: a database is older than what is noted of it, or nothing is known.
func TestReached(t *testing.T) {
	folder := t.TempDir()
	s, err := store.Open(t.Context(), sqlite.OpenUnsynced(filepath.Join(folder, "db")), store.Options{ServerName: "hanse.test"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // the folder goes with it
	r := newReached(folder, s)
	check := func(want bool, when string) {
		t.Helper()
		if got := r.older(); got != want {
			t.Errorf("%s: older is %v", when, got)
		}
	}
	check(false, "nothing is noted")
	for text, want := range map[string]bool{"": false, "no number": false, "1000000": true, "1000000\n": true} {
		if err := os.WriteFile(r.path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		check(want, text)
	}
	if err := r.write(s.Position()); err != nil {
		t.Fatal(err)
	}
	check(false, "this is noted")
}
