package roomstate

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"hanse/federation/id"
)

// opened is m as a store gives it, and what reads it.
func opened(t testing.TB, m Map) (Map, *disk) {
	d := &disk{node: fetch(stored(t, m))}
	lazy, err := Open(m.Hash(), d)
	if err != nil {
		t.Fatal(err)
	}
	return lazy, d
}

// plainly is the plain map of some entries.
func plainly(r interface{ IntN(int) int }, keys int, event func() id.EventID, key func() Key) map[Key]id.EventID {
	plain := map[Key]id.EventID{}
	for range keys {
		plain[key()] = event()
	}
	return plain
}

// A state that is read as it is asked answers each question as one that is in memory, and makes the same states.
func TestReadStateAgainstOneInMemory(t *testing.T) {
	r := random(t)
	for _, keys := range []int{1, 20, 34, 80, 700, 3000} {
		key, event := func() Key { return someKey(r, keys) }, func() id.EventID { return someEvent(r) }
		m, other := build(plainly(r, keys, event, key)), Map{}
		lazy, _ := opened(t, m)
		for range 300 {
			k, e := key(), event()
			if r.IntN(3) > 0 {
				m, lazy = m.With(k.Type, k.StateKey, e), lazy.With(k.Type, k.StateKey, e)
			} else {
				m, lazy = m.Without(k.Type, k.StateKey), lazy.Without(k.Type, k.StateKey)
			}
			if !m.Equal(lazy) || m.Len() != lazy.Len() {
				t.Fatalf("%d keys: another state after %v", keys, k)
			}
			k = key()
			want, _ := m.Get(k.Type, k.StateKey)
			if got, _ := lazy.Get(k.Type, k.StateKey); got != want {
				t.Fatalf("%d keys: %v is %q, not %q", keys, k, got, want)
			}
			if r.IntN(30) > 0 {
				continue
			}
			if !maps.Equal(maps.Collect(lazy.All()), maps.Collect(m.All())) {
				t.Fatal("other entries")
			}
			for _, typ := range []string{"m.room.member", k.Type, "m.room.absent"} {
				if !maps.Equal(maps.Collect(lazy.ByType(typ)), maps.Collect(m.ByType(typ))) {
					t.Fatalf("other entries of type %s", typ)
				}
			}
			again, _ := opened(t, m)
			for _, pair := range [][2]Map{{lazy, other}, {other, lazy}, {again, other}, {lazy, again}, {lazy, Map{}}} {
				whole := func(x Map) Map { return Build(x.All()) }
				want := slices.Collect(whole(pair[0]).Diff(whole(pair[1])))
				if got := slices.Collect(pair[0].Diff(pair[1])); !slices.Equal(got, want) {
					t.Fatalf("the difference is %v, not %v", got, want)
				}
			}
			other, lazy = lazy, again
		}
		for k := range m.All() { // down to nothing
			m, lazy = m.Without(k.Type, k.StateKey), lazy.Without(k.Type, k.StateKey)
			if !m.Equal(lazy) {
				t.Fatalf("%d are left: another state", m.Len())
			}
		}
		if lazy != (Map{}) {
			t.Fatal("the last removal doesn't leave the zero Map")
		}
	}
}

// What is asked of a large state reads what the answer takes, not the state.
func TestReadsAreFew(t *testing.T) {
	m := roomOf(20_000, "a")
	other := m
	for _, user := range []string{"@user7:example.org", "@user77:example.org", "@user777:example.org"} {
		other = other.With("m.room.member", user, "$new")
	}
	nodes := stored(t, m)
	maps.Copy(nodes, stored(t, other))
	d := &disk{node: fetch(nodes)}
	open := func(m Map) Map { return must(Open(m.Hash(), d)) }
	lazy, lazyOther := open(m), open(other)
	for what, c := range map[string]struct {
		most int
		ask  func()
	}{
		"a member":     {6, func() { lazy.Get("m.room.member", "@user3:example.org") }},
		"a topic":      {3, func() { lazy.Get("m.room.topic", "") }},
		"nothing":      {6, func() { lazy.Get("m.room.absent", "") }},
		"a change":     {6, func() { lazy.With("m.room.member", "@user3:example.org", "$x") }},
		"a newcomer":   {12, func() { lazy.With("m.room.member", "@new:example.org", "$x") }},
		"a removal":    {40, func() { lazy.Without("m.room.member", "@user3:example.org") }},
		"a type":       {8, func() { _ = maps.Collect(lazy.ByType("m.room.topic")) }},
		"another type": {8, func() { _ = maps.Collect(lazy.ByType("m.room.absent")) }},
		"a difference": {50, func() { _ = slices.Collect(lazy.Diff(lazyOther)) }},
		"none":         {0, func() { _ = slices.Collect(lazy.Diff(open(m))); d.asked-- }},
	} {
		d.asked = 0
		if c.ask(); d.asked > c.most {
			t.Errorf("%s: %d nodes are read, at most %d should be", what, d.asked, c.most)
		}
	}
	d.asked, d.calls = 0, 0
	if n := len(maps.Collect(lazy.All())); n != m.Len() || !d.large {
		t.Errorf("%d entries; a large walk: %v", n, d.large)
	}
	if most := len(nodes)/batch + 20; d.calls > most {
		t.Errorf("a walk over %d nodes takes %d reads, at most %d should be", d.asked, d.calls, most)
	}
}

