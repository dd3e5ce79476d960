package server

import (
	"sync"
	"sync/atomic"

	"hanse/federation/id"
)

// gate counts the requests under way of each server, and those whose signature is still to be checked. To check one
// may take a fetch of keys, so servers that never showed a good signature have a bound of their own: requests in
// invented names, of servers that don't answer, then keep nobody out whose keys are known.
type gate struct {
	perOrigin int
	strangers *shares // requests of others that are being checked

	mu      sync.Mutex
	origins map[id.ServerName]int  // requests under way; guarded by mu
	proven  map[id.ServerName]bool // servers that showed a good signature; guarded by mu
}

func newGate(limits Limits, waiting *atomic.Int64) *gate {
	return &gate{
		perOrigin: limits.PerOrigin, strangers: newShares(int64(limits.Unproven), waiting),
		origins: make(map[id.ServerName]int), proven: make(map[id.ServerName]bool),
	}
}

// arrive lets a request be checked that says it is of origin, and comes from there; checked must follow if ok.
func (g *gate) arrive(origin id.ServerName, from string) (proven, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.proven[origin] {
		return true, true
	}
	if !g.strangers.add(from, 1) {
		g.strangers.add(from, -1)
		return false, false
	}
	return false, true
}

// checked tells how a check went; proven is what arrive said.
func (g *gate) checked(origin id.ServerName, from string, proven, good bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !proven {
		g.strangers.add(from, -1)
	}
	if good {
		if len(g.proven) >= maxProven {
			clear(g.proven) // they prove themselves again with their next request
		}
		g.proven[origin] = true
	}
}

// enter counts a request of a server; false means that it has too many under way. leave must follow otherwise.
func (g *gate) enter(origin id.ServerName) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.origins[origin] >= g.perOrigin {
		return false
	}
	g.origins[origin]++
	return true
}

func (g *gate) leave(origin id.ServerName) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.origins[origin]--; g.origins[origin] == 0 {
		delete(g.origins, origin)
	}
}
