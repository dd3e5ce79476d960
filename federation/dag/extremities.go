package dag

import (
	"maps"
	"slices"

	"hanse/federation/event"
	"hanse/federation/id"
)

// Extremities are the two edges of what a server has of a room: the forward extremities, to which the next event
// refers by its prev_events, and the backward ones, which are referred to but not there. The zero value is an empty
// room. Not safe for concurrent use.
//
// spec:server-server-api#pdus
type Extremities struct {
	forward, backward map[id.EventID]bool
}

// NewExtremities returns the extremities of a room that is partly there.
func NewExtremities(forward, backward []id.EventID) *Extremities {
	x := &Extremities{forward: map[id.EventID]bool{}, backward: map[id.EventID]bool{}}
	for _, e := range forward {
		x.forward[e] = true
	}
	for _, e := range backward {
		x.backward[e] = true
	}
	return x
}

// Add takes account of an event that is now there; has tells which events were there before. Nothing changes if the
// event was there already. The events may come in any order: one that was referred to before it came does not become a
// forward extremity.
func (x *Extremities) Add(e *event.Event, has func(id.EventID) bool) {
	if has(e.ID()) {
		return
	}
	x.follow(e, has)
	if x.backward[e.ID()] {
		delete(x.backward, e.ID())
		return
	}
	if x.forward == nil {
		x.forward = map[id.EventID]bool{}
	}
	x.forward[e.ID()] = true
}

// AddHistory is Add for an event that must not become a forward extremity, whatever refers to it: one that was
// rejected or soft-failed, or an old one that was fetched.
func (x *Extremities) AddHistory(e *event.Event, has func(id.EventID) bool) {
	if has(e.ID()) {
		return
	}
	for _, prev := range e.PrevEvents() {
		x.missing(prev, has)
	}
	delete(x.backward, e.ID())
}

// follow takes account of the prev events of e.
func (x *Extremities) follow(e *event.Event, has func(id.EventID) bool) {
	for _, prev := range e.PrevEvents() {
		if x.forward[prev] {
			delete(x.forward, prev)
			continue
		}
		x.missing(prev, has)
	}
}

func (x *Extremities) missing(prev id.EventID, has func(id.EventID) bool) {
	if has(prev) {
		return
	}
	if x.backward == nil {
		x.backward = map[id.EventID]bool{}
	}
	x.backward[prev] = true
}

// Forward returns the forward extremities in the order of their IDs.
func (x *Extremities) Forward() []id.EventID { return slices.Sorted(maps.Keys(x.forward)) }

// Backward returns the backward extremities in the order of their IDs.
func (x *Extremities) Backward() []id.EventID { return slices.Sorted(maps.Keys(x.backward)) }
