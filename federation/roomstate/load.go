package roomstate

import (
	"crypto/sha256"
	"fmt"
	"slices"
)

// Loader reads nodes of stored states. It is called by the methods of a Map, from several goroutines at once. Its errors
// are passed on.
type Loader interface {
	// Node reads one node, which is likely to be asked for again soon.
	Node(Hash) (Node, error)
	// Nodes reads several, at most 256, into the slice of the same length. passing says that they are part of a walk over
	// so many that to keep them would drive out all else.
	Nodes(hashes []Hash, into []Node, passing bool) error
}

// Node is a node of a state in memory. It is immutable; a loader may keep it and give it to any number of states.
type Node struct{ node *node }

// Hash returns the node's hash.
func (n Node) Hash() Hash { return n.node.hash }

// Alone returns the node without what is below it, as Decode would.
func (n Node) Alone() Node {
	if n.node.isLeaf() {
		return n
	}
	c := *n.node.content
	c.children = slices.Clone(c.children)
	for i, child := range c.children {
		if !child.isStub() {
			c.children[i] = &node{hash: child.hash}
		}
	}
	alone := newContent(c)
	alone.hash = n.node.hash
	return Node{alone}
}

// Decode reads the encoding of a node, as [Map.Nodes] gave it, without what is below it. It trusts nothing: what isn't the encoding of the node with that
// hash, or of none, is an error that wraps ErrCorrupt.
func Decode(h Hash, data []byte) (Node, error) {
	if Hash(sha256.Sum256(data)) != h {
		return Node{}, corrupt("node %v has another content", h)
	}
	n, err := decode(data)
	if err != nil {
		return Node{}, fmt.Errorf("node %v: %w", h, err)
	}
	n.hash = h
	return Node{n}, nil
}

// Size is about how many bytes the node takes in memory.
func (n Node) Size() int {
	const fixed, perChild, perEntry = 160, 48, 64
	size := fixed + perChild*len(n.node.children)
	for i := range n.node.entries {
		e := &n.node.entries[i]
		size += perEntry + len(e.key.StateKey) + len(e.event)
	}
	return size
}

// Missing is the error for a node that isn't stored. It wraps ErrCorrupt.
func Missing(h Hash) error { return corrupt("node %v is missing", h) }

// Open returns the stored state with the given hash. It reads one node; others are read by the loader as they are needed, each
// time anew: it is the loader that keeps them, not the Map. Errors are the loader's, or wrap ErrCorrupt.
func Open(root Hash, from Loader) (Map, error) {
	if root == (Hash{}) {
		return Map{}, nil
	}
	m := Map{loader: from}
	n, err := m.load(root)
	if err != nil {
		return Map{}, err
	}
	m.root = n
	return m, nil
}

// load reads a node.
func (m Map) load(h Hash) (*node, error) {
	read, err := m.loader.Node(h)
	if err != nil {
		return nil, err
	}
	return read.of(h)
}

// of is the node, if it is the one that was asked for.
func (n Node) of(h Hash) (*node, error) {
	if n.node == nil || n.node.hash != h {
		return nil, corrupt("the loader gave another node for %v", h)
	}
	return n.node, nil
}

// child returns the i-th child of a branch, which is that of a nibble, reading it if it is a stub.
func (m Map) child(n *node, i, nibble int) (*node, error) {
	child := n.children[i]
	if !child.isStub() {
		return child, nil
	}
	child, err := m.load(child.hash)
	if err == nil {
		err = child.fits(n, nibble)
	}
	return child, err
}

// fits checks that a node that was read can be a branch's child for a nibble.
func (n *node) fits(branch *node, nibble int) error {
	at := int(branch.depth)
	switch {
	case n.size >= branch.size:
		return corrupt("a branch of %d entries has a child of %d", branch.size, n.size)
	case !n.isLeaf() && int(n.depth) <= at:
		return corrupt("node %v is at depth %d, below %d", n.hash, n.depth, at)
	case n.isLeaf() && (n.entries[0].path.nibble(at) != nibble || n.entries[n.size-1].path.nibble(at) != nibble):
		return corrupt("node %v is at a wrong place", n.hash)
	}
	return nil
}
