package stateres

import (
	"fmt"

	"hanse/federation/dag"
	"hanse/federation/event"
	"hanse/federation/id"
)

// graph is a part of the graph that auth_events make: with each event it has all of the event's auth chain that is
// known. Vertices are numbered in the order in which they came.
type graph struct {
	pool     *pool
	index    map[id.EventID]int
	vertices []vertex
}

type vertex struct {
	event *event.Event
	auth  []int // the event's auth events, as far as they are known
}

func newGraph(p *pool) *graph { return &graph{pool: p, index: map[id.EventID]int{}} }

// grow adds the events and their auth chains. It asks the source once for each step away from the events.
func (g *graph) grow(ids []id.EventID) error {
	first := len(g.vertices)
	asked := map[id.EventID]bool{}
	for len(ids) > 0 {
		if err := g.pool.load(ids); err != nil {
			return err
		}
		var next []id.EventID
		for _, eventID := range ids {
			e := g.pool.events[eventID]
			if _, known := g.index[eventID]; known || e == nil {
				continue
			}
			g.index[eventID] = len(g.vertices)
			g.vertices = append(g.vertices, vertex{event: e})
			for _, auth := range e.AuthEvents() {
				if _, known := g.index[auth]; !known && !asked[auth] {
					asked[auth] = true
					next = append(next, auth)
				}
			}
		}
		if len(g.vertices) > maxChain {
			return fmt.Errorf("%w: more than %d events", dag.ErrChainTooLong, maxChain)
		}
		ids = next
	}
	for i := first; i < len(g.vertices); i++ {
		v := &g.vertices[i]
		v.auth = make([]int, 0, len(v.event.AuthEvents()))
		for _, auth := range v.event.AuthEvents() {
			if j, ok := g.index[auth]; ok {
				v.auth = append(v.auth, j)
			}
		}
	}
	return nil
}

// numbers returns the vertices of the events, without those that are not in the graph.
func (g *graph) numbers(ids []id.EventID) []int {
	var numbers []int
	for _, e := range ids {
		if i, ok := g.index[e]; ok {
			numbers = append(numbers, i)
		}
	}
	return numbers
}

// descend visits the vertices and their auth chains, below a vertex only if visit returns true. That must be so at most
// once for each vertex.
func (g *graph) descend(from []int, visit func(int) bool) {
	stack := append([]int(nil), from...)
	for len(stack) > 0 {
		i := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if visit(i) {
			stack = append(stack, g.vertices[i].auth...)
		}
	}
}
