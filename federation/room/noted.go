package room

import (
	"hanse/federation/event"
	"hanse/federation/id"
)

// noted are membership events that were handed in as outliers while the state isn't whole, and what they say: nearly all of a large room's
// state, which comes in parts. So it need not be read again when it is complete. Those that aren't noted are read: rejected ones, what comes
// beyond maxNoted, all that came before the machine was loaded, and what came otherwise: parts come for few rooms at a time, and are forgotten
// when no more do, but other outliers whenever another server likes. The zero value is empty.
type noted struct {
	members map[id.EventID]notedMember
}

type notedMember struct {
	stateKey string
	Member
}

// learn takes over what a step has decided; part: of [Outliers]. An event that has got its place may be rejected there, so it isn't noted any more.
func (n *noted) learn(events []Committed, part bool) {
	for i := range events {
		c := &events[i]
		switch key, ok := c.Event.StateKey(); {
		case !ok || c.Event.Type() != typeMember:
		case !c.Outlier || c.Status != Accepted:
			delete(n.members, c.Event.ID())
		case part && len(n.members) < maxNoted:
			if n.members == nil {
				n.members = make(map[id.EventID]notedMember)
			}
			n.members[c.Event.ID()] = notedMember{key, memberOf(c.Event)}
		}
	}
}

// memberOf is what a membership event says.
func memberOf(e *event.Event) Member { return Member{Membership: e.Membership(), Sender: e.Sender()} }

// Forget drops what is kept in memory of the state that comes in parts ([Outliers]), when the rest of it can't be had now: a [Complete] then reads
// it again.
func (m *Machine) Forget() { m.noted = noted{} }

// noted gives a membership event that needs not be read.
func (s *step) noted(e id.EventID) (notedMember, bool) {
	if s.batch[e] != nil { // decided anew
		return notedMember{}, false
	}
	known, ok := s.m.noted.members[e]
	return known, ok
}

// unnoted are the other events.
func (s *step) unnoted(ids []id.EventID) []id.EventID {
	if len(s.m.noted.members) == 0 {
		return ids
	}
	rest := make([]id.EventID, 0, len(ids))
	for _, e := range ids {
		if _, ok := s.noted(e); !ok {
			rest = append(rest, e)
		}
	}
	return rest
}
