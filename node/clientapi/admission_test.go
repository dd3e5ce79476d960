package clientapi

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A lane works on so many at once; the next wait, for a bounded time, and those after them not at all.
func TestLanesBoundWhatIsWorkedOnAndWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLane(1, 1)
		if err := l.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		waited := make(chan error, 1)
		go func() { waited <- l.enter(t.Context()) }()
		synctest.Wait()
		var limited *limitedError
		if err := l.enter(t.Context()); !errors.As(err, &limited) || limited.after != busyRetry {
			t.Errorf("a second one may wait: %v", err)
		}
		started := time.Now()
		if err := <-waited; !errors.As(err, &limited) || time.Since(started) != maxQueueWait {
			t.Errorf("after %v: %v", time.Since(started), err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { waited <- l.enter(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-waited; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		go func() { waited <- l.enter(t.Context()) }()
		synctest.Wait()
		l.leave()
		if err := <-waited; err != nil {
			t.Error(err)
		}
	})
}
