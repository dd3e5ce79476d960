package roomstate

import (
	"crypto/sha256"
	"fmt"
	"slices"
)

// ReadBatches makes the state with the given hash from stored nodes. It asks for a level of the trie at a time, about eight
// for the largest rooms, and for each node once, and trusts nothing: a node that is absent from the answer, that is not the
// one that was asked for, or that does not fit where it is, is an error that wraps ErrCorrupt. Errors of nodes are passed
// on. What the cache has is taken from there and shared in memory; what is read is added to it. The cache may be nil.
func ReadBatches(root Hash, nodes func([]Hash) (map[Hash][]byte, error), cache Cache) (Map, error) {
	if root == (Hash{}) {
		return Map{}, nil
	}
	r := reading{nodes: nodes, cache: cache, asked: map[Hash]bool{root: true}}
	var top *node
	level := []place{{hash: root, at: &top}}
	for len(level) > 0 {
		var err error
		if level, err = r.level(level); err != nil {
			return Map{}, err
		}
		if len(r.asked) > 2*top.size { // each node has an entry of its own, or parts some
			return Map{}, corrupt("more nodes than a state of %d entries has", top.size)
		}
	}
	for _, n := range slices.Backward(r.read) { // what is below first
		if err := n.complete(); err != nil {
			return Map{}, err
		}
	}
	if cache != nil {
		for _, n := range r.read {
			cache.Add(n.hash, Node{n})
		}
	}
	return Map{top}, nil
}

// reading is one call of ReadBatches.
type reading struct {
	nodes func([]Hash) (map[Hash][]byte, error)
	cache Cache
	asked map[Hash]bool // a state has no node twice, since no two nodes have the same entries
	read  []*node
}

// place is where a node that is to be read belongs.
type place struct {
	hash  Hash
	at    **node
	depth int // of the branch above plus one
}

// level reads the nodes of one level and returns the places below them.
func (r *reading) level(places []place) ([]place, error) {
	var missing []place
	var hashes []Hash
	for _, p := range places {
		if r.cache != nil {
			if n, ok := r.cache.Node(p.hash); ok && n.node != nil {
				*p.at = n.node
				continue
			}
		}
		missing, hashes = append(missing, p), append(hashes, p.hash)
	}
	if len(hashes) == 0 {
		return nil, nil
	}
	found, err := r.nodes(hashes)
	if err != nil {
		return nil, err
	}
	var next []place
	for _, p := range missing {
		data, ok := found[p.hash]
		if !ok {
			return nil, corrupt("node %v is missing", p.hash)
		}
		if Hash(sha256.Sum256(data)) != p.hash {
			return nil, corrupt("node %v has another content", p.hash)
		}
		n, children, err := decode(data)
		if err != nil {
			return nil, fmt.Errorf("node %v: %w", p.hash, err)
		}
		if len(children) > 0 && int(n.depth) < p.depth {
			return nil, corrupt("node %v is at depth %d, below %d", p.hash, n.depth, p.depth)
		}
		n.hash = p.hash
		*p.at = n
		r.read = append(r.read, n)
		if len(children) > 0 {
			n.children = make([]*node, len(children))
		}
		for i, h := range children {
			if r.asked[h] {
				return nil, corrupt("node %v occurs twice", h)
			}
			r.asked[h] = true
			next = append(next, place{hash: h, at: &n.children[i], depth: int(n.depth) + 1})
		}
	}
	return next, nil
}

// complete checks that what is below a branch fits together, and fills in what its encoding doesn't say. The children
// are complete.
func (n *node) complete() error {
	if n.isLeaf() {
		return nil
	}
	total := 0
	for _, child := range n.children {
		total += child.size
	}
	if total != n.size {
		return corrupt("a branch of %d entries claims %d", total, n.size)
	}
	n.sample = *n.children[0].first()
	next := 0
	for nibble := range 16 {
		if n.bitmap&(1<<nibble) == 0 {
			continue
		}
		child := n.children[next]
		next++
		if p := child.first(); p.nibble(int(n.depth)) != nibble || p.shared(&n.sample) < int(n.depth) {
			return corrupt("a node is at a wrong place")
		}
		if depth := child.common(); depth <= int(n.depth) {
			return corrupt("the entries of a node part at %d, above its branch", depth)
		}
	}
	return nil
}

// common returns how many nibbles all entries of n share.
func (n *node) common() int {
	if n.isLeaf() {
		return n.entries[0].path.shared(&n.entries[len(n.entries)-1].path)
	}
	return int(n.depth)
}
