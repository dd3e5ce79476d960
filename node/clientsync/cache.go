package clientsync

import (
	"maps"
	"sync"
)

// Cache is a bounded map: it keeps what was used most recently, in two generations; when the young one is full, the old
// one is dropped. Safe for concurrent use.
type Cache[K comparable, V any] struct {
	limit int // of both generations

	mu         sync.Mutex
	young, old map[K]V // guarded by mu
}

// NewCache makes one for at most limit entries.
func NewCache[K comparable, V any](limit int) *Cache[K, V] { return &Cache[K, V]{limit: limit} }

// Get gives the value of a key; false if there is none.
func (c *Cache[K, V]) Get(key K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.find(key)
}

// Put sets it.
func (c *Cache[K, V]) Put(key K, value V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(key, value)
}

// GetOrAdd gives what there is, or keeps what fresh makes.
func (c *Cache[K, V]) GetOrAdd(key K, fresh func() V) V {
	c.mu.Lock()
	defer c.mu.Unlock()
	value, ok := c.find(key)
	if !ok {
		value = fresh()
		c.add(key, value)
	}
	return value
}

// All are the entries there are now, in any order.
func (c *Cache[K, V]) All() map[K]V {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := maps.Clone(c.old)
	if all == nil {
		all = map[K]V{}
	}
	maps.Copy(all, c.young)
	return all
}

// find is Get; mu is held.
func (c *Cache[K, V]) find(key K) (V, bool) {
	if value, ok := c.young[key]; ok {
		return value, true
	}
	value, ok := c.old[key]
	if ok {
		c.add(key, value)
	}
	return value, ok
}

// add is Put; mu is held.
func (c *Cache[K, V]) add(key K, value V) {
	if c.young == nil || len(c.young) >= c.limit/2 {
		c.old, c.young = c.young, map[K]V{}
	}
	c.young[key] = value
}
