package room

import (
	"errors"
	"fmt"

	"hanse/federation/authrules"
	"hanse/federation/canonicaljson"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
)

// adopt takes over a room as another server gave it with its answer to our join.
//
// spec:server-server-api#joining-rooms
func (s *step) adopt(in Adopt) error {
	e := in.Event
	undo := s.mark()
	if s.m.roomID == "" {
		s.m.roomID = e.RoomID()
	}
	refuse := func(reason string, rejection *authrules.Rejection) {
		undo()
		s.verdict(Verdict{EventID: e.ID(), Status: Rejected, Reason: reason, Rejection: rejection})
	}
	if e.RoomID() != s.m.roomID {
		s.verdict(Verdict{EventID: e.ID(), Status: Dropped, Reason: fmt.Sprintf("it belongs to room %s", e.RoomID())})
		return nil
	}
	if in.Partial && s.m.resident {
		s.verdict(Verdict{EventID: e.ID(), Status: Dropped, Reason: "members were left out of the state of a room that we are in"})
		return nil
	}
	if reason := s.wrongCreate(in.State); reason != "" {
		refuse(reason, nil)
		return nil
	}
	since := len(s.order)
	if err := s.displace(); err != nil {
		return err
	}
	// 1. The auth chain and the state, each event judged by its auth events.
	if err := s.outliers(append(in.AuthChain[:len(in.AuthChain):len(in.AuthChain)], in.State...)); err != nil {
		return err
	}
	// 2. The state of those that passed.
	ids := make([]id.EventID, 0, len(in.State))
	for _, a := range in.State {
		ids = append(ids, a.ID())
	}
	state, ok, err := s.stateOf(ids)
	if err != nil {
		return err
	}
	if !ok {
		refuse("the state given has no valid create event", nil)
		return nil
	}
	// 3. Our event on top.
	entered, err := s.enter(in, state, refuse)
	if err != nil || !entered {
		return err
	}
	return s.wakeAll(since)
}

// enter puts our membership event into the room, with the state given before it.
func (s *step) enter(in Adopt, state roomstate.Map, refuse func(string, *authrules.Rejection)) (bool, error) {
	e := in.Event
	if err := s.prefetch([]*event.Event{e}); err != nil {
		return false, err
	}
	stored, ok, err := s.stored(e.ID())
	if err != nil {
		return false, err
	}
	if ok && !stored.Outlier && s.m.resident {
		s.verdict(Verdict{EventID: e.ID(), Status: stored.Status, Duplicate: true})
		return false, nil
	}
	for _, a := range authEvents(e) {
		if _, ok, err := s.stored(a); err != nil {
			return false, err
		} else if !ok {
			refuse(fmt.Sprintf("auth event %s of our event was not in the answer", a), nil)
			return false, nil
		}
	}
	if in.Partial { // who authorised the join of a restricted room is among those left out
		if state, err = s.withClaims(e, state); err != nil {
			return false, err
		}
	}
	c := Committed{Event: e, Before: state, After: stateWith(state, e), Given: true}
	for _, p := range e.PrevEvents() {
		placed, err := s.placed(p)
		if err != nil {
			return false, err
		}
		c.Gap = c.Gap || !placed
	}
	for _, pass := range []func(*Committed) error{s.checkAuthEvents, s.checkStateBefore} {
		if err := pass(&c); err != nil {
			rejection, ok := errors.AsType[*authrules.Rejection](err)
			if !ok {
				return false, err
			}
			refuse("our event isn't allowed in the state given: "+rejection.Error(), rejection)
			return false, nil
		}
	}
	if !s.m.resident {
		// What we knew, if anything, is as old as our leaving: others have gone on from there. What is new follows from the state given.
		s.forward = forward{}
		s.stale = true
		s.m.strays = nil
	}
	s.begin(in)
	s.verdict(verdictOf(&c))
	return true, s.commit(c)
}

// wrongCreate tells what is wrong with the create event of a given state, "" for nothing: it must be there, and make a room of this
// ID and version.
func (s *step) wrongCreate(state []*event.Event) string {
	for _, e := range state {
		if !e.Is(typeCreate, "") {
			continue
		}
		version := roomversion.V1 // spec:client-server-api#mroomcreate the default
		if value, ok := canonicaljson.Get(e.Content(), "room_version"); ok {
			text, _ := canonicaljson.String(value)
			version = roomversion.Version(text)
		}
		switch {
		case version != s.m.rules.Version:
			return fmt.Sprintf("the create event makes a room of version %q, not %q", version, s.m.rules.Version)
		case e.RoomID() != s.m.roomID:
			return fmt.Sprintf("the create event is that of room %s", e.RoomID())
		}
		return ""
	}
	return "the state given has no create event"
}
