package roomstate

import (
	"iter"

	"hanse/federation/id"
)

// Change is one difference between two states. An empty event ID means that the entry is absent.
type Change struct {
	Key      Key
	Old, New id.EventID
}

// Diff iterates over what must change to get from m to other, in the order of the trie. It walks only nodes that
// differ: the cost is that of the difference, whatever the size of the states.
func (m Map) Diff(other Map) iter.Seq[Change] {
	return func(yield func(Change) bool) { diff(m.root, other.root, yield) }
}

func diff(a, b *node, yield func(Change) bool) bool {
	removed := func(e *entry) bool { return yield(Change{Key: e.key, Old: e.event}) }
	added := func(e *entry) bool { return yield(Change{Key: e.key, New: e.event}) }
	switch {
	case a == b:
		return true
	case a == nil:
		return b.walk(added)
	case b == nil:
		return a.walk(removed)
	case a.hash == b.hash:
		return true
	case a.isLeaf():
		return diffLeaf(a.entries, b, removed, added, func(old, new *entry) bool {
			return old.event == new.event || yield(Change{old.key, old.event, new.event})
		})
	case b.isLeaf():
		return diffLeaf(b.entries, a, added, removed, func(new, old *entry) bool {
			return old.event == new.event || yield(Change{old.key, old.event, new.event})
		})
	}
	return diffBranches(a, b, yield)
}

// diffLeaf compares the entries of a leaf with a node: both are in order.
func diffLeaf(leaf []entry, n *node, alone, missing func(*entry) bool, both func(leaf, other *entry) bool) bool {
	ok := n.walk(func(e *entry) bool {
		for len(leaf) > 0 {
			c := leaf[0].path.compare(leaf[0].key, e)
			if c > 0 {
				break
			}
			mine := &leaf[0]
			leaf = leaf[1:]
			if c == 0 {
				return both(mine, e)
			}
			if !alone(mine) {
				return false
			}
		}
		return missing(e)
	})
	for i := 0; ok && i < len(leaf); i++ {
		ok = alone(&leaf[i])
	}
	return ok
}

// diffBranches compares two branches. Where one parts further down than the other, it is as a whole below one child of
// the other, or beside it.
func diffBranches(a, b *node, yield func(Change) bool) bool {
	depth := min(a.sample.shared(&b.sample), int(a.depth), int(b.depth))
	for nibble := range 16 {
		if !diff(a.below(depth, nibble), b.below(depth, nibble), yield) {
			return false
		}
	}
	return true
}

// below returns the part of n whose paths have nibble at depth, which is at most n's own.
func (n *node) below(depth, nibble int) *node {
	if depth < int(n.depth) {
		if n.sample.nibble(depth) == nibble {
			return n
		}
		return nil
	}
	if i, ok := n.slot(nibble); ok {
		return n.children[i]
	}
	return nil
}
