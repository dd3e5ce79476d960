package room

import (
	"hanse/federation/authrules"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
)

// recent is a bounded cache: two generations of at most size entries; what wasn't used for a generation goes.
type recent[K comparable, V any] struct {
	size       int
	young, old map[K]V
}

func newRecent[K comparable, V any](size int) recent[K, V] {
	return recent[K, V]{size: size, young: make(map[K]V)}
}

func (r *recent[K, V]) get(k K) (V, bool) {
	if v, ok := r.young[k]; ok {
		return v, true
	}
	v, ok := r.old[k]
	if ok {
		r.put(k, v)
	}
	return v, ok
}

func (r *recent[K, V]) put(k K, v V) {
	if len(r.young) >= r.size {
		r.old, r.young = r.young, make(map[K]V, r.size)
	}
	r.young[k] = v
}

func (r *recent[K, V]) drop(k K) {
	delete(r.young, k)
	delete(r.old, k)
}

// cache holds what the next step is likely to read. It only ever holds what is committed, or what never changes.
type cache struct {
	events   recent[id.EventID, Stored]
	after    recent[id.EventID, roomstate.Map]
	resolved recent[string, roomstate.Map] // by the hashes of the states, see step.resolve
	levels   *authrules.Memo               // the power levels parsed last: event after event is judged by the same
}

func newCache() cache {
	c := cache{events: newRecent[id.EventID, Stored](cachedEvents), levels: authrules.NewMemo(nil)}
	c.forgetStates()
	return c
}

func (c *cache) forgetStates() {
	c.after = newRecent[id.EventID, roomstate.Map](cachedStates)
	c.resolved = newRecent[string, roomstate.Map](cachedResolutions)
}

// check applies the authorisation rules to e in a state.
func (c *cache) check(e *event.Event, state authrules.State) error {
	defer c.levels.Over(nil) // the state isn't to be kept
	return authrules.Check(e, c.levels.Over(state))
}
