package node

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"hanse/node/store"
)

// reached is a file in the data folder that notes how far the database's positions have come, so that a start tells that the database, and
// it alone, was put back as it was before: what was given out since, as one-time keys, must not be given out again. A file that is missing
// or can't be read tells nothing.
type reached struct {
	path  string
	store *store.Store
}

// notePause is how often it is noted.
const notePause = time.Minute

func newReached(folder string, s *store.Store) *reached {
	return &reached{path: reachedFile(folder), store: s}
}

func reachedFile(folder string) string { return filepath.Join(folder, "position") }

// reachedBefore is the position that the file notes; 0: none.
func reachedBefore(file string) store.Position {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	position, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0
	}
	return store.Position(position)
}

// older tells whether the database had come to the position that is noted, or is an older copy. It tells so until run has noted another: a
// start may end before it has drawn the consequences.
func (r *reached) older() bool { return r.store.Lost(reachedBefore(r.path)) }

// run notes it now and then until ctx ends, and then once more. A note that fails is made with the next one; of a disk that takes none the
// database tells.
func (r *reached) run(ctx context.Context) error {
	ticker := time.NewTicker(notePause)
	defer ticker.Stop()
	var noted store.Position
	note := func() {
		if now := r.store.Position(); now != noted && r.write(now) == nil {
			noted = now
		}
	}
	for note(); ; note() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			note()
			return nil
		}
	}
}

func (r *reached) write(position store.Position) error {
	next := r.path + ".new"
	if err := os.WriteFile(next, strconv.AppendInt(nil, int64(position), 10), 0o600); err != nil {
		return err
	}
	return os.Rename(next, r.path)
}
