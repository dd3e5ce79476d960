// Package roomstate is the state of a room as a value: a persistent, immutable map from (type, state_key) to event
// ID. A change makes a new Map that shares all but a few nodes with the old one, so that every event of a room can
// keep its state, two states are compared by walking only what differs, and a store writes each node once.
//
// It is a hash trie over a path of 32 nibbles: 8 of the type's hash, then 24 of the hash of type and state key. A
// type is therefore a subtree, and what belongs to the hundred thousand members of a room is not in the way of the
// rest. The shape depends on the entries alone, never on the order of changes, and each node is known by a hash over
// everything below it: equal hash, equal state. The hashes are SHA-256, so that nobody can choose state keys that
// make the trie deep or two states look alike.
//
// A state that is stored is read node by node as it is asked: see [Open]. What it answers can fail therefore, and a
// failure is an error, never an entry that is absent. A state that was made in memory, by [Build] or from the zero
// Map, never fails.
//
// The package knows nothing of events: it does not check that an ID names an event of that type.
package roomstate

import (
	"iter"
	"math/bits"
	"slices"

	"hanse/federation/id"
)

// Key names one entry of a state.
type Key struct{ Type, StateKey string }

// Entry is one entry of a state.
type Entry struct {
	Key
	Event id.EventID
}

// Map is an immutable state. The zero value is the empty state. Copies are cheap and may be used from several
// goroutines at once.
type Map struct {
	root   *node  // nil: empty. Never a stub
	loader Loader // of its stubs; nil: there are none
}

// Len returns how many entries m has.
func (m Map) Len() int {
	if m.root == nil {
		return 0
	}
	return m.root.size
}

// Hash returns the hash of the whole state: equal for equal states, however they came about. The empty state has the
// zero Hash.
func (m Map) Hash() Hash {
	if m.root == nil {
		return Hash{}
	}
	return m.root.hash
}

// Equal reports whether both states have the same entries. It costs one comparison.
func (m Map) Equal(other Map) bool { return m.Hash() == other.Hash() }

// Event returns the event for (typ, stateKey), "" if there is none. It reads as many nodes as the trie is deep, none
// in a state of up to 32 entries. An error is the loader's, or wraps ErrCorrupt.
func (m Map) Event(typ, stateKey string) (id.EventID, error) {
	if m.root == nil {
		return "", nil
	}
	key := Key{typ, stateKey}
	if m.root.isLeaf() {
		if e := m.root.entry(key); e != nil {
			return e.event, nil
		}
		return "", nil
	}
	return m.at(pathOf(typ, stateKey), key)
}

// at is Event for a key with its path.
func (m Map) at(p path, key Key) (id.EventID, error) {
	n := m.root
	for !n.isLeaf() {
		i, ok := n.slot(p.nibble(int(n.depth)))
		if !ok {
			return "", nil
		}
		var err error
		if n, err = m.child(n, i, p.nibble(int(n.depth))); err != nil {
			return "", err
		}
	}
	for i := range n.entries {
		if e := &n.entries[i]; e.path == p && e.key == key {
			return e.event, nil
		}
	}
	return "", nil
}

// path is the path of a key. In a small state the entry with that key knows it.
func (m Map) path(key Key) path {
	if m.root != nil && m.root.isLeaf() {
		if e := m.root.entry(key); e != nil {
			return e.path
		}
	}
	return pathOf(key.Type, key.StateKey)
}

// way is how a path goes down a trie.
type way struct {
	branches [pathNibbles]*node // from the root on
	count    int                // of branches
	leaf     *node              // nil: the last branch has no child for the path
	sample   path               // of any entry below the last branch: each branch shares its first depth nibbles
}

// wayTo reads the nodes from the root to where a path ends.
func (m Map) wayTo(p *path) (w way, err error) {
	for n := m.root; ; {
		if n.isLeaf() {
			w.leaf, w.sample = n, n.entries[0].path
			return w, nil
		}
		w.branches[w.count] = n
		w.count++
		nibble := p.nibble(int(n.depth))
		i, ok := n.slot(nibble)
		if !ok {
			w.sample, err = m.first(n)
			return w, err
		}
		if n, err = m.child(n, i, nibble); err != nil {
			return w, err
		}
	}
}

// first returns the path of the first entry below n.
func (m Map) first(n *node) (path, error) {
	for !n.isLeaf() {
		child, err := m.child(n, 0, bits.TrailingZeros16(n.bitmap))
		if err != nil {
			return path{}, err
		}
		n = child
	}
	return n.entries[0].path, nil
}

// Set returns m with the entry (typ, stateKey) set to e. It is m itself if that is so already. Errors are as those of Event.
func (m Map) Set(typ, stateKey string, e id.EventID) (Map, error) {
	key := Key{typ, stateKey}
	return m.set(entry{path: m.path(key), key: key, event: e})
}

// set is Set for an entry with its path.
func (m Map) set(added entry) (Map, error) {
	if m.root == nil {
		return Map{root: newLeaf([]entry{added})}, nil
	}
	if m.root.isLeaf() {
		return Map{m.root.leafWith(added), m.loader}, nil
	}
	w, err := m.wayTo(&added.path)
	if err != nil {
		return Map{}, err
	}
	var made *node
	grown := 1 // entries more
	shared := added.path.shared(&w.sample)
	at := 0 // the branch whose place made takes, or that of a child of the one above
	for at < w.count && int(w.branches[at].depth) <= shared {
		at++
	}
	switch {
	case at < w.count: // the path leaves the way above this branch
		made = fork(shared, w.branches[at], &w.sample, newLeaf([]entry{added}))
	case w.leaf == nil:
		made = newLeaf([]entry{added})
	default:
		if made = w.leaf.leafWith(added); made == w.leaf {
			return m, nil
		}
		grown = made.size - w.leaf.size
	}
	for ; at > 0; at-- {
		branch := w.branches[at-1]
		made = branch.branchWith(added.path.nibble(int(branch.depth)), made, branch.size+grown)
	}
	return Map{made, m.loader}, nil
}

