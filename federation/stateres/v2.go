package stateres

import (
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
	powers, err := r.reverseTopologicalPowerOrdering(r.powerEvents(full))
	if err != nil {
		return roomstate.Map{}, err
	}
	// 2. The iterative auth checks on them give a partially resolved state.
	state := newCheckedState(r)
	if v21 {
		state.initial = func(roomstate.Key) (id.EventID, error) { return "", nil }
	}
	if err := state.iterativeAuthChecks(powers); err != nil {
		return roomstate.Map{}, err
	}
	// 3. The remaining events, in the mainline ordering based on the power levels of that state.
	remaining := make([]int, 0, len(full))
	for _, v := range full {
		if !r.pool.vertices[v].power {
			remaining = append(remaining, v)
		}
	}
	power, err := state.value(powerKey)
	if err != nil {
		return roomstate.Map{}, err
	}
	if remaining, err = r.mainlineOrdering(remaining, power); err != nil {
		return roomstate.Map{}, err
	}
	// 4. The iterative auth checks on them.
	if err := state.iterativeAuthChecks(remaining); err != nil {
		return roomstate.Map{}, err
	}
	// 5. What is unconflicted stays.
	resolved, err := r.conflict.result(func(key roomstate.Key) id.EventID {
		if v, ok := state.applied[key]; ok {
			return r.pool.vertices[v].id
		}
		return ""
	}, r.pool.number)
	if err != nil {
		return roomstate.Map{}, err
	}
	for key, v := range state.applied { // what the auth difference has for keys that are in no state
		there, err := resolved.Event(key.Type, key.StateKey)
		if err == nil && there == "" {
			resolved, err = resolved.Set(key.Type, key.StateKey, r.pool.vertices[v].id)
		}
		if err != nil {
			return roomstate.Map{}, err
		}
	}
	return resolved, nil
}

// fullConflictedSet returns the full conflicted set, without events that the source does not have.
//
// spec:rooms/v12#definitions
func (r *resolution) fullConflictedSet(v21 bool) ([]int, error) {
	all := r.conflict.conflicted()
	if err := r.pool.grow(all); err != nil {
		return nil, err
	}
	if v21 {
		all = append(all, r.conflictedSubgraph()...)
	}
	difference, err := r.authDifference()
	if err != nil {
		return nil, err
	}
	full := make([]int, 0, len(all)+len(difference))
	for _, v := range append(all, difference...) {
		if at := &r.pool.vertices[v]; !at.full && at.event != nil && at.event.IsState() {
			at.full = true
			full = append(full, v)
		}
	}
	return full, nil
}
