package stateres

import "math/bits"

// authDifference returns the auth difference, leaving out events of the conflicted state set, which are in the full
// conflicted set anyway. The auth chains of the conflicted state set have been walked; the graph grows.
//
// The auth chain of a state is that of its conflicted events and that of its unconflicted ones. The latter is the same
// for all states, so that what is in it is in every chain. What remains is in the chains of the conflicted events of
// some states but not of all, and in no chain of an unconflicted event.
//
// spec:rooms/v2#definitions
func (r *resolution) authDifference() ([]int, error) {
	r.countChains()
	var candidates []int
	for v := range r.pool.vertices {
		if at := &r.pool.vertices[v]; at.chains > 0 && at.chains < len(r.conflict.states) && !at.conflicted {
			candidates = append(candidates, v)
		}
	}
	return (&unconflictedChain{resolution: r}).outside(candidates)
}

// statesAtOnce is for how many states the graph is walked together: the bits of a number.
const statesAtOnce = 64

// countChains notes of each event that was walked in how many states' chains of conflicted events it is.
func (r *resolution) countChains() {
	sorted, circles := r.pool.downwards()
	vertices := r.pool.vertices
	seen := make([]int, len(r.conflict.keys)) // how many of a key's others were gone through
	for from := 0; from < len(r.conflict.states); from += statesAtOnce {
		all := ^uint64(0) >> (statesAtOnce - min(statesAtOnce, len(r.conflict.states)-from))
		for i, k := range r.conflict.keys {
			first := all
			for ; seen[i] < len(k.others) && k.others[seen[i]].state < from+statesAtOnce; seen[i]++ {
				other := k.others[seen[i]]
				bit := uint64(1) << (other.state - from)
				first &^= bit
				if other.value != nothing {
					vertices[other.value].in |= bit
				}
			}
			if k.first != nothing {
				vertices[k.first].in |= first
			}
		}
		r.pool.passDown(sorted)
		for r.pool.passDown(circles) {
		}
		for _, list := range [2][]int{sorted, circles} {
			for _, v := range list {
				vertices[v].chains += bits.OnesCount64(vertices[v].in)
				vertices[v].in = 0
			}
		}
	}
}
