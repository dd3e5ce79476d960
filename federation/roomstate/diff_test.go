package roomstate

import (
	"maps"
	"testing"

	"hanse/federation/id"
)

func TestDiffAgainstPlainMap(t *testing.T) {
	r := random(t)
	for _, keys := range []int{4, 12, 60, 600} {
		for range 40 {
			a := map[Key]id.EventID{}
			for range r.IntN(keys + 1) {
				a[someKey(r, keys)] = someEvent(r)
			}
			b := maps.Clone(a)
			for range r.IntN(keys + 1) {
				if key := someKey(r, keys); r.IntN(2) == 0 {
					delete(b, key)
				} else {
					b[key] = someEvent(r)
				}
			}
			if r.IntN(8) == 0 { // two states with nothing in common
				clear(b)
				b[Key{"org.example.alone", ""}] = "$1"
			}
			want := map[Key]Change{}
			for key, old := range a {
				if b[key] != old {
					want[key] = Change{key, old, b[key]}
				}
			}
			for key, new := range b {
				if a[key] == "" {
					want[key] = Change{Key: key, New: new}
				}
			}
			got := map[Key]Change{}
			for c := range build(a).Diff(build(b)) {
				if _, again := got[c.Key]; again {
					t.Fatalf("%v is reported twice", c.Key)
				}
				got[c.Key] = c
			}
			if !maps.Equal(got, want) {
				t.Fatalf("Diff of %d and %d entries = %v, want %v", len(a), len(b), got, want)
			}
		}
	}
}

// A difference costs the same in a large room as in a small one: what is equal is not walked.
func TestDiffSkipsWhatIsEqual(t *testing.T) {
	m := roomOf(20_000, "a")
	other := m.With("m.room.member", "@user77:example.org", "$new").With("m.room.topic", "", "$topic")
	visited := testing.AllocsPerRun(10, func() {
		for range m.Diff(other) {
		}
	})
	if visited > 100 {
		t.Errorf("a difference of two entries needs %v allocations", visited)
	}
	shared, nodes := 0, map[Hash]bool{}
	for n := range m.Nodes(func(Hash) bool { return false }) {
		nodes[n.Hash()] = true
	}
	for range other.Nodes(func(h Hash) bool { return nodes[h] }) {
		shared++
	}
	if shared > 20 {
		t.Errorf("a change of two entries makes %d new nodes", shared)
	}
}
