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

// node is a leaf, a branch, or a stub: a stored node of which only the hash is in memory. Nodes are never nil inside a
// branch and never change once they are made.
//
// The shape is canonical. Entries that are at most leafSize, or that all share one path, are a leaf, in the order of
// (path, key). All others are a branch at the first nibble in which their paths differ, with a child for each value
// that occurs there: two at least.
type node struct {
	hash     Hash
	*content // nil: a stub
}

// content is what is in a node.
type content struct {
	entries  []entry // of a leaf
	children []*node // of a branch, in the order of their nibbles
	size     int     // entries below
	bitmap   uint16  // of a branch: which nibbles have a child
	depth    uint8   // of a branch: the nibble that tells its children apart
}

// newContent makes a node without its hash.
func newContent(c content) *node {
	n := &struct { // one allocation
		node
		content
	}{content: c}
	n.node.content = &n.content
	return &n.node
}

func newLeaf(entries []entry) *node {
	n := newContent(content{entries: entries, size: len(entries)})
	n.hash = n.sum()
	return n
}

func newBranch(depth int, bitmap uint16, children []*node, size int) *node {
	n := newContent(content{children: children, bitmap: bitmap, depth: uint8(depth), size: size})
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
	children, size := make([]*node, 0, 16), len(entries)
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
	return newBranch(depth, bitmap, slices.Clip(children), size)
}

// isStub reports whether n is yet to be read.
func (n *node) isStub() bool { return n.content == nil }

// isLeaf reports whether n, which is read, holds entries itself.
func (n *node) isLeaf() bool { return n.children == nil }

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

// leafWith returns a leaf with e added, or put in the place of the entry with its key: n itself if that is so already.
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

// leafWithout returns a leaf without the key: n itself if it is not there, nil if nothing is left.
func (n *node) leafWithout(p path, key Key) *node {
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

// branchWith returns a branch with another child for a nibble, or with one more, and the size that it has then.
func (n *node) branchWith(nibble int, child *node, size int) *node {
	i, ok := n.slot(nibble)
	if !ok {
		return newBranch(int(n.depth), n.bitmap|1<<nibble, slices.Insert(slices.Clone(n.children), i, child), size)
	}
	children := slices.Clone(n.children)
	children[i] = child
	return newBranch(int(n.depth), n.bitmap, children, size)
}

// fork makes the branch at depth of a node with paths like p and a new leaf.
func fork(depth int, n *node, p *path, leaf *node) *node {
	x, y := p.nibble(depth), leaf.entries[0].path.nibble(depth)
	children := []*node{n, leaf}
	if x > y {
		slices.Reverse(children)
	}
	return newBranch(depth, 1<<x|1<<y, children, n.size+1)
}
