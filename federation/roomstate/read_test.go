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
	for made, data := range m.Nodes(func(Hash) bool { return false }) {
		n, err := Decode(made.Hash(), data)
		if err != nil {
			t.Fatal(err)
		}
		if again := made.Alone().node; again.hash != n.node.hash || again.sum() != n.node.sum() {
			t.Fatal("a node alone is another one")
		}
		for _, child := range n.node.children {
			if nodes[child.hash] == nil {
				t.Fatal("a node comes before its child")
			}
		}
		nodes[made.Hash()] = data
	}
	return nodes
}

// disk is a Loader. It counts what it is asked for, and keeps nothing.
type disk struct {
	node  func(Hash) ([]byte, error)
	asked int // nodes
	calls int
	large bool // a walk said that its nodes are many
}

func (d *disk) Node(h Hash) (Node, error) {
	d.calls++
	return d.read(h)
}

func (d *disk) Nodes(hashes []Hash, into []Node, passing bool) (err error) {
	d.calls++
	d.large = passing
	if len(hashes) > batch {
		panic("too many at once")
	}
	for i, h := range hashes {
		if into[i], err = d.read(h); err != nil {
			return err
		}
	}
	return nil
}

func (d *disk) read(h Hash) (Node, error) {
	d.asked++
	data, err := d.node(h)
	if err != nil {
		return Node{}, err
	}
	if data == nil {
		return Node{}, Missing(h)
	}
	return Decode(h, data)
}

func fetch(nodes map[Hash][]byte) func(Hash) ([]byte, error) {
	return func(h Hash) ([]byte, error) { return nodes[h], nil }
}

// read opens a state and looks at each entry of it, by a walk and by its key.
func read(root Hash, node func(Hash) ([]byte, error)) (Map, error) {
	m, err := Open(root, &disk{node: node})
	if err != nil {
		return Map{}, err
	}
	for e, err := range m.Entries() {
		if err != nil {
			return Map{}, err
		}
		found, err := m.Event(e.Type, e.StateKey)
		if err == nil && found != e.Event {
			err = corrupt("%v is %q by a walk and %q by its key", e.Key, e.Event, found)
		}
		if err != nil {
			return Map{}, err
		}
	}
	return m, nil
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
	for n, data := range changed.Nodes(func(h Hash) bool { return nodes[h] != nil }) {
		nodes[n.Hash()] = data
		fresh++
	}
	if fresh == 0 || fresh > 10 {
		t.Errorf("a change of one entry makes %d new nodes", fresh)
	}
	if again, err := read(changed.Hash(), fetch(nodes)); err != nil || !again.Equal(changed) {
		t.Errorf("reading the changed state: %v", err)
	}
	opened, err := Open(m.Hash(), &disk{node: fetch(nodes)})
	if err != nil {
		t.Fatal(err)
	}
	count := 0 // without asking which are stored: what wasn't read is
	for n := range opened.With("m.room.member", "@user3:example.org", "$another").Nodes(func(Hash) bool { return false }) {
		if count++; nodes[n.Hash()] != nil {
			t.Error("a stored node is written again")
		}
	}
	if count != fresh {
		t.Errorf("a change of a state that is read makes %d new nodes, of one in memory %d", count, fresh)
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
	forge := newContent
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
		"children at wrong nibbles": forge(content{children: []*node{b, a}, bitmap: real.root.bitmap & 0x8001 & 3, depth: 0, size: a.size + b.size}),
		"a child twice":             forge(content{children: []*node{a, a}, bitmap: 3, depth: 0, size: 2 * a.size}),
		"a size too large":          forge(content{children: real.root.children, bitmap: real.root.bitmap, size: real.root.size + 1}),
		"a size without end":        forge(content{children: real.root.children, bitmap: real.root.bitmap, size: maxEntries + 1}),
		"a branch below its depth":  forge(content{children: real.root.children, bitmap: real.root.bitmap, size: real.root.size, depth: 9}),
		"a depth out of bounds":     forge(content{children: real.root.children, bitmap: real.root.bitmap, size: real.root.size, depth: 32}),
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
		n := put(forge(content{entries: entries, size: len(entries)}))
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
		n, err := decode(data)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%v is not ErrCorrupt", err)
			}
			return
		}
		if again := n.encode(nil); !bytes.Equal(again, data) {
			t.Fatalf("what parses re-encodes to %x, not %x", again, data)
		}
		_, _ = read(sha256.Sum256(data), func(Hash) ([]byte, error) { return data, nil })
	})
}
