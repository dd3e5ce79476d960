package stateres

// authDifference returns the auth difference, leaving out events of the conflicted state set, which are in the full
// conflicted set anyway. The auth chains of the conflicted state set have been walked; the graph grows.
//
// The auth chain of a state is that of its conflicted events and that of its unconflicted ones. The latter is the same
// for all states, so that what is in it is in every chain. What remains is in the chains of the conflicted events of
// some states but not of all, and in no chain of an unconflicted event.
//
// spec:rooms/v2#definitions
func (r *resolution) authDifference() ([]int, error) {
	for i := range r.conflict.states {
		r.pool.descend(r.conflict.of(i), func(at *vertex) bool {
			if at.last == i+1 {
				return false
			}
			at.last = i + 1
			at.chains++
			return true
		})
	}
	var candidates []int
	for v := range r.pool.vertices {
		if at := &r.pool.vertices[v]; at.chains > 0 && at.chains < len(r.conflict.states) && !at.conflicted {
			candidates = append(candidates, v)
		}
	}
	return (&unconflictedChain{resolution: r}).outside(candidates)
}
