package roomstate

import (
	"math/bits"
	"slices"

	"hanse/federation/id"
)

// entry is one entry of a state with its path, which is computed once.
type entry struct {
	path  path
	key   Key
	event id.EventID
}

// node is a leaf or a branch. Nodes are never nil inside a branch and never change once they are made.
//
// The shape is canonical. Entries that are at most leafSize, or that all share one path, are a leaf, in the order of
// (path, key). All others are a branch at the first nibble in which their paths differ, with a child for each value
// that occurs there: two at least.
type node struct {
	hash     Hash
	entries  []entry // of a leaf
	children []*node // of a branch, in the order of their nibbles
	sample   path    // of a branch: the path of any entry below; its first depth nibbles are those of all
	size     int     // entries below
	bitmap   uint16  // of a branch: which nibbles have a child
	depth    uint8   // of a branch: the nibble that tells its children apart
}

func newLeaf(entries []entry) *node {
	n := &node{entries: entries, size: len(entries)}
	n.hash = n.sum()
	return n
}

func newBranch(depth int, bitmap uint16, children []*node) *node {
	n := &node{children: children, bitmap: bitmap, depth: uint8(depth), sample: *children[0].first()}
	for _, child := range children {
		n.size += child.size
	}
	n.hash = n.sum()
	return n
}

// newNode makes the canonical node of entries, which are not empty, in order, and without duplicate keys. The node
// keeps no reference to the slice.
func newNode(entries []entry) *node {
	depth := entries[0].path.shared(&entries[len(entries)-1].path)
	if len(entries) <= leafSize || depth == pathNibbles {
		return newLeaf(slices.Clone(entries))
	}
	var bitmap uint16
	children := make([]*node, 0, 16)
	for len(entries) > 0 {
		nibble := entries[0].path.nibble(depth)
		end := 1
		for end < len(entries) && entries[end].path.nibble(depth) == nibble {
			end++
		}
		bitmap |= 1 << nibble
		children = append(children, newNode(entries[:end]))
		entries = entries[end:]
	}
	return newBranch(depth, bitmap, slices.Clip(children))
}

// isLeaf reports whether n holds entries itself.
func (n *node) isLeaf() bool { return n.children == nil }

// first returns the path of one of n's entries.
func (n *node) first() *path {
	if n.isLeaf() {
		return &n.entries[0].path
	}
	return &n.sample
}

// slot returns where the child for a nibble is in children, or would be, and whether there is one.
func (n *node) slot(nibble int) (int, bool) {
	bit := uint16(1) << nibble
	return bits.OnesCount16(n.bitmap & (bit - 1)), n.bitmap&bit != 0
}

// find returns where the key is in a leaf, or would be, and whether it is there.
func (n *node) find(p *path, key Key) (int, bool) {
	for i := range n.entries {
		if c := p.compare(key, &n.entries[i]); c <= 0 {
			return i, c == 0
		}
	}
	return len(n.entries), false
}

// entry returns the entry of a leaf that has the key, nil if none has. It needs no path: to compare a leaf's keys takes less than to hash one.
func (n *node) entry(key Key) *entry {
	for i := range n.entries {
		if e := &n.entries[i]; e.key.StateKey == key.StateKey && e.key.Type == key.Type {
			return e
		}
	}
	return nil
}

func (n *node) get(p path, key Key) (id.EventID, bool) {
	for !n.isLeaf() {
		i, ok := n.slot(p.nibble(int(n.depth)))
		if !ok {
			return "", false
		}
		n = n.children[i]
	}
	for i := range n.entries {
		if e := &n.entries[i]; e.path == p && e.key == key {
			return e.event, true
		}
	}
	return "", false
}