// Each read that may fail fails in turn: the answer is that error, and never an entry, a state or a difference that isn't so.
func TestFailedReadsAreErrors(t *testing.T) {
	m := roomOf(900, "a")
	other := m
	for i := range 12 {
		other = other.With("m.room.member", fmt.Sprintf("@user%d:example.org", i), "$new")
	}
	other = other.Without("m.room.topic", "").With("m.room.member", "@new:example.org", "$new")
	nodes := stored(t, m)
	maps.Copy(nodes, stored(t, other))
	failure := errors.New("the disk is gone")
	entries := func(m Map, typ string) (n int, err error) {
		all := m.Entries()
		if typ != "" {
			all = m.OfType(typ)
		}
		for _, err := range all {
			if err != nil {
				return 0, err
			}
			n++
		}
		return n, nil
	}
	hash := func(m Map, err error) (any, error) { return m.Hash(), err }
	for what, ask := range map[string]func(m, other Map) (any, error){
		"a member":     func(m, _ Map) (any, error) { return m.Event("m.room.member", "@user3:example.org") },
		"nothing":      func(m, _ Map) (any, error) { return m.Event("m.room.member", "@absent:example.org") },
		"a change":     func(m, _ Map) (any, error) { return hash(m.Set("m.room.member", "@user3:example.org", "$x")) },
		"a newcomer":   func(m, _ Map) (any, error) { return hash(m.Set("m.room.member", "@newer:example.org", "$x")) },
		"a new type":   func(m, _ Map) (any, error) { return hash(m.Set("org.example", "", "$x")) },
		"a removal":    func(m, _ Map) (any, error) { return hash(m.Remove("m.room.member", "@user3:example.org")) },
		"all":          func(m, _ Map) (any, error) { return entries(m, "") },
		"the members":  func(m, _ Map) (any, error) { return entries(m, "m.room.member") },
		"a type":       func(m, _ Map) (any, error) { return entries(m, "m.room.topic") },
		"another type": func(m, _ Map) (any, error) { return entries(m, "m.room.absent") },
		"a difference": func(m, other Map) (any, error) {
			n := 0
			for _, err := range m.Changes(other) {
				if err != nil {
					return 0, err
				}
				n++
			}
			return n, nil
		},
	} {
		want, err := ask(m, other)
		if err != nil {
			t.Fatal(err)
		}
		for good := 0; ; good++ { // reads until one fails
			left := good
			d := &disk{node: func(h Hash) ([]byte, error) {
				if left--; left < 0 {
					return nil, failure
				}
				return nodes[h], nil
			}}
			open := func(m Map) Map {
				root := must(Decode(m.Hash(), nodes[m.Hash()])).node
				return Map{root, d}
			}
			lazy, lazyOther := open(m), open(other)
			got, err := ask(lazy, lazyOther)
			if err != nil && !errors.Is(err, failure) {
				t.Fatalf("%s: the failure became %v", what, err)
			}
			if err == nil && got != want {
				t.Fatalf("%s: %v with %d good reads, not %v", what, got, good, want)
			}
			if !lazy.Equal(m) {
				t.Fatalf("%s: a failure changed the state", what)
			}
			if err == nil {
				if left < 0 {
					t.Fatalf("%s: a failure went unnoticed", what)
				}
				if good == 0 {
					t.Fatalf("%s reads nothing", what)
				}
				break
			}
		}
	}
}
