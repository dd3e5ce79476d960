package rooms

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// TestWorkInTheBackgroundOutlivesAnOutage: what a database didn't tell is asked again, until it does or the server stops.
func TestWorkInTheBackgroundOutlivesAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &Rooms{log: slog.New(slog.DiscardHandler)}
		back := time.Now().Add(10 * time.Minute)
		read := func() error {
			if time.Now().Before(back) {
				return errors.New("no connection")
			}
			return nil
		}
		if !r.untilRead(t.Context(), "can't read", read) || time.Since(back) > readPauseMost {
			t.Errorf("read %s after the database was back", time.Since(back))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if r.untilRead(ctx, "can't read", func() error { return errors.New("never") }) {
			t.Error("what was never read was read")
		}
	})
}
