package room

import (
	"errors"
	"fmt"
	"slices"

	"hanse/federation/authrules"
	"hanse/federation/canonicaljson"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

// ReasonBehind is why a state without members isn't taken: it doesn't know yet how we left the room, so that it is to be resolved with the
// state that we left, for which it must be whole.
const ReasonBehind = "the server that let us in hasn't heard that we left the room, and gave its state without members"

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
	behind, err := s.behind(in)
	if err != nil {
		return err
	}
	if behind && in.Partial {
		s.verdict(Verdict{EventID: e.ID(), Status: Dropped, Reason: ReasonBehind})
		return nil
	}
	since := len(s.order)
	if !behind {
		if err := s.displace(); err != nil {
			return err
		}
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
	state, leftOut, ok, err := s.stateOf(ids)
	if err != nil {
		return err
	}
	if !ok {
		refuse("the state given has no valid create event", nil)
		return nil
	}
	if in.Partial { // who authorised the join of a restricted room is among those left out
		if state, err = s.withClaims(e, state); err != nil {
			return err
		}
	}
	// 3. Our event on top.
	entered, err := s.enter(in, given{state, leftOut}, behind, refuse)
	if err != nil || !entered {
		return err
	}
	return s.wakeAll(since)
}

// behind tells whether the state given doesn't know how we left the room, so that others have yet to resolve the two: the memberships of a
// user of ours, back from the one given, don't come to the last one that we know, as who gave the state hasn't heard of our leave, or of a
// kick. Where members were left out, who gave the state says whether anybody of ours is in the room for it.
func (s *step) behind(in Adopt) (bool, error) {
	if s.m.resident || s.m.current.Len() == 0 {
		return false, nil
	}
	known := make(map[id.EventID]*event.Event)
	for _, e := range in.AuthChain {
		if s.isOurs(e) {
			known[e.ID()] = e
		}
	}
	joiner, _ := in.Event.StateKey()
	heads := []*event.Event{in.Event}
	for _, e := range in.State {
		if s.isOurs(e) {
			known[e.ID()] = e
			if !e.Is(typeMember, joiner) {
				heads = append(heads, e)
			}
		}
	}
	for _, e := range heads {
		user, _ := e.StateKey()
		at, err := s.m.current.Event(typeMember, user)
		if err != nil {
			return false, err
		}
		if at == "" || at == e.ID() {
			continue
		}
		before, err := s.memberships(e, known)
		if err != nil {
			return false, err
		}
		if len(before) <= maxWalk && !contains(before, at) {
			return true, nil
		}
	}
	if !in.Partial || !slices.Contains(in.Servers, s.m.self) {
		return false, nil
	}
	return s.leftBehind(joiner)
}

// leftBehind tells whether users of ours have been in the room besides the one given.
func (s *step) leftBehind(joiner string) (bool, error) {
	for member, err := range s.m.current.OfType(typeMember) {
		if err != nil {
			return false, err
		}
		if member.StateKey != joiner && id.UserID(member.StateKey).Server() == s.m.self {
			return true, nil
		}
	}
	return false, nil
}

func contains(events []*event.Event, e id.EventID) bool {
	return slices.ContainsFunc(events, func(x *event.Event) bool { return x.ID() == e })
}

// memberships are a membership event and those before it of the same user, as each names the one that it follows: as far as they are given,
// or stored, and one more than maxWalk at most.
func (s *step) memberships(e *event.Event, given map[id.EventID]*event.Event) ([]*event.Event, error) {
	user, _ := e.StateKey()
	list := []*event.Event{e}
	for at := 0; at < len(list) && len(list) <= maxWalk; at++ {
		for _, a := range list[at].AuthEvents() {
			before := given[a]
			if before == nil {
				stored, _, err := s.stored(a)
				if err != nil {
					return nil, err
				}
				before = stored.Event
			}
			if before != nil && before.Is(typeMember, user) && !contains(list, a) {
				list = append(list, before)
			}
		}
	}
	return list, nil
}

// isOurs tells whether an event is the membership of a user of ours.
func (s *step) isOurs(e *event.Event) bool {
	user, ok := e.StateKey()
	return ok && e.Type() == typeMember && id.UserID(user).Server() == s.m.self
}

// enter puts our membership event into the room, with the state given before it.
func (s *step) enter(in Adopt, before given, behind bool, refuse func(string, *authrules.Rejection)) (bool, error) {
	e := in.Event
	if err := s.prefetch([]*event.Event{e}); err != nil {
		return false, err
	}
	stored, ok, err := s.stored(e.ID())
	if err != nil {
		return false, err
	}
	if ok && !stored.Outlier {
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
	c, err := s.entered(e, before)
	if err != nil {
		return false, err
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
		// What we knew, if anything, is as old as our leaving: others have gone on from there. What is new follows from the state given; and
		// from ours, if that isn't older than what was given: at once, or when it is whole.
		if !behind || s.partial != nil {
			s.forward = forward{}
		}
		s.stale = true
		s.m.strays = nil
	}
	s.begin(in, behind)
	s.verdict(verdictOf(&c))
	return true, s.commit(c)
}

// entered is our membership event, accepted, with the state given before it.
func (s *step) entered(e *event.Event, before given) (Committed, error) {
	after, err := stateWith(before.state, e)
	if err != nil {
		return Committed{}, err
	}
	c := Committed{Event: e, Before: before.state, After: after, Given: true, LeftOut: before.leftOut}
	for _, p := range e.PrevEvents() {
		placed, err := s.placed(p)
		if err != nil {
			return c, err
		}
		c.Gap = c.Gap || !placed
	}
	return c, nil
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
