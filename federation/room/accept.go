package room

import (
	"fmt"

	"hanse/federation/event"
)

// accept takes in a membership event that was made with us as the resident server. It is judged like a received one, but all or
// nothing: its server waits for our answer, and will tell its user.
func (s *step) accept(in Accept) error {
	e := in.Event
	if err := s.prefetch([]*event.Event{e}); err != nil {
		return err
	}
	taken, err := s.taken(e)
	if err != nil {
		return err
	}
	if taken {
		s.verdict(Verdict{EventID: e.ID(), Status: Dropped, Reason: "another event was accepted under its ID"})
		return nil
	}
	stored, ok, err := s.stored(e.ID())
	if err != nil {
		return err
	}
	if ok && !stored.Outlier && e.RoomID() == s.m.roomID {
		s.verdict(Verdict{EventID: e.ID(), Status: stored.Status, Duplicate: true})
		s.result.Before, err = s.stateAfterAll(stored.Event.PrevEvents())
		return err
	}
	switch ready, err := s.needs(&waiting{event: e, origin: in.Origin}); {
	case err != nil:
		return err
	case e.RoomID() != s.m.roomID:
		s.verdict(Verdict{EventID: e.ID(), Status: Dropped, Reason: fmt.Sprintf("it belongs to room %s", e.RoomID())})
		return nil
	case !s.m.resident:
		s.verdict(Verdict{EventID: e.ID(), Status: Dropped, Reason: "we aren't in the room"})
		return nil
	case s.partial != nil && in.Origin != s.m.self:
		s.verdict(Verdict{EventID: e.ID(), Status: Dropped, Reason: "we don't have the whole state of the room yet"})
		return nil
	case !ready:
		s.verdict(Verdict{EventID: e.ID(), Status: Dropped, Reason: "it stands on events that we don't know: ask for a new template"})
		return nil
	}
	c, err := s.judge(e, false)
	if err != nil {
		return err
	}
	s.result.Before = c.Before
	s.verdict(verdictOf(&c))
	if c.Status != Accepted {
		return nil
	}
	if err := s.commit(c); err != nil {
		return err
	}
	s.sends = append(s.sends, sending{c: s.batch[e.ID()], origin: in.Origin})
	s.welcome(&c)
	return s.wake(e.ID())
}
