package roomstate

import (
	"encoding/base64"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"hanse/federation/id"
)

var seedFlag = flag.Uint64("seed", 1, "of the property tests; 0: by the clock, so that no change is refused for what it didn't do")

// random returns a generator and prints its seed, with which a failure can be repeated.
func random(t testing.TB) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// someKey returns one of count keys: most are members, as in a room.
func someKey(r *rand.Rand, count int) Key {
	switch n := r.IntN(count); {
	case n%5 > 0:
		return Key{"m.room.member", fmt.Sprintf("@user%d:server%d.example.org", n, n%7)}
	case n%2 == 0:
		return Key{fmt.Sprintf("org.example.type%d", n), ""}
	default:
		return Key{"org.example.widget", fmt.Sprint(n)}
	}
}

func someEvent(r *rand.Rand) id.EventID {
	if r.IntN(4) == 0 {
		return id.EventID(fmt.Sprintf("$%d:example.org", r.IntN(3)))
	}
	var hash [32]byte
	for i := range hash {
		hash[i] = byte(r.IntN(3))
	}
	return id.EventID("$" + base64.RawURLEncoding.EncodeToString(hash[:]))
}

func build(plain map[Key]id.EventID) Map { return Build(maps.All(plain)) }

// sameEntries fails the test if m is not the plain map, or not in its canonical shape.
func sameEntries(t *testing.T, m Map, plain map[Key]id.EventID) {
	t.Helper()
	if m.Len() != len(plain) {
		t.Fatalf("Len() = %d, want %d", m.Len(), len(plain))
	}
	if got := maps.Collect(m.All()); !maps.Equal(got, plain) {
		t.Fatalf("All() = %v, want %v", got, plain)
	}
	for key, event := range plain {
		if got, ok := m.Get(key.Type, key.StateKey); !ok || got != event {
			t.Fatalf("Get(%v) = %q %v, want %q", key, got, ok, event)
		}
	}
	if built := build(plain); !m.Equal(built) {
		t.Fatalf("the same %d entries have the hashes %v and %v", len(plain), m.Hash(), built.Hash())
	}
}

func TestMapAgainstPlainMap(t *testing.T) {
	r := random(t)
	for _, keys := range []int{3, 10, 40, 400} {
		plain, m := map[Key]id.EventID{}, Map{}
		for range 12 * keys {
			key, event := someKey(r, keys), someEvent(r)
			before, hash := m, m.Hash()
			if r.IntN(5) < 3 {
				plain[key] = event
				m = m.With(key.Type, key.StateKey, event)
			} else {
				delete(plain, key)
				m = m.Without(key.Type, key.StateKey)
			}
			if before.Hash() != hash || before.root != nil && before.root.sum() != hash {
				t.Fatal("a change changed the old state")
			}
			if m.Len() < 30 || r.IntN(20) == 0 {
				sameEntries(t, m, plain)
			}
		}
		for key := range plain { // down to nothing
			m = m.Without(key.Type, key.StateKey)
			delete(plain, key)
			if len(plain) < 30 || r.IntN(20) == 0 {
				sameEntries(t, m, plain)
			}
		}
		if m != (Map{}) || m.Hash() != (Hash{}) {
			t.Fatal("the last removal doesn't leave the zero Map")
		}
	}
}

func TestWithKeepsWhatIsSo(t *testing.T) {
	m := Map{}.With("a", "", "$1").With("b", "", "$2")
	if m.With("a", "", "$1") != m || m.Without("c", "") != m {
		t.Error("a change that changes nothing made a new state")
	}
	if _, ok := m.Get("a", "x"); ok {
		t.Error("Get found an entry under another state key")
	}
	if _, ok := m.Get("", ""); ok {
		t.Error("Get found the empty key")
	}
}

func TestBuildTakesTheLast(t *testing.T) {
	m := Build(func(yield func(Key, id.EventID) bool) {
		_ = yield(Key{"a", ""}, "$1") && yield(Key{"b", ""}, "$2") && yield(Key{"a", ""}, "$3")
	})
	sameEntries(t, m, map[Key]id.EventID{{"a", ""}: "$3", {"b", ""}: "$2"})
	if Build(maps.All(map[Key]id.EventID{})) != (Map{}) {
		t.Error("Build of nothing is not the zero Map")
	}
}

// Keys that share a path, or most of it, stay apart and keep the shape canonical. Nobody can find such keys; the test
// invents their paths.
func TestCollidingPaths(t *testing.T) {
	r := random(t)
	var entries []entry
	for i := range 90 {
		e := entry{key: Key{"t", fmt.Sprint(i)}, event: "$x"}
		e.path[15] = byte(i % 2) // two paths that part at the last nibble, 45 keys each
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b entry) int { return a.path.compare(a.key, &b) })
	want := newNode(entries)
	if len(want.children) != 2 || want.children[0].size != 45 {
		t.Fatalf("a branch with two leaves was expected, got %d entries, %d children", want.size, len(want.children))
	}
	r.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
	n := newLeaf(entries[:1:1])
	for _, e := range entries[1:] {
		n = must(Map{root: n}.set(e)).root
	}
	if n.hash != want.hash {
		t.Error("insertion one by one gives another shape")
	}
	for i, e := range entries {
		if got, err := (Map{root: n}).at(e.path, e.key); err != nil || got != "$x" {
			t.Errorf("entry %d is not found", i)
		}
	}
	for len(entries) > 1 {
		n = must(Map{root: n}.remove(entries[0].path, entries[0].key)).root
		entries = entries[1:]
		rest := slices.Clone(entries)
		slices.SortFunc(rest, func(a, b entry) int { return a.path.compare(a.key, &b) })
		if n.hash != newNode(rest).hash {
			t.Fatalf("removal down to %d gives another shape", len(rest))
		}
	}
}

func TestByType(t *testing.T) {
	r := random(t)
	for _, keys := range []int{5, 60, 900} {
		plain := map[Key]id.EventID{}
		for range keys {
			plain[someKey(r, keys)] = someEvent(r)
		}
		m := build(plain)
		types := map[string]map[string]id.EventID{"m.room.absent": {}, "": {}}
		for key, event := range plain {
			if types[key.Type] == nil {
				types[key.Type] = map[string]id.EventID{}
			}
			types[key.Type][key.StateKey] = event
		}
		for typ, want := range types {
			if got := maps.Collect(m.ByType(typ)); !maps.Equal(got, want) {
				t.Errorf("ByType(%q) = %v, want %v", typ, got, want)
			}
		}
	}
	if got := maps.Collect((Map{}).ByType("a")); len(got) != 0 {
		t.Errorf("ByType of the empty state = %v", got)
	}
}

func TestIterationStops(t *testing.T) {
	m, other := roomOf(100, "a"), roomOf(150, "b")
	count := 0
	for range m.All() {
		if count++; count == 3 {
			break
		}
	}
	for range m.ByType("m.room.member") {
		if count++; count == 6 {
			break
		}
	}
	for range m.Diff(other) {
		if count++; count == 9 {
			break
		}
	}
	for range m.Nodes(func(Hash) bool { return false }) {
		if count++; count == 12 {
			break
		}
	}
	if count != 12 {
		t.Errorf("%d steps, want 12", count)
	}
}
