package server

import (
	"testing"
	"testing/synctest"
	"time"

	"hanse/federation/id"
)

// A server's requests wait for each other, not for those of others; who waits too long, or when all places are taken, is refused, and
// nothing of it is left.
func TestLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLane(2, 3)
		for range 2 {
			if !l.enter(t.Context(), "a.example") {
				t.Fatal("no place in an empty lane")
			}
		}
		late := make(chan bool, 1)
		go func() { late <- l.enter(t.Context(), "a.example") }()
		synctest.Wait()
		if !l.enter(t.Context(), "b.example") {
			t.Error("a server waits for another one's requests")
		}
		if l.enter(t.Context(), "c.example") {
			t.Error("more are in the lane than it has places")
		}
		if <-late {
			t.Error("a server has more than its places")
		}
		go func() { late <- l.enter(t.Context(), "a.example") }()
		time.Sleep(lanePatience / 2)
		l.leave("a.example")
		if !<-late {
			t.Error("a place that is free again isn't given to who waits")
		}
		for _, origin := range []id.ServerName{"a.example", "a.example", "b.example"} {
			l.leave(origin)
		}
		if len(l.origins) != 0 || len(l.places) != 0 {
			t.Errorf("%d servers and %d places are counted at the end", len(l.origins), len(l.places))
		}
	})
}
