package stateres

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
)

// Whoever may set state can fork a room as often as they like, each time with a state of its own. The memory of a resolution is by the
// number of the branches, not by its square.
func TestManyBranchesTakeMemoryByTheirNumber(t *testing.T) {
	for _, version := range []roomversion.Version{roomversion.V1, roomversion.V11, roomversion.V12} {
		rules, _ := roomversion.Lookup(version)
		w := newWorld(t, rules)
		fork := w.crowd(10)
		var tips []id.EventID
		for i := range 800 {
			tips = append(tips, w.branch(fork, step{sender: "@alice:a", typ: "org.example.x", stateKey: fmt.Sprint(i)}))
		}
		states, src := w.states(tips), w.withCitations()
		few, many := allocated(t, w, states[:200], src), allocated(t, w, states, src)
		t.Logf("version %s: %d bytes for 200 branches, %d for 800", version, few, many)
		if many > 6*few {
			t.Errorf("version %s: four times the branches take %.1f times the memory", version, float64(many)/float64(few))
		}
	}
}

// allocated is how much memory the resolution of some states takes in all, in bytes.
func allocated(t *testing.T, w *world, states []roomstate.Map, src Source) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	resolved, err := Resolve(w.rules, states, src)
	runtime.ReadMemStats(&after)
	if err != nil || resolved.Len() != states[0].Len()-1+len(states) {
		t.Fatalf("%d events in the resolution, %v", resolved.Len(), err)
	}
	return after.TotalAlloc - before.TotalAlloc
}

// Who changes their name again and again, each time with as much as an event may hold, makes an auth chain of it. Not all of that is in memory
// at once, and the result is the same.
func TestLargeAuthChainsAreNotKeptInMemory(t *testing.T) {
	for _, version := range []roomversion.Version{roomversion.V11, roomversion.V12} {
		rules, _ := roomversion.Lookup(version)
		w := newWorld(t, rules)
		fork := w.crowd(10)
		tip, large := fork, map[string]any{"membership": "join", "displayname": strings.Repeat("x", 60_000)}
		size := 0
		for range 2 * keptWhole / 60_000 {
			tip = w.branch(tip, step{sender: "@alice:a", typ: typeMember, stateKey: "@alice:a", content: large})
			size += w.events[tip].Size()
		}
		other := w.branch(fork, step{sender: "@alice:a", typ: typeMember, stateKey: "@alice:a", content: map[string]any{"membership": "join"}})
		r, err := newResolution(rules, w.states([]id.EventID{tip, other}), w)
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.resolve()
		if err != nil {
			t.Fatal(err)
		}
		whole := r.pool.held
		for _, v := range r.pool.vertices {
			if v.event != nil {
				whole += len(v.event.JSON())
			}
		}
		if whole > 2*keptWhole || r.pool.walked < 2*keptWhole/60_000 {
			t.Errorf("version %s: %d of %d bytes are in memory, of %d events", version, whole, size, r.pool.walked)
		}
		r, _ = newResolution(rules, w.states([]id.EventID{tip, other}), w)
		r.pool.keep = 2 * size
		if want, err := r.resolve(); err != nil || !got.Equal(want) {
			t.Errorf("version %s: resolved to\n%s\n\nwant\n%s\n%v", version, w.describe(got), w.describe(want), err)
		}
	}
}

// A room whose auth chains are longer than the bound is resolved all the same, alike whatever the order of its states.
func TestWhatIsBeyondTheBoundIsNotThere(t *testing.T) {
	for _, version := range []roomversion.Version{roomversion.V11, roomversion.V12} {
		rules, _ := roomversion.Lookup(version)
		w := newWorld(t, rules)
		fork := powerFork(w, w.crowd(10))
		want, err := Resolve(rules, fork, w)
		if err != nil {
			t.Fatal(err)
		}
		for bound := range len(w.order) {
			var first roomstate.Map
			for i, states := range [][]roomstate.Map{fork, {fork[1], fork[0]}} {
				r, err := newResolution(rules, states, w)
				if err != nil {
					t.Fatal(err)
				}
				r.pool.bound = bound
				got, err := r.resolve()
				if err != nil {
					t.Fatalf("version %s, bound %d: %v", version, bound, err)
				}
				if i == 0 {
					first = got
				} else if got.Hash() != first.Hash() {
					t.Errorf("version %s, bound %d: the order of the states matters", version, bound)
				}
			}
			if bound == len(w.order)-1 && first.Hash() != want.Hash() {
				t.Errorf("version %s: another result within the bound", version)
			}
		}
	}
}
