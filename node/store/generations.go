package store

import "sync"

// generations is a bounded cache: it keeps what was used or added most recently, in two generations; when the young
// one is full it becomes the old one, and the old one is dropped. Empty, it takes no memory. Safe for concurrent use.
type generations[K comparable, V any] struct {
	limit int         // of the sum of a generation's sizes
	size  func(V) int // nil: 1 each

	mu         sync.Mutex
	young, old map[K]V // guarded by mu
	used       int     // guarded by mu: size of young
}

func newGenerations[K comparable, V any](limit int, size func(V) int) *generations[K, V] {
	return &generations[K, V]{limit: max(limit/2, 1), size: size}
}

func (g *generations[K, V]) get(key K) (V, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if v, ok := g.young[key]; ok {
		return v, true
	}
	v, ok := g.old[key]
	if ok {
		g.add(key, v)
	}
	return v, ok
}

func (g *generations[K, V]) put(key K, value V) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.add(key, value)
}

// drop forgets a key.
func (g *generations[K, V]) drop(key K) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.young, key)
	delete(g.old, key)
}

// add is put; mu is held.
func (g *generations[K, V]) add(key K, value V) {
	if g.used >= g.limit {
		g.old, g.young, g.used = g.young, nil, 0
	}
	if g.young == nil {
		g.young = map[K]V{}
	}
	before := len(g.young)
	g.young[key] = value
	if len(g.young) == before {
		return
	}
	if g.size == nil {
		g.used++
		return
	}
	g.used += g.size(value)
}
