package rooms

import (
	"cmp"
	"slices"

	"hanse/federation/event"
	"hanse/federation/id"
)

// inTurn puts auth events before what cites them, and otherwise events in the order of their IDs: a commit then changes few pages of the
// database's index, which the next one leaves alone, in place of nearly all. Each event must be there once. Those that name each other in a
// circle, as room versions 1 and 2 let them, come last, with what rests on them.
func inTurn(events []*event.Event) []*event.Event {
	type placed struct {
		*event.Event
		above int // the longest way down to an event that cites none of the others
	}
	at := make(map[id.EventID]int, len(events))
	for i, e := range events {
		at[e.ID()] = i
	}
	order := make([]placed, len(events))
	waits := make([]int, len(events)) // for how many of its auth events
	citing := make(map[int][]int)     // few are cited by others: what nearly all cite is known
	ready := make([]int, 0, len(events))
	for i, e := range events {
		order[i] = placed{Event: e, above: len(events)}
		for _, a := range e.AuthEvents() {
			if below, ok := at[a]; ok {
				waits[i]++
				citing[below] = append(citing[below], i)
			}
		}
		if waits[i] == 0 {
			order[i].above = 0
			ready = append(ready, i)
		}
	}
	for ; len(ready) > 0; ready = ready[1:] {
		below := ready[0]
		for _, i := range citing[below] {
			if waits[i]--; waits[i] == 0 { // the last of them to be ready has the longest way down
				order[i].above = order[below].above + 1
				ready = append(ready, i)
			}
		}
	}
	slices.SortFunc(order, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.above, b.above), cmp.Compare(a.ID(), b.ID()))
	})
	sorted := make([]*event.Event, len(order))
	for i, p := range order {
		sorted[i] = p.Event
	}
	return sorted
}
