package store

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// TestAnnouncedWritesShareATransaction: a group waits for what is announced, no longer than the last transaction took.
func TestAnnouncedWritesShareATransaction(t *testing.T) {
	const took = 4 * time.Millisecond
	for name, test := range map[string]struct {
		announced int
		later     func(c *committer, done func()) // a millisecond later
		group     int
		waited    time.Duration
	}{
		"nothing is announced": {group: 1},
		"one comes": {
			announced: 1, group: 2, waited: time.Millisecond,
			later: func(c *committer, done func()) { c.queue <- &operation{}; done() },
		},
		"one is taken back": {
			announced: 1, group: 1, waited: time.Millisecond,
			later: func(_ *committer, done func()) { done() },
		},
		"one of two comes": {
			announced: 2, group: 2, waited: took,
			later: func(c *committer, done func()) { c.queue <- &operation{}; done() },
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCommitter(Dialect{}, slog.New(slog.DiscardHandler), nil)
				c.took = took
				var done func()
				for range test.announced {
					done = c.announce()
				}
				if test.later != nil {
					go func() {
						time.Sleep(time.Millisecond)
						test.later(c, done)
					}()
				}
				began := time.Now()
				group := c.await([]*operation{{}})
				if waited := time.Since(began); len(group) != test.group || waited != test.waited {
					t.Errorf("a group of %d after %s, want %d after %s", len(group), waited, test.group, test.waited)
				}
			})
		})
	}
}
