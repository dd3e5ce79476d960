package dag

import "hanse/federation/event"

// SortTopologically returns the events in an order in which each comes after its prev events and its auth events, as
// far as they are among the events.
func SortTopologically(events []*event.Event) []*event.Event { return events }
