package stateres

import (
	"slices"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
)

// conflict is how states differ.
type conflict struct {
	states []roomstate.Map
	keys   []disputed            // of the conflicted state set
	index  map[roomstate.Key]int // where a key stands among them; nil where they are few
}

// disputed is a key that doesn't have the same value in every state.
type disputed struct {
	key    roomstate.Key
	first  int       // the number of the first state's event, or nothing
	others []differs // the states that have another one: of many states most have the first one's at most keys
	events []int     // all of these without nothing, each once
}

// differs is a state that doesn't have the same value as the first one.
type differs struct{ state, value int }

// nothing stands for the event of a state that has none.
const nothing = -1

// fewKeys are looked through, which is faster than to hash one.
const fewKeys = 8

// findConflict compares the states, two at least. A key that doesn't have the same value in every state is conflicted:
// exactly then some state differs there from the first one. Events get their numbers, and are noted as conflicted.
//
// spec:rooms/v2#definitions
func findConflict(states []roomstate.Map, p *pool) (*conflict, error) {
	c := &conflict{states: states, keys: make([]disputed, 0, fewKeys)}
	numbered := func(at int, e id.EventID) int { // an event has one key, so that it is new where it wasn't conflicted yet
		if e == "" {
			return nothing
		}
		v := p.number(e)
		if !p.vertices[v].conflicted {
			p.vertices[v].conflicted = true
			c.keys[at].events = append(c.keys[at].events, v)
		}
		return v
	}
	for i, s := range states[1:] {
		for change, err := range states[0].Changes(s) {
			if err != nil {
				return nil, err
			}
			at := c.find(change.Key)
			if at < 0 {
				at = c.add(change.Key)
				c.keys[at].first = numbered(at, change.Old)
			}
			c.keys[at].others = append(c.keys[at].others, differs{i + 1, numbered(at, change.New)})
		}
	}
	return c, nil
}

// find returns where a key stands among the conflicted ones, -1 if it doesn't.
func (c *conflict) find(key roomstate.Key) int {
	if c.index == nil {
		return slices.IndexFunc(c.keys, func(k disputed) bool { return k.key.StateKey == key.StateKey && k.key.Type == key.Type })
	}
	if i, ok := c.index[key]; ok {
		return i
	}
	return -1
}

// add adds a key, and returns where it stands.
func (c *conflict) add(key roomstate.Key) int {
	at := len(c.keys)
	c.keys = append(c.keys, disputed{key: key})
	if c.index != nil {
		c.index[key] = at
	} else if len(c.keys) > fewKeys {
		c.index = make(map[roomstate.Key]int, 2*len(c.keys))
		for i := range c.keys {
			c.index[c.keys[i].key] = i
		}
	}
	return at
}

// unconflicted returns the event for a key of the unconflicted state map, "" if there is none.
func (c *conflict) unconflicted(key roomstate.Key) (id.EventID, error) {
	if c.find(key) >= 0 {
		return "", nil
	}
	return c.states[0].Event(key.Type, key.StateKey)
}

// isUnconflicted reports whether an event is in the unconflicted state map.
func (c *conflict) isUnconflicted(e *event.Event) (bool, error) {
	key, ok := keyOf(e)
	if !ok {
		return false, nil
	}
	value, err := c.unconflicted(key)
	return value == e.ID() && err == nil, err
}

// conflicted returns the conflicted state set in a definite order.
func (c *conflict) conflicted() []int {
	events := make([]int, 0, 2*len(c.keys))
	for _, k := range c.keys {
		events = append(events, k.events...)
	}
	return events
}

// result returns the unconflicted state map with values for the conflicted keys; nothing is an empty ID. It begins with the state that has
// most of them, so that little is made that isn't there already.
func (c *conflict) result(value func(roomstate.Key) id.EventID, number func(id.EventID) int) (roomstate.Map, error) {
	values := make([]id.EventID, len(c.keys))
	agree := make([]int, len(c.states)) // at how many keys more than those at which the first state does, or less
	for i, k := range c.keys {
		values[i] = value(k.key)
		v := nothing
		if values[i] != "" {
			v = number(values[i])
		}
		for _, other := range k.others {
			switch v {
			case k.first:
				agree[other.state]--
			case other.value:
				agree[other.state]++
			}
		}
	}
	result := c.states[slices.Index(agree, slices.Max(agree))]
	for i, k := range c.keys {
		var err error
		if values[i] == "" {
			result, err = result.Remove(k.key.Type, k.key.StateKey)
		} else {
			result, err = result.Set(k.key.Type, k.key.StateKey, values[i])
		}
		if err != nil {
			return roomstate.Map{}, err
		}
	}
	return result, nil
}

// keyOf returns the key of a state event.
func keyOf(e *event.Event) (roomstate.Key, bool) {
	stateKey, ok := e.StateKey()
	return roomstate.Key{Type: e.Type(), StateKey: stateKey}, ok
}
