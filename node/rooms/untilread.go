package rooms

import (
	"context"
	"time"
)

// readPause is the first pause between two tries to read what must be known to go on; it doubles up to readPauseMost.
const (
	readPause     = time.Second
	readPauseMost = time.Minute
)

// untilRead reads what work in the background needs, again until the database can be read; what says to an operator what lies
// idle meanwhile. It reports false if ctx ended first.
func (r *Rooms) untilRead(ctx context.Context, what string, read func() error) bool {
	for pause := readPause; ; pause = min(2*pause, readPauseMost) {
		err := read()
		switch {
		case err == nil:
			return true
		case ctx.Err() != nil:
			return false
		}
		r.log.Error(what, "error", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return false
		}
	}
}
