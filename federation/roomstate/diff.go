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

// Changes iterates over what must change to get from m to other, in the order of the trie. It reads and walks only nodes that
// differ: the cost is that of the difference, whatever the size of the states. An error, which is one of a loader or wraps
// ErrCorrupt, is the last thing that is yielded.
func (m Map) Changes(other Map) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		d := difference{a: m, b: other, yield: yield}
		if _, err := d.between(m.root, other.root, 0); err != nil {
			yield(Change{}, err)
		}
	}
}

// difference is one call of Changes. Its methods return false when the receiver has enough.
type difference struct {
	a, b  Map
	yield func(Change, error) bool
}

func (d *difference) removed(e *entry) bool { return d.yield(Change{Key: e.key, Old: e.event}, nil) }
func (d *difference) added(e *entry) bool   { return d.yield(Change{Key: e.key, New: e.event}, nil) }
func (d *difference) changed(old, new *entry) bool {
	return old.event == new.event || d.yield(Change{old.key, old.event, new.event}, nil)
}

// between compares two nodes, of which all paths share the first from nibbles. A stub is only where both are the same.
func (d *difference) between(x, y *node, from int) (bool, error) {
	switch {
	case x == y:
		return true, nil
	case x == nil:
		return d.b.each(y, d.added)
	case y == nil:
		return d.a.each(x, d.removed)
	case x.hash == y.hash:
		return true, nil
	case x.isLeaf() && y.isLeaf(): // nearly always, and without the closures of the others
		return d.leaves(x.entries, y.entries), nil
	case x.isLeaf():
		return d.b.merge(x.entries, y, d.removed, d.added, d.changed)
	case y.isLeaf():
		return d.a.merge(y.entries, x, d.added, d.removed, func(new, old *entry) bool { return d.changed(old, new) })
	}
	return d.branches(x, y, from)
}

// each uses the entries below n until use returns false.
func (m Map) each(n *node, use func(*entry) bool) (bool, error) {
	for e, err := range m.below(n) {
		if err != nil || !use(e) {
			return false, err
		}
	}
	return true, nil
}

// leaves compares the entries of two leaves.
func (d *difference) leaves(x, y []entry) bool {
	for len(x) > 0 && len(y) > 0 {
		ok := true
		switch c := x[0].path.compare(x[0].key, &y[0]); {
		case c < 0:
			ok, x = d.removed(&x[0]), x[1:]
		case c > 0:
			ok, y = d.added(&y[0]), y[1:]
		default:
			ok, x, y = d.changed(&x[0], &y[0]), x[1:], y[1:]
		}
		if !ok {
			return false
		}
	}
	for i := range x {
		if !d.removed(&x[i]) {
			return false
		}
	}
	for i := range y {
		if !d.added(&y[i]) {
			return false
		}
	}
	return true
}

// merge compares the entries of a leaf with those below a branch: both are in order.
func (m Map) merge(leaf []entry, branch *node, alone, missing func(*entry) bool, both func(leaf, other *entry) bool) (bool, error) {
	ok, err := m.each(branch, func(e *entry) bool {
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
	return ok, err
}

// branches compares two branches. Where one parts further down than the other, it is as a whole below one child of
// the other, or beside it.
func (d *difference) branches(x, y *node, from int) (bool, error) {
	depth := from
	var p, q path
	if int(x.depth) != from || int(y.depth) != from {
		var err error
		if p, err = d.a.first(x); err != nil {
			return false, err
		}
		if q, err = d.b.first(y); err != nil {
			return false, err
		}
		depth = min(p.shared(&q), int(x.depth), int(y.depth))
	}
	var old, new [16]*node
	for nibble := range 16 {
		old[nibble], new[nibble] = x.under(&p, depth, nibble), y.under(&q, depth, nibble)
		if old[nibble] != nil && new[nibble] != nil && old[nibble].hash == new[nibble].hash {
			old[nibble], new[nibble] = nil, nil
		}
	}
	if err := d.a.read(x, depth, &old); err != nil {
		return false, err
	}
	if err := d.b.read(y, depth, &new); err != nil {
		return false, err
	}
	for nibble := range 16 {
		if ok, err := d.between(old[nibble], new[nibble], depth+1); !ok || err != nil {
			return ok, err
		}
	}
	return true, nil
}

// read reads those of a branch's children that are stubs.
func (m Map) read(branch *node, depth int, children *[16]*node) error {
	if m.loader == nil || depth < int(branch.depth) {
		return nil
	}
	stubs := *children
	if err := m.fill(children[:], false); err != nil {
		return err
	}
	for nibble, n := range children {
		if n != stubs[nibble] {
			if err := n.fits(branch, nibble); err != nil {
				return err
			}
		}
	}
	return nil
}

// under returns the part of n whose paths have nibble at depth, which is at most n's own. sample is a path of n.
func (n *node) under(sample *path, depth, nibble int) *node {
	if depth < int(n.depth) {
		if sample.nibble(depth) == nibble {
			return n
		}
		return nil
	}
	if i, ok := n.slot(nibble); ok {
		return n.children[i]
	}
	return nil
}
