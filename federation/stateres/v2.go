package stateres

import (
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
)

// resolveV2 is state resolution v2 or, if v21 is set, v2.1: it starts the iterative auth checks from the empty state,
// and adds the conflicted state subgraph to the full conflicted set.
//
// spec:rooms/v2#algorithm
// spec:rooms/v12#algorithm
func (r *resolution) resolveV2(v21 bool) (roomstate.Map, error) {
	full, err := r.fullConflictedSet(v21)
	if err != nil {
		return roomstate.Map{}, err
	}
	// 1. The power events and their auth events, in the reverse topological power ordering.
	powers, err := r.reverseTopologicalPowerOrdering(powerEvents(full))
	if err != nil {
		return roomstate.Map{}, err
	}
	// 2. The iterative auth checks on them give a partially resolved state.
	state := &checkedState{r: r, initial: r.conflict.unconflicted, applied: map[roomstate.Key]*event.Event{}}
	if v21 {
		state.initial = func(roomstate.Key) (id.EventID, bool) { return "", false }
	}
	if err := state.iterativeAuthChecks(powers); err != nil {
		return roomstate.Map{}, err
	}
	// 3. The remaining events, in the mainline ordering based on the power levels of that state.
	for _, e := range powers {
		delete(full, e.ID())
	}
	remaining := make([]*event.Event, 0, len(full))
	for _, e := range full {
		remaining = append(remaining, e)
	}
	power := state.applied[powerKey]
	if value, ok := state.initial(powerKey); power == nil && ok {
		if power, err = r.pool.event(value); err != nil {
			return roomstate.Map{}, err
		}
	}
	if remaining, err = r.mainlineOrdering(remaining, power); err != nil {
		return roomstate.Map{}, err
	}
	// 4. The iterative auth checks on them.
	if err := state.iterativeAuthChecks(remaining); err != nil {
		return roomstate.Map{}, err
	}
	// 5. What is unconflicted stays.
	return r.conflict.result(state.applied), nil
}

// fullConflictedSet returns the full conflicted set, without events that the source does not have.
//
// spec:rooms/v12#definitions
func (r *resolution) fullConflictedSet(v21 bool) (map[id.EventID]*event.Event, error) {
	conflicted := r.conflict.conflicted()
	g := newGraph(r.pool)
	if err := g.grow(conflicted); err != nil {
		return nil, err
	}
	ids := conflicted
	if v21 {
		ids = append(ids, r.conflictedSubgraph(g)...)
	}
	difference, err := r.authDifference(g)
	if err != nil {
		return nil, err
	}
	full := map[id.EventID]*event.Event{}
	for _, eventID := range append(ids, difference...) {
		if e := r.pool.events[eventID]; e != nil && e.IsState() {
			full[eventID] = e
		}
	}
	return full, nil
}

// result returns the unconflicted state map with what was applied for other keys.
func (c *conflict) result(applied map[roomstate.Key]*event.Event) roomstate.Map {
	result := c.base
	for key := range c.keys {
		if applied[key] == nil {
			result = result.Without(key.Type, key.StateKey)
		}
	}
	for key, e := range applied {
		if _, ok := c.unconflicted(key); !ok {
			result = result.With(key.Type, key.StateKey, e.ID())
		}
	}
	return result
}
