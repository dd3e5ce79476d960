package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"hanse/federation/id"
	"hanse/node/store"
	"hanse/node/store/sqlite"
)

func TestWhatIsAnOutage(t *testing.T) {
	folder := t.TempDir()
	s, err := store.Open(t.Context(), sqlite.Open(folder+"/hanse.db"), store.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, closed := s.Users(t.Context(), id.UserID(""), 1)
	gone, cancel := context.WithTimeout(t.Context(), -time.Second)
	defer cancel()
	_, late := s.Users(gone, id.UserID(""), 1)
	for what, c := range map[string]struct {
		err  error
		want bool
	}{
		"a full disk":             {fmt.Errorf("media: %w", &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}), true},
		"a read-only disk":        {syscall.EROFS, true},
		"a missing file":          {fs.ErrNotExist, false},
		"something else":          {errors.New("something else"), false},
		"a request that is late":  {late, false},
		"a store that was closed": {closed, false},
	} {
		if c.err == nil || outage(c.err) != c.want {
			t.Errorf("%s: outage(%v) is %t", what, c.err, !c.want)
		}
	}
}
