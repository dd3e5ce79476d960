package stateres

import (
	"cmp"
	"container/heap"
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
func (r *resolution) powerEvents(full []int) []int {
	var x, stack []int
	for _, v := range full {
		if isPowerEvent(r.pool.vertices[v].event) {
			stack = append(stack, v)
		}
	}
	for len(stack) > 0 {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if r.pool.vertices[v].power {
			continue
		}
		r.pool.vertices[v].power = true
		x = append(x, v)
		for _, a := range r.pool.auth(v) {
			if r.pool.vertices[a].full {
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
func (r *resolution) reverseTopologicalPowerOrdering(events []int) ([]int, error) {
	vertices := make([]powerVertex, len(events))
	for i, v := range events {
		r.pool.vertices[v].place = i + 1
	}
	for i, v := range events {
		level, err := r.senderLevel(v)
		if err != nil {
			return nil, err
		}
		vertices[i].number, vertices[i].event, vertices[i].level = v, r.pool.vertices[v].event, level
		auth := slices.Clone(r.pool.auth(v))
		slices.Sort(auth)
		for _, a := range slices.Compact(auth) {
			if place := r.pool.vertices[a].place; place > 0 {
				vertices[i].waits++
				vertices[place-1].citing = append(vertices[place-1].citing, i)
			}
		}
	}
	var candidates byPower
	for i := range vertices {
		if vertices[i].waits == 0 {
			candidates = append(candidates, &vertices[i])
		}
	}
	heap.Init(&candidates)
	sorted := make([]int, 0, len(events))
	for len(candidates) > 0 {
		next := heap.Pop(&candidates).(*powerVertex)
		sorted = append(sorted, next.number)
		for _, c := range next.citing {
			if vertices[c].waits--; vertices[c].waits == 0 {
				heap.Push(&candidates, &vertices[c])
			}
		}
	}
	return sorted, nil
}

// senderLevel returns the power level of an event's sender by the event's own auth events.
func (r *resolution) senderLevel(v int) (int64, error) {
	auth, err := r.authEvents(nil, v, func(id.EventID) bool { return false })
	if err != nil {
		return 0, err
	}
	levels, err := authrules.LevelsOf(r.memo.Over(authrules.EventsState(auth)))
	return levels.User(r.pool.vertices[v].event.Sender()), err
}

// powerVertex is an event that is being sorted.
type powerVertex struct {
	number int
	event  *event.Event
	level  int64
	waits  int   // how many of its auth events aren't sorted yet
	citing []int // which events have it among theirs
}

// byPower is a heap with the smallest event on top.
type byPower []*powerVertex

func (h byPower) Len() int { return len(h) }
func (h byPower) Less(i, j int) bool {
	x, y := h[i], h[j]
	return cmp.Or(cmp.Compare(y.level, x.level),
		cmp.Compare(x.event.OriginServerTS(), y.event.OriginServerTS()),
		cmp.Compare(x.event.ID(), y.event.ID())) < 0
}
func (h byPower) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *byPower) Push(x any)   { *h = append(*h, x.(*powerVertex)) }
func (h *byPower) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
