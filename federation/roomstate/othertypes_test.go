package roomstate

import (
	"errors"
	"fmt"
	"maps"
	"testing"

	"hanse/federation/id"
)

// otherTypes are the entries that OtherTypes gives, and an error if one comes twice.
func otherTypes(m Map, typ string) (map[Key]id.EventID, error) {
	got := map[Key]id.EventID{}
	for e, err := range m.OtherTypes(typ) {
		if err != nil {
			return nil, err
		}
		if _, twice := got[e.Key]; twice {
			return nil, fmt.Errorf("%v comes twice", e.Key)
		}
		got[e.Key] = e.Event
	}
	return got, nil
}

func TestOtherTypes(t *testing.T) {
	r := random(t)
	for _, keys := range []int{0, 1, 5, 34, 60, 900, 3000} {
		m := build(plainly(r, keys, func() id.EventID { return someEvent(r) }, func() Key { return someKey(r, keys) }))
		types := map[string]bool{"m.room.absent": true, "": true, "m.room.member": true}
		for key := range m.All() {
			types[key.Type] = true
		}
		lazy, _ := opened(t, m)
		for typ := range types {
			want := maps.Collect(m.All())
			maps.DeleteFunc(want, func(key Key, _ id.EventID) bool { return key.Type == typ })
			for _, m := range []Map{m, lazy} {
				got, err := otherTypes(m, typ)
				if err != nil || !maps.Equal(got, want) {
					t.Fatalf("%d keys, all but %q: %d entries, not %d; %v", keys, typ, len(got), len(want), err)
				}
			}
		}
	}
}

// What a room has besides its members takes the same few reads whether they are 100 or 20,000.
func TestOtherTypesReadNoMembers(t *testing.T) {
	for _, members := range []int{100, 20_000} {
		lazy, d := opened(t, roomOf(members, "a"))
		if _, err := otherTypes(lazy, "m.room.member"); err != nil {
			t.Fatal(err)
		}
		if d.asked > 20 || d.calls > 10 {
			t.Errorf("%d members: %d nodes in %d reads", members, d.asked, d.calls)
		}
	}
}

func TestOtherTypesFail(t *testing.T) {
	m := roomOf(900, "a")
	nodes, failure := stored(t, m), errors.New("the disk is gone")
	for good := 0; ; good++ {
		left := good
		lazy := Map{must(Decode(m.Hash(), nodes[m.Hash()])).node, &disk{node: func(h Hash) ([]byte, error) {
			if left--; left < 0 {
				return nil, failure
			}
			return nodes[h], nil
		}}}
		_, err := otherTypes(lazy, "m.room.member")
		if err == nil && left >= 0 && good > 0 {
			return
		}
		if !errors.Is(err, failure) {
			t.Fatalf("with %d good reads the failure became %v", good, err)
		}
	}
}
