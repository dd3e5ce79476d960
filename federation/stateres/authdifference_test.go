package stateres

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
	"hanse/testnet/wholestate"
)

// tangle makes a graph of auth events that no rule would allow, but that asks all questions: each event cites some of
// the others at random. It returns states of these events.
func tangle(t *testing.T, r *rand.Rand) (*world, []roomstate.Map) {
	rules, _ := roomversion.Lookup(roomversion.V11)
	w := newWorld(t, rules)
	w.start()
	keys, width := 2+r.IntN(12), 1+r.IntN(3)
	for i := range 10 + r.IntN(40) {
		s := step{
			sender: "@alice:a", typ: []string{typeMember, "org.example.x"}[i%2], stateKey: fmt.Sprintf("@u%d:b", r.IntN(keys)),
			after: []id.EventID{w.order[0]}, auth: []id.EventID{}, depth: 1 + r.Int64N(50), // depths are no help
		}
		for range r.IntN(width + 1) {
			s.auth = append(s.auth, w.order[r.IntN(len(w.order))])
		}
		e, err := w.draft(s).Sign(rules, "a", w.key)
		if err != nil {
			t.Fatal(err)
		}
		w.events[e.ID()] = e
		w.order = append(w.order, e.ID())
	}
	common := roomstate.Map{}
	for _, e := range w.order {
		if key, _ := keyOf(w.events[e]); r.IntN(6) == 0 {
			common = wholestate.With(common, key.Type, key.StateKey, e)
		}
	}
	var states []roomstate.Map
	branches := 2 + r.IntN(3)
	if r.IntN(20) == 0 {
		branches = statesAtOnce - 2 + r.IntN(70)
	}
	for range branches {
		state := common
		for range r.IntN(4) {
			e := w.order[r.IntN(len(w.order))]
			if key, _ := keyOf(w.events[e]); r.IntN(4) == 0 {
				state = wholestate.Without(state, key.Type, key.StateKey)
			} else {
				state = wholestate.With(state, key.Type, key.StateKey, e)
			}
		}
		states = append(states, state)
	}
	return w, distinct(states)
}

func TestAuthDifferenceAndSubgraph(t *testing.T) {
	r := random(t)
	for range 600 {
		w, states := tangle(t, r)
		if len(states) < 2 {
			continue
		}
		s := slow{w, w.events}
		var plains []plain
		for _, state := range states {
			plains = append(plains, maps.Collect(wholestate.All(state)))
		}
		difference := s.authDifference(plains)
		partly := w.withCitations()
		partly.unknown = r.IntN(len(w.order))
		for name, src := range map[string]Source{"plain": w, "citations": w.withCitations(), "some citations": partly} {
			run, err := newResolution(w.rules, states, src)
			if err != nil {
				t.Fatal(err)
			}
			conflicted := setOf(run.pool, run.conflict.conflicted())
			if err := run.pool.grow(run.conflict.conflicted()); err != nil {
				t.Fatal(err)
			}
			subgraph := setOf(run.pool, run.conflictedSubgraph())
			if want := s.conflictedSubgraph(conflicted); !maps.Equal(subgraph, want) {
				t.Fatalf("subgraph of %d events, want %d", len(subgraph), len(want))
			}
			list, err := run.authDifference()
			if err != nil {
				t.Fatal(err)
			}
			got := setOf(run.pool, list)
			maps.Copy(got, conflicted)
			want := maps.Clone(conflicted)
			maps.Copy(want, difference)
			if !maps.Equal(got, want) {
				t.Fatalf("source %s: full conflicted set of %d events, want %d", name, len(got), len(want))
			}
		}
	}
}

func setOf(p *pool, list []int) map[id.EventID]bool {
	set := map[id.EventID]bool{}
	for _, v := range list {
		set[p.vertices[v].id] = true
	}
	return set
}
