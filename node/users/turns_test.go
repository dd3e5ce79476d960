package users

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Who came first is next, until the first have waited for long: then who came last is. Who has waited for too long goes away, and so
// does who gives up; no turn is lost.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := &turns{free: 1}
		if err := turns.take(t.Context()); err != nil {
			t.Fatal(err)
		}
		served := make(chan string, 4)
		wait := func(who string) {
			go func() {
				if err := turns.take(t.Context()); err != nil {
					who += ": " + err.Error()
				}
				served <- who
			}()
			synctest.Wait()
		}
		began := time.Now()
		wait("first")
		wait("second")
		time.Sleep(maxHashWait / 2)
		wait("third")
		turns.give()
		if who := <-served; who != "first" {
			t.Error(who)
		}
		time.Sleep(time.Nanosecond)
		wait("fourth")
		turns.give()
		if who := <-served; who != "fourth" {
			t.Error(who)
		}
		if who := <-served; who != "second: "+errBusy.Error() || time.Since(began) != maxHashWait {
			t.Errorf("%q after %v", who, time.Since(began))
		}
		turns.give()
		if who := <-served; who != "third" {
			t.Error(who)
		}

		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error)
		go func() { gone <- turns.take(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		turns.give()
		if turns.free != 1 || len(turns.waiting) != 0 {
			t.Errorf("%d turns are free, %d wait", turns.free, len(turns.waiting))
		}
	})
}

func TestTurnsAreNotForAnyNumber(t *testing.T) {
	turns := &turns{waiting: make([]waiter, maxHashQueue)}
	if err := turns.take(t.Context()); !errors.Is(err, errBusy) {
		t.Error(err)
	}
}