// with returns n with e added, or put in the place of the entry with its key.
func (n *node) with(e entry) *node {
	if n.isLeaf() {
		return n.leafWith(e)
	}
	if depth := e.path.shared(&n.sample); depth < int(n.depth) { // e leaves the way above this branch
		return fork(depth, n, newLeaf([]entry{e}))
	}
	nibble := e.path.nibble(int(n.depth))
	i, ok := n.slot(nibble)
	if !ok {
		children := slices.Insert(slices.Clone(n.children), i, newLeaf([]entry{e}))
		return newBranch(int(n.depth), n.bitmap|1<<nibble, children)
	}
	child := n.children[i].with(e)
	if child == n.children[i] {
		return n
	}
	children := slices.Clone(n.children)
	children[i] = child
	return newBranch(int(n.depth), n.bitmap, children)
}

func (n *node) leafWith(e entry) *node {
	i, ok := n.find(&e.path, e.key)
	if ok {
		if n.entries[i].event == e.event {
			return n
		}
		entries := slices.Clone(n.entries)
		entries[i].event = e.event
		return newLeaf(entries)
	}
	entries := make([]entry, 0, len(n.entries)+1)
	entries = append(append(append(entries, n.entries[:i]...), e), n.entries[i:]...)
	if len(entries) <= leafSize {
		return newLeaf(entries)
	}
	return newNode(entries)
}

// fork makes the branch of two nodes whose paths part at depth.
func fork(depth int, a, b *node) *node {
	x, y := a.first().nibble(depth), b.first().nibble(depth)
	if x > y {
		a, b = b, a
	}
	return newBranch(depth, 1<<x|1<<y, []*node{a, b})
}

// without returns n without the key: n itself if it is not there, nil if nothing is left.
func (n *node) without(p path, key Key) *node {
	if n.isLeaf() {
		i, ok := n.find(&p, key)
		switch {
		case !ok:
			return n
		case n.size == 1:
			return nil
		case n.size > leafSize+1:
			return newNode(slices.Delete(slices.Clone(n.entries), i, i+1))
		}
		entries := make([]entry, 0, len(n.entries)-1)
		return newLeaf(append(append(entries, n.entries[:i]...), n.entries[i+1:]...))
	}
	nibble := p.nibble(int(n.depth))
	i, ok := n.slot(nibble)
	if !ok {
		return n
	}
	child := n.children[i].without(p, key)
	switch {
	case child == n.children[i]:
		return n
	case n.size-1 <= leafSize:
		return n.collapse(i, child)
	case child == nil && len(n.children) == 2:
		return n.children[1-i]
	case child == nil:
		return newBranch(int(n.depth), n.bitmap&^(1<<nibble), slices.Delete(slices.Clone(n.children), i, i+1))
	}
	children := slices.Clone(n.children)
	children[i] = child
	return newBranch(int(n.depth), n.bitmap, children)
}

// collapse makes the leaf of what is below n when child takes the i-th place.
func (n *node) collapse(i int, child *node) *node {
	entries := make([]entry, 0, leafSize)
	gather := func(e *entry) bool { entries = append(entries, *e); return true }
	for j, c := range n.children {
		if j == i {
			c = child
		}
		c.walk(gather)
	}
	return newLeaf(entries)
}

// walk calls yield for each entry below n in order, until it returns false. A nil node has none.
func (n *node) walk(yield func(*entry) bool) bool {
	if n == nil {
		return true
	}
	for i := range n.entries {
		if !yield(&n.entries[i]) {
			return false
		}
	}
	for _, child := range n.children {
		if !child.walk(yield) {
			return false
		}
	}
	return true
}

// subtree returns the node below which all entries of a type are, given a path of that type. Other types may be below
// it too, if the type has few entries or hashes collide. It is nil if there is no such entry.
func (n *node) subtree(p path) *node {
	for n != nil && !n.isLeaf() {
		if int(n.depth) >= typeNibbles {
			if n.sample.shared(&p) < typeNibbles {
				return nil
			}
			return n
		}
		i, ok := n.slot(p.nibble(int(n.depth)))
		if !ok {
			return nil
		}
		n = n.children[i]
	}
	return n
}
