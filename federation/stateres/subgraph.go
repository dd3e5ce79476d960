package stateres

// conflictedSubgraph returns the conflicted state subgraph: the events on paths of auth events between two events of
// the conflicted state set. The auth chains of the conflicted state set have been walked, and nothing else, so that each event of the graph
// is below a conflicted event; those that are also above one are on such a path.
//
// spec:rooms/v12#definitions
func (r *resolution) conflictedSubgraph() []int {
	vertices := r.pool.vertices
	citing := make([][]int, len(vertices)) // the edges, reversed
	var stack []int
	above := make([]bool, len(vertices))
	for v := range vertices {
		if vertices[v].event == nil {
			continue
		}
		for _, auth := range vertices[v].auth {
			citing[auth] = append(citing[auth], v)
		}
		if vertices[v].conflicted {
			above[v] = true
			stack = append(stack, v)
		}
	}
	var subgraph []int
	for len(stack) > 0 {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		subgraph = append(subgraph, v)
		for _, c := range citing[v] {
			if !above[c] {
				above[c] = true
				stack = append(stack, c)
			}
		}
	}
	return subgraph
}
