package virtual

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"hanse/testnet/user"
)

// trio is three servers, a user of each, and a room in which they all are.
type trio struct {
	*world
	s                 []*server
	alice, bob, carol *user.User
	room              string
	said              []string // event IDs
}

// inTrio runs a test with a trio.
func inTrio(t *testing.T, test func(*testing.T, *trio)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		x := &trio{world: newWorld(t)}
		x.s = x.servers(3)
		x.alice, x.bob, x.carol = x.s[0].user("alice"), x.s[1].user("bob"), x.s[2].user("carol")
		defer func() { end(x.s, x.alice, x.bob, x.carol) }()
		x.room = must[string](t)(x.alice.CreateRoom(t.Context(), map[string]any{"preset": "public_chat"}))
		must[string](t)(x.bob.Join(t.Context(), x.room, x.s[0].name))
		must[string](t)(x.carol.Join(t.Context(), x.room, x.s[0].name))
		x.say(x.alice, x.bob, x.carol)
		time.Sleep(time.Second)
		x.converged(x.alice, x.bob, x.carol)
		test(t, x)
	})
}

// say has each of the users say something.
func (x *trio) say(users ...*user.User) {
	x.t.Helper()
	for _, u := range users {
		x.said = append(x.said, must[string](x.t)(u.Say(x.t.Context(), x.room, fmt.Sprint("message ", len(x.said)))))
	}
}

// seen are the messages that a user finds in the room, sorted.
func (x *trio) seen(u *user.User) []string {
	x.t.Helper()
	var ids []string
	for _, e := range must[[]user.Event](x.t)(u.History(x.t.Context(), x.room)) {
		if e.Type == "m.room.message" {
			ids = append(ids, e.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// missing are the messages said that a user doesn't find.
func (x *trio) missing(u *user.User) []string {
	x.t.Helper()
	seen := x.seen(u)
	return slices.DeleteFunc(slices.Clone(x.said), func(e string) bool {
		_, found := slices.BinarySearch(seen, e)
		return found
	})
}

// converged fails unless all of the users find the same room: all that was said, and the same state.
func (x *trio) converged(users ...*user.User) {
	x.t.Helper()
	want := slices.Sorted(slices.Values(x.said))
	var state []string
	for i, u := range users {
		if seen := x.seen(u); !slices.Equal(seen, want) {
			x.t.Errorf("%s finds %d messages, not %d; missing: %v", u.ID, len(seen), len(want), x.missing(u))
		}
		var entries []string
		for _, e := range must[[]user.Event](x.t)(u.State(x.t.Context(), x.room)) {
			entries = append(entries, fmt.Sprintf("%s %s %s", e.Type, *e.StateKey, e.ID))
		}
		slices.Sort(entries)
		if i == 0 {
			state = entries
		} else if !slices.Equal(entries, state) {
			x.t.Errorf("%s and %s find different states:\n%v\n%v", users[0].ID, u.ID, state, entries)
		}
	}
}

var year = flag.Bool("year", false, "outages of a year too: some minutes each")

// outages are how long a link or a server is gone.
func outages() []time.Duration {
	all := []time.Duration{time.Hour, 2 * 24 * time.Hour, 365 * 24 * time.Hour}
	if !*year {
		return all[:2]
	}
	return all
}

func TestALinkIsGoneForLong(t *testing.T) {
	for _, outage := range outages() {
		t.Run(outage.String(), func(t *testing.T) {
			inTrio(t, func(t *testing.T, x *trio) {
				before := x.net.Dials(x.s[0].host, x.s[2].host)
				x.net.Cut(x.s[0].host, x.s[2].host)
				x.net.Cut(x.s[1].host, x.s[2].host)
				for range 50 {
					x.say(x.alice, x.bob)
					time.Sleep(outage / 50)
				}
				dials := x.net.Dials(x.s[0].host, x.s[2].host) - before
				t.Logf("%d tries to connect", dials)
				if most := 30 + int(outage/(10*time.Minute)); dials > most {
					t.Errorf("%d tries to reach a server that is gone, more than %d", dials, most)
				}
				x.net.Heal(x.s[0].host, x.s[2].host)
				x.net.Heal(x.s[1].host, x.s[2].host)
				x.say(x.carol) // a request of the server that was away wakes the others' queues
				time.Sleep(10 * time.Second)
				x.converged(x.alice, x.bob, x.carol)
			})
		})
	}
}

func TestALinkComesBackAndNobodySpeaks(t *testing.T) {
	inTrio(t, func(t *testing.T, x *trio) {
		x.net.Cut(x.s[0].host, x.s[2].host)
		x.net.Cut(x.s[1].host, x.s[2].host)
		x.say(x.alice, x.bob)
		time.Sleep(48 * time.Hour)
		x.say(x.alice, x.bob)
		x.net.Heal(x.s[0].host, x.s[2].host)
		x.net.Heal(x.s[1].host, x.s[2].host)
		time.Sleep(2 * time.Hour) // longer than the longest back-off
		x.converged(x.alice, x.bob, x.carol)
	})
}

func TestOurOwnOutage(t *testing.T) {
	for _, outage := range outages() {
		t.Run(outage.String(), func(t *testing.T) {
			inTrio(t, func(t *testing.T, x *trio) {
				x.s[2].stop()
				for range 50 {
					x.say(x.alice, x.bob)
					time.Sleep(outage / 50)
				}
				x.s[2].start()
				time.Sleep(time.Minute) // nobody speaks
				x.converged(x.alice, x.bob, x.carol)
			})
		})
	}
}

func TestYesterdaysBackup(t *testing.T) {
	inTrio(t, func(t *testing.T, x *trio) {
		x.s[0].backUp()
		for range 5 {
			x.say(x.alice, x.bob, x.carol)
			time.Sleep(time.Hour)
		}
		x.s[0].putBack()
		time.Sleep(time.Minute)
		x.converged(x.alice, x.bob, x.carol)
		for range 3 {
			x.say(x.alice, x.carol, x.bob)
		}
		time.Sleep(time.Minute)
		x.converged(x.alice, x.bob, x.carol)
	})
}

func TestASlowServerDelaysNobodyElse(t *testing.T) {
	inTrio(t, func(t *testing.T, x *trio) {
		x.net.Cut(x.s[0].host, x.s[2].host) // so that no connection is open
		x.net.Heal(x.s[0].host, x.s[2].host)
		x.net.Slow(x.s[0].host, x.s[2].host, 3*time.Second)
		for range 20 {
			began := time.Now()
			x.say(x.alice)
			if took := time.Since(began); took > 500*time.Millisecond {
				t.Errorf("a send took %v", took)
			}
			time.Sleep(time.Second)
			if missing := x.missing(x.bob); len(missing) > 0 {
				t.Errorf("a second later bob doesn't see %v", missing)
			}
		}
		time.Sleep(10 * time.Minute)
		x.converged(x.alice, x.bob, x.carol)
	})
}

func TestKeysRunOutWhileTheirServerCantBeReached(t *testing.T) {
	inTrio(t, func(t *testing.T, x *trio) {
		x.net.Cut(x.s[1].host, x.s[2].host)
		time.Sleep(30 * time.Hour) // bob's server can't ask carol's for its keys, which are said to be valid for a day
		must[string](t)(x.carol.SetState(t.Context(), x.room, "m.room.member", x.carol.ID, map[string]string{"membership": "join", "displayname": "C."}))
		x.say(x.carol)
		time.Sleep(time.Minute)
		x.say(x.alice) // stands on what carol said
		time.Sleep(time.Minute)
		x.converged(x.alice, x.bob, x.carol)
	})
}
