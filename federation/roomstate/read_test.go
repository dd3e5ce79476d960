package roomstate

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"maps"
	"slices"
	"testing"

	"hanse/federation/id"
)

// stored returns what a store has of m, and checks that children come before their parents.
func stored(t testing.TB, m Map) map[Hash][]byte {
	nodes := map[Hash][]byte{}
	for h, data := range m.Nodes(func(Hash) bool { return false }) {
		if Hash(sha256.Sum256(data)) != h {
			t.Fatalf("node %v has the encoding of another", h)
		}
		if _, children, err := decode(data); err != nil {
			t.Fatal(err)
		} else {
			for _, child := range children {
				if nodes[child] == nil {
					t.Fatal("a node comes before its child")
				}
			}
		}
		nodes[h] = data
	}
	return nodes
}

func fetch(nodes map[Hash][]byte) func(Hash) ([]byte, error) {
	return func(h Hash) ([]byte, error) { return nodes[h], nil }
}

// read is ReadBatches of single nodes.
func read(root Hash, node func(Hash) ([]byte, error)) (Map, error) {
	return ReadBatches(root, func(hashes []Hash) (map[Hash][]byte, error) {
		found := make(map[Hash][]byte, len(hashes))
		for _, h := range hashes {
			data, err := node(h)
			if err != nil {
				return nil, err
			}
			found[h] = data
		}
		return found, nil
	}, nil)
}

func TestReadWhatWasStored(t *testing.T) {
	r := random(t)
	for _, keys := range []int{0, 1, 8, 9, 100, 2000} {
		plain := map[Key]id.EventID{}
		for range keys {
			plain[someKey(r, keys)] = someEvent(r)
		}
		m := build(plain)
		again, err := read(m.Hash(), fetch(stored(t, m)))
		if err != nil {
			t.Fatal(err)
		}
		sameEntries(t, again, plain)
		for range keys { // it can be worked on
			key, event := someKey(r, keys), someEvent(r)
			plain[key] = event
			again = again.With(key.Type, key.StateKey, event)
			key = someKey(r, keys)
			delete(plain, key)
			again = again.Without(key.Type, key.StateKey)
		}
		sameEntries(t, again, plain)
	}
}

func TestNodesStopsAtTheKnown(t *testing.T) {
	m := roomOf(5000, "a")
	nodes := stored(t, m)
	changed := m.With("m.room.member", "@user3:example.org", "$other")
	fresh := 0
	for h, data := range changed.Nodes(func(h Hash) bool { return nodes[h] != nil }) {
		nodes[h] = data
		fresh++
	}
	if fresh == 0 || fresh > 10 {
		t.Errorf("a change of one entry makes %d new nodes", fresh)
	}
	if again, err := read(changed.Hash(), fetch(nodes)); err != nil || !again.Equal(changed) {
		t.Errorf("reading the changed state: %v", err)
	}
}

func TestReadSharesByCache(t *testing.T) {
	m := roomOf(3000, "a")
	changed := m.With("m.room.topic", "", "$topic")
	nodes := stored(t, m)
	maps.Copy(nodes, stored(t, changed))
	asked := 0
	batches := func(hashes []Hash) (map[Hash][]byte, error) {
		found := map[Hash][]byte{}
		for _, h := range hashes {
			asked++
			found[h] = nodes[h]
		}
		return found, nil
	}
	cache := NewGenerations(10_000)
	first, err := ReadBatches(m.Hash(), batches, cache)
	if err != nil {
		t.Fatal(err)
	}
	all := asked
	second, err := ReadBatches(changed.Hash(), batches, cache)
	if err != nil {
		t.Fatal(err)
	}
	if asked-all > 6 || asked == all {
		t.Errorf("the second state needed %d nodes, the first %d", asked-all, all)
	}
	if got := slices.Collect(first.Diff(second)); len(got) != 1 || got[0].New != "$topic" {
		t.Errorf("Diff = %v", got)
	}
	if !second.Equal(changed) || !maps.Equal(maps.Collect(second.All()), maps.Collect(changed.All())) {
		t.Error("the second state is another")
	}
	if third, err := ReadBatches(m.Hash(), batches, cache); err != nil || third.root != first.root {
		t.Errorf("a cached state was read again: %v", err)
	}
}

