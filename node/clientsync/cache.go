package clientsync

import "sync"

// cache is a bounded map: it keeps what was used most recently, in two generations; when the young one is full, the old
// one is dropped. Safe for concurrent use.
type cache[K comparable, V any] struct {
	limit int // of both generations

	mu         sync.Mutex
	young, old map[K]V // guarded by mu
}

func newCache[K comparable, V any](limit int) *cache[K, V] { return &cache[K, V]{limit: limit} }

func (c *cache[K, V]) get(key K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.find(key)
}

func (c *cache[K, V]) put(key K, value V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(key, value)
}

// getOrAdd gives what there is, or keeps what fresh makes.
func (c *cache[K, V]) getOrAdd(key K, fresh func() V) V {
	c.mu.Lock()
	defer c.mu.Unlock()
	value, ok := c.find(key)
	if !ok {
		value = fresh()
		c.add(key, value)
	}
	return value
}

// find is get; mu is held.
func (c *cache[K, V]) find(key K) (V, bool) {
	if value, ok := c.young[key]; ok {
		return value, true
	}
	value, ok := c.old[key]
	if ok {
		c.add(key, value)
	}
	return value, ok
}

// add is put; mu is held.
func (c *cache[K, V]) add(key K, value V) {
	if c.young == nil || len(c.young) >= c.limit/2 {
		c.old, c.young = c.young, map[K]V{}
	}
	c.young[key] = value
}
