package dag

import (
	"container/heap"
	"slices"
	"strings"

	"hanse/federation/event"
	"hanse/federation/id"
)

// SortTopologically returns the events in an order in which each comes after its prev events and its auth events, as
// far as they are among the events. Where that leaves a choice, the smaller depth comes first, then the smaller event
// ID, so that the order depends on the set of events alone. An event given twice is in it once.
//
// In room versions 1 and 2 servers choose event IDs and could make events that refer to each other in a circle. Those,
// and what refers to them, come last, by depth and ID.
func SortTopologically(events []*event.Event) []*event.Event {
	s := sorting{waits: make(map[id.EventID]int, len(events)), children: make(map[id.EventID][]*event.Event, len(events))}
	known := make(map[id.EventID]*event.Event, len(events))
	for _, e := range events {
		known[e.ID()] = e
	}
	for _, e := range known {
		parents := append(slices.Clone(e.PrevEvents()), e.AuthEvents()...)
		slices.Sort(parents)
		for _, parent := range slices.Compact(parents) {
			if known[parent] != nil {
				s.waits[e.ID()]++
				s.children[parent] = append(s.children[parent], e)
			}
		}
		if s.waits[e.ID()] == 0 {
			s.ready = append(s.ready, e)
		}
	}
	heap.Init(&s.ready)
	sorted := make([]*event.Event, 0, len(known))
	for len(s.ready) > 0 {
		e := heap.Pop(&s.ready).(*event.Event)
		sorted = append(sorted, e)
		delete(known, e.ID())
		for _, child := range s.children[e.ID()] {
			if s.waits[child.ID()]--; s.waits[child.ID()] == 0 {
				heap.Push(&s.ready, child)
			}
		}
	}
	first := len(sorted)
	for _, e := range known { // circles
		sorted = append(sorted, e)
	}
	slices.SortFunc(sorted[first:], compare)
	return sorted
}

type sorting struct {
	ready    byDepth
	waits    map[id.EventID]int            // parents that are not sorted yet
	children map[id.EventID][]*event.Event // who waits for it
}

func compare(a, b *event.Event) int {
	switch {
	case a.Depth() < b.Depth():
		return -1
	case a.Depth() > b.Depth():
		return 1
	}
	return strings.Compare(string(a.ID()), string(b.ID()))
}

// byDepth is a heap of events, the smallest by compare on top.
type byDepth []*event.Event

func (h byDepth) Len() int           { return len(h) }
func (h byDepth) Less(i, j int) bool { return compare(h[i], h[j]) < 0 }
func (h byDepth) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *byDepth) Push(x any)        { *h = append(*h, x.(*event.Event)) }
func (h *byDepth) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
