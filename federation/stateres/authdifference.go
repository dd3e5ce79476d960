package stateres

import "hanse/federation/id"

// authDifference returns the auth difference, leaving out events of the conflicted state set, which are in the full
// conflicted set anyway. g is made of the auth chains of the conflicted state set, and grows.
//
// The auth chain of a state is that of its conflicted events and that of its unconflicted ones. The latter is the same
// for all states, so that what is in it is in every chain. What remains is in the chains of the conflicted events of
// some states but not of all, and in no chain of an unconflicted event.
//
// spec:rooms/v2#definitions
func (r *resolution) authDifference(g *graph) ([]id.EventID, error) {
	chains := make([]int, len(g.vertices)) // per event: of how many states it is in the conflicted events' auth chain
	last := make([]int, len(g.vertices))   // the last of those states, from 1
	for i, set := range r.conflict.sets {
		g.descend(g.numbers(set), func(v int) bool {
			if last[v] == i+1 {
				return false
			}
			last[v] = i + 1
			chains[v]++
			return true
		})
	}
	var candidates []int
	for v, n := range chains {
		if n < len(r.conflict.sets) && !r.conflict.events[g.vertices[v].event.ID()] {
			candidates = append(candidates, v)
		}
	}
	u := &unconflictedChain{resolution: r, graph: g}
	outside, err := u.outside(candidates)
	if err != nil {
		return nil, err
	}
	difference := make([]id.EventID, len(outside))
	for i, v := range outside {
		difference[i] = g.vertices[v].event.ID()
	}
	return difference, nil
}