func TestGenerationsAreBounded(t *testing.T) {
	cache := NewGenerations(20)
	hash := func(i int) Hash { return Hash{byte(i), byte(i >> 8)} }
	leaf := Node{newLeaf([]entry{{key: Key{"a", ""}, event: "$1"}})}
	for i := range 1000 {
		cache.Add(hash(i), leaf)
		if _, ok := cache.Node(hash(0)); !ok {
			t.Fatal("what is asked for again and again was dropped")
		}
	}
	if size := len(cache.young) + len(cache.old); size > 20 {
		t.Errorf("%d nodes are kept", size)
	}
	if _, ok := cache.Node(hash(500)); ok {
		t.Error("what was not asked for is still there")
	}
}

// Every node of a state in turn is cut, changed or replaced: an error each time, and never another state.
func TestReadRefusesCorruptNodes(t *testing.T) {
	m := roomOf(200, "a")
	good := stored(t, m)
	refused := func(what string, node func(Hash) ([]byte, error)) {
		t.Helper()
		if _, err := read(m.Hash(), node); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", what, err)
		}
	}
	for h, data := range good {
		bad := maps.Clone(good)
		delete(bad, h)
		refused("missing", fetch(bad))
		bad[h] = data[:len(data)-1]
		refused("cut", fetch(bad))
		bad[h] = bytes.Replace(data, data[len(data)-4:], []byte("abcd"), 1)
		refused("changed", fetch(bad))
	}
	failure := errors.New("the disk is gone")
	if _, err := read(m.Hash(), func(Hash) ([]byte, error) { return nil, failure }); !errors.Is(err, failure) {
		t.Errorf("an error of the store became %v", err)
	}
}

// Nodes whose hashes are right, but that are not the shape of any state.
func TestReadRefusesForgedShapes(t *testing.T) {
	nodes := map[Hash][]byte{}
	put := func(n *node) *node {
		n.hash = n.sum()
		nodes[n.hash] = n.encode(nil)
		return n
	}
	var leaves []*node
	real := roomOf(300, "a")
	var collect func(n *node)
	collect = func(n *node) {
		put(n)
		if n.isLeaf() {
			leaves = append(leaves, n)
		}
		for _, child := range n.children {
			collect(child)
		}
	}
	collect(real.root)
	a, b := leaves[0], leaves[len(leaves)-1]
	forged := map[string]*node{
		"children at wrong nibbles": {children: []*node{b, a}, bitmap: real.root.bitmap & 0x8001 & 3, depth: 0, size: a.size + b.size},
		"a child twice":             {children: []*node{a, a}, bitmap: 3, depth: 0, size: 2 * a.size},
		"a size too large":          {children: real.root.children, bitmap: real.root.bitmap, size: real.root.size + 1},
		"a size without end":        {children: real.root.children, bitmap: real.root.bitmap, size: maxEntries + 1},
		"a branch below its depth":  {children: real.root.children, bitmap: real.root.bitmap, size: real.root.size, depth: 9},
		"a depth out of bounds":     {children: real.root.children, bitmap: real.root.bitmap, size: real.root.size, depth: 32},
	}
	forged["children at wrong nibbles"].bitmap = 0b101
	for what, n := range forged {
		put(n)
		if _, err := read(n.hash, fetch(nodes)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", what, err)
		}
	}
	entries := slices.Clone(a.entries)
	slices.Reverse(entries)
	if len(entries) > 1 {
		n := put(&node{entries: entries, size: len(entries)})
		if _, err := read(n.hash, fetch(nodes)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("entries out of order: %v", err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range []Map{roomOf(3, "a"), roomOf(60, "b"), Map{}.With("", "", ""), Map{}.With("a", "b", "$c:d")} {
		for _, data := range m.Nodes(func(Hash) bool { return false }) {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n, children, err := decode(data)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%v is not ErrCorrupt", err)
			}
			return
		}
		for _, h := range children {
			n.children = append(n.children, &node{hash: h})
		}
		if again := n.encode(nil); !bytes.Equal(again, data) {
			t.Fatalf("what parses re-encodes to %x, not %x", again, data)
		}
		_, _ = read(sha256.Sum256(data), func(Hash) ([]byte, error) { return data, nil })
	})
}
