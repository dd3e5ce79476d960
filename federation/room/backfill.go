package room

import (
	"slices"

	"hanse/federation/dag"
	"hanse/federation/event"
	"hanse/federation/id"
)

// backfill takes in history. Each event needs the state before it: by its prev events where they are known, by asking another server
// at the oldest ones. Only what is judged is stored: events that wait are not kept over a restart, the client that scrolls asks again.
//
// spec:server-server-api#backfilling-and-retrieving-missing-events
func (s *step) backfill(in Backfill) error {
	events, err := s.history(in.Events)
	if err != nil {
		return err
	}
	return s.takeIn(events, arrival{origin: in.Origin, backfill: true})
}

// history leaves out what isn't below accepted events that we have: a server could otherwise have us take something new for something old,
// and never show it.
func (s *step) history(events []*event.Event) ([]*event.Event, error) {
	sorted := s.nearest(dag.SortTopologically(events))
	if err := s.prefetch(sorted); err != nil {
		return nil, err
	}
	below := make(map[id.EventID]bool)
	list := make([]*event.Event, 0, len(sorted))
	for _, e := range slices.Backward(sorted) {
		stored, ok, err := s.stored(e.ID())
		if err != nil {
			return nil, err
		}
		referenced, err := s.isReferenced(e.ID())
		if err != nil {
			return nil, err
		}
		placed := ok && !stored.Outlier
		switch {
		case referenced || below[e.ID()] || placed && stored.Status == Accepted:
			for _, p := range e.PrevEvents() {
				below[p] = true
			}
		case !placed:
			s.verdict(Verdict{EventID: e.ID(), Status: Dropped, Reason: "it isn't below accepted events that we have"})
			continue
		}
		list = append(list, e)
	}
	slices.Reverse(list)
	return list, nil
}

// nearest leaves out the oldest events of a page that names too many.
func (s *step) nearest(sorted []*event.Event) []*event.Event {
	named := 0
	for i, e := range slices.Backward(sorted) {
		if named += len(e.PrevEvents()) + len(authEvents(e)); named > maxNamedByPage {
			for _, left := range sorted[:i+1] {
				s.verdict(Verdict{EventID: left.ID(), Status: Dropped, Reason: "the events that came with it name too many others"})
			}
			return sorted[i+1:]
		}
	}
	return sorted
}
