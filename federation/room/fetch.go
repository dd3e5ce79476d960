package room

import (
	"cmp"
	"maps"
	"slices"

	"hanse/federation/id"
)

// chase is the search for what the waiting events of one origin need. It asks for one thing at a time.
type chase struct {
	chaseKey
	events  []*waiting // in the order in which they came
	bytes   int        // of the events
	fetch   *Fetch     // under way; nil: none
	rounds  int        // get_missing_events asked
	jump    bool       // get_missing_events has closed what it could: from now on fetch states
	fetches int        // all that were asked
	// answered: an answer is being taken in. What it brings goes on with the same bounds: a server can't keep us asking by
	// giving us something new to ask for with each answer.
	answered bool
}

// chaseKey tells chases apart. History has its own: it never delays what is new.
type chaseKey struct {
	origin   id.ServerName
	backfill bool
}

func compareChases(a, b chaseKey) int {
	if a.backfill != b.backfill {
		if b.backfill {
			return -1
		}
		return 1
	}
	return cmp.Compare(a.origin, b.origin)
}

// pursue has each chase that has nothing under way ask for the next thing.
func (s *step) pursue() error {
	w := &s.m.waiting
	underway := 0
	for _, c := range w.chases {
		if c.fetch != nil {
			underway++
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(w.chases), compareChases) {
		c := w.chases[key]
		if c.fetch != nil || underway >= maxChases {
			continue
		}
		f, ok, err := s.next(c)
		if err != nil {
			return err
		}
		if ok {
			s.ask(c, f)
			underway++
		}
	}
	if underway == 0 {
		// Nobody asks for anything, so what is left waits for each other: events with given IDs can name each other.
		for _, key := range slices.SortedFunc(maps.Keys(w.chases), compareChases) {
			s.dropAll(w.chases[key], "its prev events form a cycle")
		}
	}
	return nil
}

// ask starts a fetch.
func (s *step) ask(c *chase, f Fetch) {
	s.m.waiting.ticket++
	f.Ticket = s.m.waiting.ticket
	c.fetch = &f
	c.fetches++
	s.result.Fetch = append(s.result.Fetch, f)
}

// next decides what to ask for; false: nothing.
func (s *step) next(c *chase) (Fetch, bool, error) {
	from := s.askable(c.origin)
	switch {
	case len(from) == 0:
		s.dropAll(c, "there is no other server to ask for what it needs")
		return Fetch{}, false, nil
	case c.fetches >= c.bound():
		s.dropAll(c, "what it needs takes too many requests")
		return Fetch{}, false, nil
	}
	var gaps []id.EventID
	for _, e := range c.events {
		open := s.m.waiting.open(e.prev)
		switch {
		case len(e.prev) == 0:
			return Fetch{Kind: FetchAuth, From: from, At: e.event.ID(), Events: slices.Clone(e.auth)}, true, nil
		case len(open) == 0: // those it waits for come first
		case e.backfill || e.itself:
			return Fetch{Kind: FetchState, From: from, At: e.event.ID()}, true, nil
		case c.jump:
			return Fetch{Kind: FetchState, From: from, At: open[0]}, true, nil
		case len(gaps) < maxLatest:
			gaps = append(gaps, e.event.ID())
		}
	}
	if len(gaps) == 0 {
		return Fetch{}, false, nil
	}
	earliest, err := s.newest(maxEarliest)
	if err != nil {
		return Fetch{}, false, err
	}
	c.rounds++
	c.jump = c.rounds >= maxMissingRounds
	return Fetch{Kind: FetchMissing, From: from, Latest: gaps, Earliest: earliest, Limit: missingLimit}, true, nil
}

func (c *chase) bound() int {
	if c.backfill {
		return maxBackfillFetches
	}
	return maxFetches
}

// askable are the servers to ask, in order: where the event came from, then those with most users in the room.
func (s *step) askable(origin id.ServerName) []id.ServerName {
	list := make([]id.ServerName, 0, maxFrom)
	if origin != s.m.self && origin != "" {
		list = append(list, origin)
	}
	for _, server := range s.m.servers.list() {
		if len(list) == maxFrom {
			break
		}
		if server != s.m.self && server != origin {
			list = append(list, server)
		}
	}
	return list
}

// dropAll gives up all events of a chase.
func (s *step) dropAll(c *chase, reason string) {
	for _, e := range slices.Clone(c.events) {
		s.drop(e, reason)
	}
}
