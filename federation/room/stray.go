package room

import (
	"slices"

	"hanse/federation/event"
	"hanse/federation/id"
)

// An event of before our join that we don't know, and don't know to be below us, would bring the state of then back as a forward extremity: who
// has come since may be out of the room again. Whoever is in the room can have that with an event of their own; but a server that is banned, or
// never was in it, can only send what others said, or an event of its own that is refused and stands on such a one.
//
// So what a server from outside the room brings of others, by itself or as what its events stand on, is stored and shown like anything else, but
// is a stray: no forward extremity, unless it goes on from one that we have. It is one as soon as a server of the room sends it, or its sender's;
// and an accepted event that stands on it has it as an ancestor, as always. Such an event, and strays that stand on each other, are checked against
// the current state together with that before them, as who says it may have come by one of them.
//
// Strays are kept in memory alone, and for one stay: after a restart, and those beyond maxStrays, they wait for an event that stands on them.

// fromOutside tells whether an event comes from a server that has nobody in the room, and isn't the sender's.
func (s *step) fromOutside(e *event.Event, origin id.ServerName) bool {
	return e.Sender().Server() != origin && origin != s.m.self && !s.m.servers.known(origin)
}

// foreign notes that an event that is about to be judged may become a stray.
func (s *step) foreign(e id.EventID) {
	if s.outside == nil {
		s.outside = make(map[id.EventID]bool)
	}
	s.outside[e] = true
}

// strays tells whether e, without which next are the extremities, doesn't become one.
func (s *step) strays(e *event.Event, next forward) bool {
	if !s.outside[e.ID()] || len(s.forward.list) == 0 || !slices.Equal(next.list, s.forward.list) {
		return false
	}
	if s.m.strays == nil {
		s.m.strays = make(map[id.EventID]bool)
	}
	if len(s.m.strays) < maxStrays {
		s.m.strays[e.ID()] = true
	}
	return true
}

// onStray tells whether an event is one that may be a stray, or stands on one.
func (s *step) onStray(e *event.Event) bool {
	return s.outside[e.ID()] || slices.ContainsFunc(e.PrevEvents(), func(p id.EventID) bool { return s.m.strays[p] })
}

// vouch makes a stray an extremity that a server sends which may.
func (s *step) vouch(e *event.Event, origin id.ServerName) {
	if !s.m.strays[e.ID()] || s.fromOutside(e, origin) {
		return
	}
	delete(s.m.strays, e.ID())
	if s.partial != nil {
		for i, u := range s.partial.Unsure {
			s.partial.Unsure[i].Outside = u.Outside && u.Event != e.ID()
		}
	}
	s.forward = s.forward.with(e.ID())
	s.forward.depth = max(s.forward.depth, e.Depth())
	s.stale = true
}
