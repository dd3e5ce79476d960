package roomstate

import (
	"iter"
	"slices"
)

const (
	// batch is how many nodes a walk reads at a time.
	batch = 256
	// keptWalk is up to how many entries the nodes of a walk are worth keeping.
	keptWalk = 2048
)

// below iterates over the entries below n in order. A nil node has none. What is read is checked: an error is the last
// thing that is yielded, and comes instead of an entry that is out of order, or after a number of entries that is wrong.
func (m Map) below(n *node) iter.Seq2[*entry, error] {
	return func(yield func(*entry, error) bool) {
		if n == nil {
			return
		}
		if !n.isStub() && n.isLeaf() { // most rooms
			for i := range n.entries {
				if !yield(&n.entries[i], nil) {
					return
				}
			}
			return
		}
		size := -1
		if !n.isStub() {
			size = n.size
		}
		m.over([]*node{n}, size, yield)
	}
}

// over yields the entries below nodes, which follow on each other, as below does. There must be size of them; -1: that isn't known.
func (m Map) over(nodes []*node, size int, yield func(*entry, error) bool) {
	w := walk{m: m, passing: size > keptWalk}
	w.push(nodes)
	var last *entry
	count := 0
	for {
		leaf, err := w.next()
		if err != nil {
			yield(nil, err)
			return
		}
		if leaf == nil {
			break
		}
		count += leaf.size
		for i := range leaf.entries {
			e := &leaf.entries[i]
			if m.loader != nil && last != nil && last.path.compare(last.key, e) >= 0 {
				yield(nil, corrupt("the entries of state %v are not in order", m.Hash()))
				return
			}
			if last = e; !yield(e, nil) {
				return
			}
		}
	}
	if size >= 0 && count != size {
		yield(nil, corrupt("a part of state %v claims %d entries, and has %d", m.Hash(), size, count))
	}
}

// walk goes over the leaves of a part of a state.
type walk struct {
	m       Map
	stack   []*node // what is still to come, the next one last
	passing bool
}

// next returns the next leaf, nil after the last one.
func (w *walk) next() (*node, error) {
	for len(w.stack) > 0 {
		n := w.pop()
		switch {
		case n.isStub():
			w.stack = append(w.stack, n)
			if err := w.read(); err != nil {
				return nil, err
			}
		case n.isLeaf():
			return n, nil
		default:
			w.push(n.children)
		}
	}
	return nil, nil
}

func (w *walk) pop() *node {
	n := w.stack[len(w.stack)-1]
	w.stack = w.stack[:len(w.stack)-1]
	return n
}

func (w *walk) push(nodes []*node) {
	for _, n := range slices.Backward(nodes) {
		w.stack = append(w.stack, n)
	}
}

// read reads the next stubs.
func (w *walk) read() error {
	var ahead []*node // what comes next, the branches that are read replaced by their children
	stubs := 0
	for len(w.stack) > 0 && stubs < batch {
		n := w.pop()
		if !n.isStub() && !n.isLeaf() {
			w.push(n.children)
			continue
		}
		if n.isStub() {
			stubs++
		}
		ahead = append(ahead, n)
	}
	if err := w.m.fill(ahead, w.passing); err != nil {
		return err
	}
	w.push(ahead)
	return nil
}

// fill puts what is read into the places of stubs; nil stays.
func (m Map) fill(nodes []*node, passing bool) error {
	hashes := make([]Hash, 0, len(nodes))
	for _, n := range nodes {
		if n != nil && n.isStub() {
			hashes = append(hashes, n.hash)
		}
	}
	if len(hashes) == 0 {
		return nil
	}
	read := make([]Node, len(hashes))
	if err := m.loader.Nodes(hashes, read, passing); err != nil {
		return err
	}
	for i, n := range nodes {
		if n == nil || !n.isStub() {
			continue
		}
		full, err := read[0].of(n.hash)
		if err != nil {
			return err
		}
		nodes[i], read = full, read[1:]
	}
	return nil
}
