package stateres

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
)

// Where servers choose event IDs, auth events can lead back to where they came from. Such events aren't accepted by a server that
// takes auth events first; should they be there all the same, the resolution ends, and is the same for all servers that have them.
func TestAuthEventsInCycles(t *testing.T) {
	r := random(t)
	for _, version := range []roomversion.Version{roomversion.V1, roomversion.V2} {
		rules, _ := roomversion.Lookup(version)
		conflicts := 0
		for range 6 {
			w := newWorld(t, rules)
			w.start()
			w.grow(r, 60)
			for range 20 {
				bend(t, r, w)
			}
			for range 20 {
				conflicts += resolveInCycles(t, r, w)
			}
		}
		if conflicts < 40 {
			t.Errorf("version %s: only %d of the cases were conflicts", version, conflicts)
		}
	}
}

// bend has some state event cite itself, or one that rests on it most likely. (Who cites a message is rejected, cycle or not.)
func bend(t *testing.T, r *rand.Rand, w *world) {
	at := 1 + r.IntN(len(w.order)-1)
	e, later := w.events[w.order[at]], w.order[at+r.IntN(len(w.order)-at)]
	if !e.IsState() || !w.events[later].IsState() {
		return
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(e.JSON(), &fields); err != nil {
		t.Fatal(err)
	}
	var auth []any
	for _, a := range append(slices.Clone(e.AuthEvents()), later) {
		auth = append(auth, []any{a, map[string]string{}})
	}
	fields["auth_events"], _ = json.Marshal(auth)
	text, _ := json.Marshal(fields)
	bent, err := event.Load(w.rules, e.ID(), text)
	if err != nil {
		t.Fatal(err)
	}
	w.events[e.ID()] = bent
}

// resolveInCycles resolves some states in several ways, and returns 1 if there was something to resolve.
func resolveInCycles(t *testing.T, r *rand.Rand, w *world) int {
	var tips []id.EventID
	for range 2 + r.IntN(3) {
		tips = append(tips, w.order[r.IntN(len(w.order))])
	}
	states := w.states(tips)
	if len(distinct(states)) == 1 {
		return 0
	}
	var want roomstate.Map
	for i, src := range []Source{w, w.withCitations(), w, w.withCitations()} {
		r.Shuffle(len(states), func(i, j int) { states[i], states[j] = states[j], states[i] })
		got, err := Resolve(w.rules, states, src)
		switch {
		case err != nil:
			t.Fatal(err)
		case i == 0:
			want = got
		case !got.Equal(want):
			t.Fatalf("resolved to\n%s\n\nand to\n%s", w.describe(want), w.describe(got))
		}
	}
	return 1
}
