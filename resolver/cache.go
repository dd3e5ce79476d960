package resolver

import (
	"context"
	"sync"
	"time"
)

// cache remembers answers and failures by name, and lets those who ask for the same name wait for one answer.
// Safe for concurrent use.
type cache[V any] struct {
	mu    sync.Mutex
	items map[string]*item[V] // guarded by mu
}

// item is what is known under a name. All fields are guarded by cache.mu.
type item[V any] struct {
	answer[V]
	known    bool      // answer is set
	told     time.Time // when value came
	failures int       // failed look-ups in a row
	until    time.Time
	asked    time.Time
	flight   *flight // a look-up under way
}

// answer is the outcome of a look-up.
type answer[V any] struct {
	value V
	err   error
	keep  time.Duration // how long it counts
	old   bool          // the look-up failed: value is the one before
}

type flight struct {
	done      chan struct{} // closed when it is over
	abandoned bool          // whoever started it gave up; set before done is closed
}

// previous is what a look-up may want to know of the one before.
type previous[V any] struct {
	value    V         // the last answer that was no failure, or the zero value
	told     time.Time // when that came; zero: there was none
	failures int       // failures since
}

// instead is what counts after a failed look-up: what was told before, unless that was too long ago, or else the failure until it
// is time to retry.
func (p previous[V]) instead(err error, retry time.Duration) answer[V] {
	if left := staleMax - time.Since(p.told); !p.told.IsZero() && left > 0 {
		return answer[V]{value: p.value, keep: min(staleTTL, left), old: true}
	}
	return answer[V]{err: err, keep: retry}
}

func newCache[V any]() *cache[V] { return &cache[V]{items: map[string]*item[V]{}} }

// get is the answer under that name, looked up if need be. If ctx ends meanwhile nothing is remembered.
func (c *cache[V]) get(ctx context.Context, name string, lookup func(context.Context, previous[V]) answer[V]) (V, error) {
	for {
		c.mu.Lock()
		it := c.item(name)
		if it.known && time.Now().Before(it.until) {
			defer c.mu.Unlock()
			return it.result()
		}
		f := it.flight
		if f == nil {
			f = &flight{done: make(chan struct{})}
			it.flight = f
			before := previous[V]{value: it.value, told: it.told, failures: it.failures}
			c.mu.Unlock()
			a := lookup(ctx, before)
			return c.put(ctx, it, f, a)
		}
		c.mu.Unlock()
		select {
		case <-f.done:
		case <-ctx.Done():
			var none V
			return none, ctx.Err()
		}
		if !f.abandoned {
			c.mu.Lock()
			defer c.mu.Unlock()
			return it.result()
		}
	}
}

// result is the last outcome. A failure has no value, even if there was one before.
func (it *item[V]) result() (V, error) {
	if it.err != nil {
		var none V
		return none, it.err
	}
	return it.value, nil
}

// item is the item of that name, made if need be. c.mu is held.
func (c *cache[V]) item(name string) *item[V] {
	it := c.items[name]
	if it == nil {
		if len(c.items) >= maxCached {
			c.evict()
		}
		it = &item[V]{}
		c.items[name] = it
	}
	return it
}

// evict drops the item that runs out first of a few taken at random. c.mu is held.
func (c *cache[V]) evict() {
	const sample = 32
	first, seen := "", 0
	for name, it := range c.items {
		if it.flight != nil {
			continue
		}
		if first == "" || it.until.Before(c.items[first].until) {
			first = name
		}
		if seen++; seen == sample {
			break
		}
	}
	delete(c.items, first)
}

// put ends a flight with its answer.
func (c *cache[V]) put(ctx context.Context, it *item[V], f *flight, a answer[V]) (V, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	it.flight = nil
	if (a.err != nil || a.old) && ctx.Err() != nil {
		f.abandoned = true
	} else {
		it.err, it.known, it.asked = a.err, true, time.Now()
		it.until = it.asked.Add(a.keep)
		if a.err != nil || a.old {
			it.failures++
		} else {
			it.value, it.told, it.failures = a.value, it.asked, 0
		}
	}
	close(f.done)
	return a.value, a.err
}

// peek is the last outcome under that name if it was no failure, whether or not it still counts.
func (c *cache[V]) peek(name string) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if it := c.items[name]; it != nil && it.known && it.err == nil {
		return it.value, true
	}
	var none V
	return none, false
}

// forget makes the next get look up again, though not at once after a failure. What was told counts on if nobody answers then.
func (c *cache[V]) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	it := c.items[name]
	switch {
	case it == nil:
	case it.failures > 0:
		if again := it.asked.Add(forgottenRetry); again.Before(it.until) {
			it.until = again
		}
	default:
		it.until = time.Time{}
	}
}

// drop is forget, and what was told doesn't count on.
func (c *cache[V]) drop(name string) {
	c.forget(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	if it := c.items[name]; it != nil {
		it.told = time.Time{}
	}
}
