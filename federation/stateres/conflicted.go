package stateres

import (
	"maps"
	"slices"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
)

// conflict is how states differ.
type conflict struct {
	base   roomstate.Map                  // one of the states; right where there is no conflict
	keys   map[roomstate.Key]bool         // of the conflicted state set
	sets   [][]id.EventID                 // per state: its events that are conflicted
	events map[id.EventID]bool            // the conflicted state set
	values map[roomstate.Key][]id.EventID // the conflicted state set by key; no event twice
}

// findConflict compares the states, two at least. A key that doesn't have the same value in every state is conflicted:
// exactly then some state differs there from the first one.
//
// spec:rooms/v2#definitions
func findConflict(states []roomstate.Map) *conflict {
	c := &conflict{
		base:   states[0],
		keys:   map[roomstate.Key]bool{},
		sets:   make([][]id.EventID, len(states)),
		events: map[id.EventID]bool{},
		values: map[roomstate.Key][]id.EventID{},
	}
	differs := make([]map[roomstate.Key]id.EventID, len(states)) // per state: what it has where it differs from the first
	for i, s := range states[1:] {
		differs[i+1] = map[roomstate.Key]id.EventID{}
		for change := range states[0].Diff(s) {
			if !c.keys[change.Key] {
				c.keys[change.Key] = true
				c.add(change.Key, change.Old)
			}
			c.add(change.Key, change.New)
			differs[i+1][change.Key] = change.New
		}
	}
	for key := range c.keys {
		first, _ := states[0].Get(key.Type, key.StateKey)
		for i := range states {
			value, ok := differs[i][key]
			if !ok {
				value = first
			}
			if value != "" {
				c.sets[i] = append(c.sets[i], value)
			}
		}
	}
	return c
}

// add adds an event, if there is one, to the conflicted state set.
func (c *conflict) add(key roomstate.Key, e id.EventID) {
	if e != "" && !slices.Contains(c.values[key], e) {
		c.values[key] = append(c.values[key], e)
		c.events[e] = true
	}
}

// unconflicted returns the event for a key of the unconflicted state map.
func (c *conflict) unconflicted(key roomstate.Key) (id.EventID, bool) {
	if c.keys[key] {
		return "", false
	}
	return c.base.Get(key.Type, key.StateKey)
}

// isUnconflicted reports whether an event is in the unconflicted state map.
func (c *conflict) isUnconflicted(e *event.Event) bool {
	key, ok := keyOf(e)
	if !ok {
		return false
	}
	value, ok := c.unconflicted(key)
	return ok && value == e.ID()
}

// conflicted returns the conflicted state set in a definite order.
func (c *conflict) conflicted() []id.EventID { return slices.Sorted(maps.Keys(c.events)) }

// keyOf returns the key of a state event.
func keyOf(e *event.Event) (roomstate.Key, bool) {
	stateKey, ok := e.StateKey()
	return roomstate.Key{Type: e.Type(), StateKey: stateKey}, ok
}
