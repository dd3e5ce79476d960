package stateres

import (
	"fmt"

	"hanse/federation/dag"
)

// The graph that auth_events make is walked where the conflict asks for it: of each event that was walked, all of the auth chain that is
// known was walked too.

// grow walks the events and their auth chains. It asks the source once for each step away from the events.
func (p *pool) grow(list []int) error {
	for next := p.unwalked(nil, list); len(next) > 0; {
		if err := p.load(next); err != nil {
			return err
		}
		var after []int
		for _, v := range next {
			if p.vertices[v].event != nil {
				p.walked++
				after = p.unwalked(after, p.auth(v))
			}
		}
		if p.walked > maxChain {
			return fmt.Errorf("%w: more than %d events", dag.ErrChainTooLong, maxChain)
		}
		next = after
	}
	return nil
}

// unwalked appends those of the events that aren't in the graph yet, and takes them for walked.
func (p *pool) unwalked(list, events []int) []int {
	for _, v := range events {
		if !p.vertices[v].walked {
			p.vertices[v].walked = true
			list = append(list, v)
		}
	}
	return list
}

// descend visits events that are there and their auth chains, below one only if visit returns true. That must be so at most once for each.
func (p *pool) descend(from []int, visit func(*vertex) bool) {
	stack := append([]int(nil), from...)
	for len(stack) > 0 {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if at := &p.vertices[v]; at.event != nil && visit(at) {
			stack = append(stack, at.auth...)
		}
	}
}
