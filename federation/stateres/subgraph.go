package stateres

import "hanse/federation/id"

// conflictedSubgraph returns the conflicted state subgraph: the events on paths of auth events between two events of
// the conflicted state set. g is made of the auth chains of the conflicted state set, so that each of its vertices is
// below a conflicted event; those that are also above one are on such a path.
//
// spec:rooms/v12#definitions
func (r *resolution) conflictedSubgraph(g *graph) []id.EventID {
	citing := make([][]int, len(g.vertices)) // the edges, reversed
	var stack []int
	above := make([]bool, len(g.vertices))
	for v := range g.vertices {
		for _, auth := range g.vertices[v].auth {
			citing[auth] = append(citing[auth], v)
		}
		if r.conflict.events[g.vertices[v].event.ID()] {
			above[v] = true
			stack = append(stack, v)
		}
	}
	var subgraph []id.EventID
	for len(stack) > 0 {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		subgraph = append(subgraph, g.vertices[v].event.ID())
		for _, c := range citing[v] {
			if !above[c] {
				above[c] = true
				stack = append(stack, c)
			}
		}
	}
	return subgraph
}
