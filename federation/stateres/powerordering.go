package stateres

import (
	"cmp"
	"container/heap"
	"maps"
	"slices"

	"hanse/federation/authrules"
	"hanse/federation/event"
	"hanse/federation/id"
)

const (
	typeCreate      = "m.room.create"
	typePowerLevels = "m.room.power_levels"
	typeJoinRules   = "m.room.join_rules"
	typeMember      = "m.room.member"
)

// isPowerEvent reports whether an event might remove someone's ability to do something in the room.
//
// spec:rooms/v2#definitions
func isPowerEvent(e *event.Event) bool {
	stateKey, ok := e.StateKey()
	if !ok {
		return false
	}
	switch e.Type() {
	case typePowerLevels, typeJoinRules, typeCreate:
		return stateKey == ""
	case typeMember:
		membership := e.Membership()
		return (membership == "leave" || membership == "ban") && string(e.Sender()) != stateKey
	}
	return false
}

// powerEvents returns the set X of step 1: the power events of the full conflicted set, and the events in their auth
// chains that belong to it too.
//
// spec:rooms/v2#algorithm 1
func powerEvents(full map[id.EventID]*event.Event) map[id.EventID]*event.Event {
	x := map[id.EventID]*event.Event{}
	var stack []*event.Event
	for _, e := range full {
		if isPowerEvent(e) {
			stack = append(stack, e)
		}
	}
	for len(stack) > 0 {
		e := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if x[e.ID()] != nil {
			continue
		}
		x[e.ID()] = e
		for _, auth := range e.AuthEvents() {
			if a := full[auth]; a != nil {
				stack = append(stack, a)
			}
		}
	}
	return x
}

// reverseTopologicalPowerOrdering sorts events by Kahn's algorithm: each after its auth events, and of those that could
// be next the smallest one: of the sender with the greatest power level, then the earliest, then by event ID. Events
// that are their own auth events by a detour (which accepted ones are not) are left out.
//
// spec:rooms/v2#definitions
func (r *resolution) reverseTopologicalPowerOrdering(events map[id.EventID]*event.Event) ([]*event.Event, error) {
	var candidates byPower
	waits := map[id.EventID]int{}
	citing := map[id.EventID][]id.EventID{}
	vertices := make(map[id.EventID]powerVertex, len(events))
	levels := levelsByAuth{}
	for _, eventID := range slices.Sorted(maps.Keys(events)) {
		e := events[eventID]
		level, err := r.senderLevel(e, levels)
		if err != nil {
			return nil, err
		}
		vertices[eventID] = powerVertex{event: e, level: level}
		auth := slices.Clone(e.AuthEvents())
		slices.Sort(auth)
		for _, a := range slices.Compact(auth) {
			if events[a] != nil {
				waits[eventID]++
				citing[a] = append(citing[a], eventID)
			}
		}
		if waits[eventID] == 0 {
			candidates = append(candidates, vertices[eventID])
		}
	}
	heap.Init(&candidates)
	sorted := make([]*event.Event, 0, len(events))
	for len(candidates) > 0 {
		next := heap.Pop(&candidates).(powerVertex)
		sorted = append(sorted, next.event)
		for _, c := range citing[next.event.ID()] {
			if waits[c]--; waits[c] == 0 {
				heap.Push(&candidates, vertices[c])
			}
		}
	}
	return sorted, nil
}

// levelsByAuth remembers the power levels that hold by a create event and a power levels event.
type levelsByAuth map[[2]*event.Event]authrules.Levels

// senderLevel returns the power level of an event's sender by the event's own auth events.
func (r *resolution) senderLevel(e *event.Event, known levelsByAuth) (int64, error) {
	auth, err := r.authEvents(e, func(id.EventID) bool { return false })
	if err != nil {
		return 0, err
	}
	create, power := withKey(auth, createKey), withKey(auth, powerKey)
	levels, ok := known[[2]*event.Event{create, power}]
	if !ok {
		var list []*event.Event
		for _, a := range []*event.Event{create, power} {
			if a != nil {
				list = append(list, a)
			}
		}
		if levels, err = authrules.LevelsOf(authrules.EventsState(list)); err != nil {
			return 0, err
		}
		known[[2]*event.Event{create, power}] = levels
	}
	return levels.User(e.Sender()), nil
}

type powerVertex struct {
	event *event.Event
	level int64
}

// byPower is a heap with the smallest event on top.
type byPower []powerVertex

func (h byPower) Len() int { return len(h) }
func (h byPower) Less(i, j int) bool {
	x, y := h[i], h[j]
	return cmp.Or(cmp.Compare(y.level, x.level),
		cmp.Compare(x.event.OriginServerTS(), y.event.OriginServerTS()),
		cmp.Compare(x.event.ID(), y.event.ID())) < 0
}
func (h byPower) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *byPower) Push(x any)   { *h = append(*h, x.(powerVertex)) }
func (h *byPower) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
