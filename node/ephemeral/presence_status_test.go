package ephemeral

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hanse/federation/id"
)

// TestAStatusMessageOutlivesAStart: it is stored at a calm rate, and only when it changes.
func TestAStatusMessageOutlivesAStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // of what follows
		stored := map[id.UserID]string{}
		writes, broken := 0, false
		set := func(how func()) {
			mu.Lock()
			defer mu.Unlock()
			how()
		}
		start := func() (e *Ephemeral, stop func()) {
			e = presenceOnly(PresenceBoth)
			e.presence.statusOf = func(context.Context) (map[id.UserID]string, error) {
				mu.Lock()
				defer mu.Unlock()
				return maps.Clone(stored), nil
			}
			e.presence.saveStatusOf = func(_ context.Context, messages map[id.UserID]string) error {
				mu.Lock()
				defer mu.Unlock()
				if writes++; broken {
					return errors.New("disk full")
				}
				maps.Copy(stored, messages)
				return nil
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { defer close(done); e.presence.run(ctx) }()
			return e, func() { cancel(); <-done }
		}
		e, stop := start()
		for n := range 100 {
			e.SetPresence(alice, phone, []string{Online, Unavailable}[n%2], "at sea")
			e.SetPresence(carol, phone, Online, fmt.Sprint(n))
			time.Sleep(statusGap / 50)
		}
		later(statusGap)
		set(func() {
			if writes == 0 || writes > 4 {
				t.Errorf("in 30 s it is written %d times", writes)
			}
			writes = 0
		})
		e.SetPresence(alice, phone, Offline, "at sea")
		later(10 * statusGap)
		set(func() {
			if writes != 0 {
				t.Errorf("what doesn't change is written %d times", writes)
			}
			broken = true
		})
		e.SetPresence(alice, phone, Offline, "at home")
		later(2 * statusGap)
		set(func() { broken = false })
		later(statusGap)
		set(func() {
			if stored[alice] != "at home" {
				t.Errorf("after the store has failed %q is stored", stored[alice])
			}
		})
		e.SetPresence(carol, phone, Online, "the last words")
		stop()

		e, stop = start()
		e.SetPresence(alice, phone, Online, "quick")
		later(statusGap)
		for user, message := range map[id.UserID]string{alice: "quick", carol: "the last words"} {
			if got := e.PresenceOf(user).StatusMsg; got != message {
				t.Errorf("after a start %s says %q", user, got)
			}
		}
		is(t, e, carol, "who hasn't come back", Offline, false)
		stop()
	})
}

// TestTheStatusOfAnAccountThatEnds is forgotten, also where it was about to be stored.
func TestTheStatusOfAnAccountThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := presenceOnly(PresenceBoth)
		stored := map[id.UserID]string{}
		e.presence.saveStatusOf = func(_ context.Context, messages map[id.UserID]string) error {
			maps.Copy(stored, messages)
			return nil
		}
		e.SetPresence(alice, phone, Online, "at sea")
		e.AccountGone(alice)
		e.AccountGone(carol)
		e.presence.saveStatus(t.Context())
		for _, user := range []id.UserID{alice, carol} {
			if message, removed := stored[user]; message != "" || !removed || e.PresenceOf(user).StatusMsg != "" {
				t.Errorf("of %s %q is stored, and %q shown", user, message, e.PresenceOf(user).StatusMsg)
			}
			is(t, e, user, "without an account", Offline, false)
		}
	})
}