// Remove returns m without the entry (typ, stateKey). It is m itself if there is no such entry. Errors are as those of
// Event.
func (m Map) Remove(typ, stateKey string) (Map, error) {
	if m.root == nil {
		return m, nil
	}
	key := Key{typ, stateKey}
	return m.remove(m.path(key), key)
}

// remove is Remove for a key with its path.
func (m Map) remove(p path, key Key) (Map, error) {
	w, err := m.wayTo(&p)
	if err != nil {
		return Map{}, err
	}
	if w.leaf == nil {
		return m, nil
	}
	left := w.leaf.leafWithout(p, key)
	if left == w.leaf {
		return m, nil
	}
	for at := w.count - 1; at >= 0; at-- {
		branch := w.branches[at]
		nibble := p.nibble(int(branch.depth))
		i, _ := branch.slot(nibble)
		switch {
		case branch.size-1 <= leafSize:
			left, err = m.collapse(branch, i, left)
		case left != nil:
			left = branch.branchWith(nibble, left, branch.size-1)
		case len(branch.children) == 2:
			other := bits.TrailingZeros16(branch.bitmap &^ (1 << nibble))
			left, err = m.child(branch, 1-i, other)
		default:
			children := slices.Delete(slices.Clone(branch.children), i, i+1)
			left = newBranch(int(branch.depth), branch.bitmap&^(1<<nibble), children, branch.size-1)
		}
		if err != nil {
			return Map{}, err
		}
	}
	if left == nil {
		return Map{}, nil
	}
	return Map{left, m.loader}, nil
}

// collapse makes the leaf of what is below n when child takes the i-th place.
func (m Map) collapse(n *node, i int, child *node) (*node, error) {
	entries := make([]entry, 0, leafSize)
	for j, c := range n.children {
		if j == i {
			if c = child; c == nil {
				continue
			}
		}
		for e, err := range m.below(c) {
			if err != nil {
				return nil, err
			}
			entries = append(entries, *e)
		}
	}
	return newLeaf(entries), nil
}

// Entries iterates over all entries in the order of the trie: the same for equal states, without meaning otherwise.
// What isn't in memory is read in batches, and of a large state not kept there. An error, which is one of the loader or
// wraps ErrCorrupt, is the last thing that is yielded.
func (m Map) Entries() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for e, err := range m.below(m.root) {
			if err != nil {
				yield(Entry{}, err)
				return
			}
			if !yield(Entry{e.key, e.event}, nil) {
				return
			}
		}
	}
}

// OfType iterates over the entries of one type, as Entries does. It costs what there is of that type, not what the state
// holds.
func (m Map) OfType(typ string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		n, err := m.subtree(pathOf(typ, ""))
		if err != nil {
			yield(Entry{}, err)
			return
		}
		for e, err := range m.below(n) {
			if err != nil {
				yield(Entry{}, err)
				return
			}
			if e.key.Type == typ && !yield(Entry{e.key, e.event}, nil) {
				return
			}
		}
	}
}

// OtherTypes iterates over the entries of all types but one, as Entries does. It reads none of the many of that type; entries of a
// type whose hash begins alike, of which one in 2^32 does, may be left out too.
func (m Map) OtherTypes(typ string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		nodes, size, err := m.beside(pathOf(typ, ""))
		if err != nil {
			yield(Entry{}, err)
			return
		}
		m.over(nodes, size, func(e *entry, err error) bool {
			switch {
			case err != nil:
				return yield(Entry{}, err)
			case e.key.Type == typ:
				return true
			}
			return yield(Entry{e.key, e.event}, nil)
		})
	}
}

// beside returns the nodes, in order, that have all entries but those of a type, given a path of that type, and how many entries these are.
// Some of that type may be among them, if they are few.
func (m Map) beside(p path) (nodes []*node, size int, err error) {
	var after []*node // the last one first
	n, size := m.root, m.Len()
	for n != nil && !n.isLeaf() && int(n.depth) < typeNibbles {
		nibble := p.nibble(int(n.depth))
		i, ok := n.slot(nibble)
		nodes = append(nodes, n.children[:i]...)
		rest := n.children[i:]
		if ok {
			rest = rest[1:]
		}
		for _, child := range slices.Backward(rest) {
			after = append(after, child)
		}
		if !ok {
			n = nil
		} else if n, err = m.child(n, i, nibble); err != nil {
			return nil, 0, err
		}
	}
	if n != nil && !n.isLeaf() {
		sample, err := m.first(n)
		if err != nil {
			return nil, 0, err
		}
		if sample.shared(&p) >= typeNibbles {
			size -= n.size
			n = nil
		}
	}
	if n != nil {
		nodes = append(nodes, n)
	}
	slices.Reverse(after)
	return append(nodes, after...), size, nil
}

// subtree returns the node below which all entries of a type are, given a path of that type. Other types may be below
// it too, if the type has few entries or hashes collide. It is nil if there is no such entry.
func (m Map) subtree(p path) (*node, error) {
	n := m.root
	for n != nil && !n.isLeaf() {
		if int(n.depth) >= typeNibbles {
			sample, err := m.first(n)
			if err != nil || sample.shared(&p) < typeNibbles {
				return nil, err
			}
			return n, nil
		}
		nibble := p.nibble(int(n.depth))
		i, ok := n.slot(nibble)
		if !ok {
			return nil, nil
		}
		var err error
		if n, err = m.child(n, i, nibble); err != nil {
			return nil, err
		}
	}
	return n, nil
}
