package room

import (
	"errors"
	"fmt"
	"slices"

	"hanse/federation/authrules"
	"hanse/federation/dag"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
)

// A server that joins a large room may get its state without the members (send_join with omit_members). The room is used at
// once; what is decided meanwhile is decided by what is known, and is decided again, from the join on and in the same order, when
// the state before the join is there as a whole ([Complete]). So the room ends as if it had been joined with the whole state.
//
// Meanwhile:
//
//   - An event is allowed by the members that it names itself: where the state has no membership for a user, that among the event's
//     auth events counts, and becomes part of the state with the event. It is what the sender's server said of the members that it
//     took, signed by them; a ban that it leaves out shows when the state is whole. Deployed servers do it alike.
//   - The servers of the room are those that the resident server told, with those of the members known by now.
//   - We can't answer for the room: joins, leaves and knocks that come to us (Accept) are dropped.
//
// A room that is left before its state was whole stays so: nobody gives us its state any more. When it is joined again, what was decided
// in it loses its place ([Committed]) and is decided anew when it is needed: it is history below the new join. But if the state given at the
// new join doesn't know how the room was left, the state before the first join is still to be had, and all is judged again when it is.
//
// spec:server-server-api#joining-rooms

// PartialState is what a room has while its state isn't whole.
type PartialState struct {
	// Join is our membership event, before which the state isn't whole.
	Join id.EventID
	// Servers are those that had joined members before Join, by the word of the server that we joined through.
	Servers []id.ServerName
	// Unsure are the events that have got their place since, in the order in which they got it, Join first: they are judged again
	// when the state is whole. At most maxUnsure.
	Unsure []Unsure

	reopened int // how many of Unsure have the state given as it is stored, the first ones
}

// reopen has the states given be those that are stored, as far as they are.
func (p *PartialState) reopen(before func(id.EventID) (roomstate.Map, bool, error)) bool {
	for ; p.reopened < len(p.Unsure); p.reopened++ {
		u := &p.Unsure[p.reopened]
		if !u.Given {
			continue
		}
		stored, ok, err := before(u.Event)
		if err != nil || !ok || !stored.Equal(u.Before) {
			return false
		}
		u.Before = stored
	}
	return true
}

// Unsure is an event that was judged while the state wasn't whole.
type Unsure struct {
	Event      id.EventID
	Backfilled bool
	// Below says that an accepted event was known to stand on it when it got its place.
	Below bool
	// Given says that another server gave the state before the event, which is Before: whole, though that at our join isn't.
	// LeftOut are events of it that were rejected: they are of it if they aren't any more when the event is judged again.
	Given   bool
	Before  roomstate.Map
	LeftOut []id.EventID
	// Outside says that it came from outside the room and nobody has vouched for it: see stray.go. It is kept in memory alone.
	Outside bool
}

// Partial is what there is to know while the state isn't whole; nil when it is. It must not be changed, nor kept over a Step.
func (m *Machine) Partial() *PartialState { return m.partial }

// Full tells that the state isn't whole and no more events are judged before it is: they are dropped.
func (m *Machine) Full() bool { return m.partial != nil && len(m.partial.Unsure) >= maxUnsure }

// begin notes that the room has a partial state from this step on, or none any more. Where the one given is behind, that of when the room was
// left is still to be had.
func (s *step) begin(in Adopt, behind bool) {
	switch {
	case in.Partial:
		told := slices.Clone(in.Servers[:min(len(in.Servers), maxTold)])
		slices.Sort(told)
		s.partial = &PartialState{Join: in.Event.ID(), Servers: slices.Compact(told)}
		s.result.Commit.Partial = s.partial
		s.m.servers.tell(s.partial.Servers)
	case !s.m.resident && !behind && s.partial != nil: // left before it was whole, and joined anew
		s.end()
	}
}

// displace takes their places from the events of a room that was left before its state was whole, as it is joined anew: the verdicts and
// states of them may be wrong, and there is nobody who could tell of the state before the join of then. Like all that is known without
// its place they are judged by their auth events alone; but those that were rejected stay so, which others have rejected most likely too:
// that members are missing hardly ever speaks against an event. If one is in a state that another server gives, it is mended.
func (s *step) displace() error {
	if s.m.resident || s.partial == nil {
		return nil
	}
	ids := make([]id.EventID, 0, len(s.partial.Unsure))
	for _, u := range s.partial.Unsure {
		ids = append(ids, u.Event)
	}
	if err := s.load(ids); err != nil {
		return err
	}
	events, rejected := make([]*event.Event, 0, len(ids)), make(map[id.EventID]bool)
	for _, e := range ids {
		stored, ok, err := s.stored(e)
		if err != nil {
			return err
		}
		if !ok || stored.Outlier {
			return fmt.Errorf("room: the event %s, of a room left before its state was whole, has no place", e)
		}
		events, rejected[e] = append(events, stored.Event), stored.Status == Rejected
	}
	if err := s.prefetchAuth(events); err != nil {
		return err
	}
	for _, e := range dag.SortTopologically(events) {
		c, judged, err := s.judgeOutlier(e)
		if err != nil {
			return err
		}
		if !judged {
			return fmt.Errorf("room: an auth event of %s is not stored", e.ID())
		}
		if c.Again = true; c.Status == Accepted && rejected[e.ID()] {
			c.Status, c.Reason = Rejected, "it was rejected in a room whose state wasn't whole, which we have left since"
		}
		s.verdict(Verdict{EventID: e.ID(), Status: Dropped, Reason: "it was judged in a room whose state wasn't whole, which we have left since"})
		if err := s.commit(c); err != nil {
			return err
		}
	}
	s.m.cache = newCache() // its states are those of then
	return nil
}

// end has the state be whole.
func (s *step) end() {
	s.partial = nil
	s.result.Commit.Whole = true
	s.m.servers.tell(nil)
}

// unsure are the step's events that are to be judged again, in their order.
func (s *step) unsure() []Unsure {
	var list []Unsure
	for _, c := range s.order {
		if c == nil || !c.Unsure {
			continue
		}
		u := c.AsUnsure()
		u.Outside = s.outside[u.Event]
		list = append(list, u)
	}
	return list
}

// full tells whether no more events can be judged before the state is whole.
func (s *step) full() bool {
	return s.partial != nil && len(s.partial.Unsure)+len(s.order) >= maxUnsure
}

// claimed is a state with the memberships that an event's auth events tell, for those users of whom the state knows none.
func (s *step) claimed(e *event.Event, state roomstate.Map) (roomstate.Map, error) {
	if s.partial == nil || s.replaying {
		return state, nil
	}
	return s.withClaims(e, state)
}

// withClaims is claimed, whether the room has a partial state already or gets it with the event.
func (s *step) withClaims(e *event.Event, state roomstate.Map) (roomstate.Map, error) {
	for _, a := range e.AuthEvents() {
		stored, ok, err := s.stored(a)
		if err != nil {
			return state, err
		}
		if !ok || stored.Status == Rejected || stored.Event.Type() != typeMember {
			continue
		}
		key, isState := stored.Event.StateKey()
		if !isState {
			continue
		}
		known, err := state.Event(typeMember, key)
		if err == nil && known == "" {
			state, err = state.Set(typeMember, key, a)
		}
		if err != nil {
			return state, err
		}
	}
	return state, nil
}

// complete takes in the state before our join, and judges again what was judged without it.
func (s *step) complete(in Complete) error {
	if s.partial == nil || s.partial.Join != in.Join {
		return nil // it came too late
	}
	drop := func(reason string, args ...any) error {
		s.verdict(Verdict{EventID: in.Join, Status: Dropped, Reason: fmt.Sprintf(reason, args...)})
		return nil
	}
	if in.Lost {
		return s.standIn(drop)
	}
	since := len(s.order)
	if err := s.outliers(in.Events); err != nil {
		return err
	}
	if err := s.wakeAll(since); err != nil {
		return err
	}
	s.members = make(map[id.EventID]Member)
	states := make([]roomstate.Map, 0, len(in.States))
	for _, ids := range in.States {
		if len(ids) > maxState {
			return drop("the state given has %d events", len(ids))
		}
		state, _, ok, err := s.stateOf(ids)
		if err != nil || !ok {
			return errors.Join(err, drop("the state given has no valid create event"))
		}
		states = append(states, state)
	}
	state, err := s.resolve(states)
	if err != nil {
		return err
	}
	join, reason, err := s.fitting(in, state)
	if err != nil {
		return err
	}
	if reason != "" {
		return drop("%s", reason)
	}
	s.verdict(Verdict{EventID: in.Join, Status: Accepted, Duplicate: true})
	return s.replay(join, state)
}

// standIn judges all again with the state that was given at a later join in place of the members that aren't known.
func (s *step) standIn(drop func(string, ...any) error) error {
	stored, ok, err := s.stored(s.partial.Join)
	if err != nil || !ok {
		return errors.Join(err, drop("our join is not stored"))
	}
	join := stored.Event
	ours, _ := join.StateKey()
	state, err := s.after(join.ID())
	if err != nil {
		return err
	}
	if state, err = state.Remove(typeMember, ours); err != nil {
		return err
	}
	if state, err = s.withClaims(join, state); err != nil {
		return err
	}
	for _, u := range slices.Backward(s.partial.Unsure) {
		if !u.Given || u.Event == join.ID() {
			continue
		}
		later, ok, err := s.stored(u.Event)
		if err != nil {
			return err
		}
		if !ok || !s.adopted(u, later) {
			continue
		}
		for member, err := range u.Before.OfType(typeMember) {
			if err != nil {
				return err
			}
			if member.StateKey == ours {
				continue
			}
			known, err := state.Event(typeMember, member.StateKey)
			if err == nil && known == "" {
				state, err = state.Set(typeMember, member.StateKey, member.Event)
			}
			if err != nil {
				return err
			}
		}
		s.verdict(Verdict{EventID: join.ID(), Status: Accepted, Duplicate: true})
		return s.replay(join, state)
	}
	return drop("no other server has given the room's state since")
}

// adopted tells whether an event is a later join of ours, with the whole state given before it.
func (s *step) adopted(u Unsure, stored Stored) bool {
	return u.Given && s.isOurs(stored.Event) && stored.Event.Membership() == "join" && stored.Status == Accepted
}

// fitting tells what speaks against a state as that before our join; "" for nothing.
func (s *step) fitting(in Complete, state roomstate.Map) (join *event.Event, reason string, err error) {
	stored, ok, err := s.stored(in.Join)
	if err != nil || !ok {
		return nil, "our join is not stored", err
	}
	join = stored.Event
	known, err := s.after(in.Join)
	if err != nil {
		return nil, "", err
	}
	ours, _ := join.StateKey()
	for e, err := range known.Entries() {
		if err != nil {
			return nil, "", err
		}
		claimed := slices.Contains(join.AuthEvents(), e.Event) // of whom nothing else was known
		if e.Type == typeMember && (e.StateKey == ours || !in.Strict || claimed) {
			continue
		}
		got, err := state.Event(e.Type, e.StateKey)
		if err != nil {
			return nil, "", err
		}
		if got != e.Event && (in.Strict || e.Type == typeCreate) {
			return nil, fmt.Sprintf("it has another %s than the state that we joined with", e.Type), nil
		}
	}
	c := Committed{Event: join, Before: state}
	if err := s.checkStateBefore(&c); err != nil {
		rejection, ok := errors.AsType[*authrules.Rejection](err)
		if !ok {
			return nil, "", err
		}
		return nil, "our join isn't allowed in it: " + rejection.Error(), nil
	}
	return join, "", nil
}

// replay judges the unsure events again, as they came, on top of our join with the whole state before it.
func (s *step) replay(join *event.Event, state roomstate.Map) error {
	log := s.partial.Unsure
	log = append(log[:len(log):len(log)], s.unsure()...) // with what the state's events have woken just now
	ids := make([]id.EventID, 0, len(log))
	for _, u := range log {
		ids = append(ids, u.Event)
	}
	if err := s.load(ids); err != nil {
		return err
	}
	if err := s.uncover(log); err != nil {
		return err
	}
	s.end()
	s.replaying, s.mendedAuth, s.fallen = true, make(map[id.EventID]bool), make(map[id.EventID]*event.Event)
	s.m.cache = newCache() // its states are those of before
	s.forward, s.stale = forward{}, true
	s.left = make(map[id.EventID]bool, len(ids))
	for _, e := range ids {
		s.left[e] = true
	}
	for _, u := range log {
		delete(s.left, u.Event)
		if err := s.again(u, join, state); err != nil {
			return err
		}
	}
	s.replaying = false
	return nil
}

// mendOutliers judges those of some events again that are outliers, with the outliers that they stand on, where their verdicts may rest
// on one by a part of the state: those that are rejected, and, as soon as an event has turned out to be rejected, each of the others once.
func (s *step) mendOutliers(level []id.EventID) error {
	seen, retried := make(map[id.EventID]bool), 0
	var events []*event.Event
	rejected := make(map[id.EventID]bool)
	for len(level) > 0 {
		if err := s.load(level); err != nil {
			return err
		}
		var below []id.EventID
		for _, a := range level {
			stored, ok, err := s.stored(a)
			if err != nil {
				return err
			}
			if !ok || seen[a] || !stored.Outlier {
				continue
			}
			seen[a] = true
			if stored.Status == Rejected {
				if retried++; retried > maxWalk {
					continue
				}
				rejected[a] = true
			} else {
				if len(s.fallen) == 0 || s.mendedAuth[a] || len(s.mendedAuth) >= maxUnsure {
					continue
				}
				s.mendedAuth[a] = true
			}
			events, below = append(events, stored.Event), append(below, authEvents(stored.Event)...)
		}
		level = below
	}
	if len(events) == 0 {
		return nil
	}
	if err := s.prefetchAuth(events); err != nil {
		return err
	}
	for _, a := range dag.SortTopologically(events) {
		c, judged, err := s.judgeOutlier(a)
		if err != nil {
			return err
		}
		if !judged || (c.Status == Rejected) == rejected[a.ID()] {
			continue
		}
		if c.Status == Rejected {
			s.fallen[a.ID()] = a
		}
		c.Again = s.left[a.ID()]
		s.mended(c)
		if err := s.commit(c); err != nil {
			return err
		}
	}
	return nil
}

// uncover forgets which of the events that are judged again were below others of them when they got their place: those may be rejected now. What
// is below an event that isn't judged again, as one of an earlier stay in the room, stays so.
func (s *step) uncover(log []Unsure) error {
	covered := make(map[id.EventID]bool)
	for _, u := range log {
		s.above[u.Event] = u.Below && !covered[u.Event]
		stored, ok, err := s.stored(u.Event)
		if err != nil {
			return err
		}
		if !ok || stored.Status != Accepted {
			continue
		}
		for _, p := range stored.Event.PrevEvents() {
			covered[p] = true
		}
	}
	return nil
}

// givenAgain is a state that another server gave, by the verdicts of now.
func (s *step) givenAgain(u Unsure) (given, error) {
	g := given{state: u.Before}
	for e, fell := range s.fallen {
		key, _ := fell.StateKey()
		at, err := g.state.Event(fell.Type(), key)
		if err == nil && at == e {
			g.state, err = g.state.Remove(fell.Type(), key)
		}
		if err != nil {
			return g, err
		}
	}
	for _, e := range u.LeftOut {
		stored, ok, err := s.stored(e)
		if err != nil {
			return g, err
		}
		if ok && stored.Status != Rejected {
			if g.state, err = stateWith(g.state, stored.Event); err != nil {
				return g, err
			}
		}
	}
	return g, nil
}

// again judges one event anew.
func (s *step) again(u Unsure, join *event.Event, state roomstate.Map) error {
	stored, ok, err := s.stored(u.Event)
	if err != nil {
		return err
	}
	if !ok || stored.Outlier && (s.batch[u.Event] == nil || !s.batch[u.Event].Again) { // see mendOutliers
		return fmt.Errorf("room: the event %s, to be judged again, has no place", u.Event)
	}
	if u.Event == join.ID() {
		after, err := stateWith(state, join)
		if err != nil {
			return err
		}
		return s.commit(Committed{Event: join, Before: state, After: after, Given: true, Again: true})
	}
	if err := s.mendOutliers(slices.Concat(authEvents(stored.Event), u.LeftOut)); err != nil {
		return err
	}
	if u.Given {
		if s.given[u.Event], err = s.givenAgain(u); err != nil {
			return err
		}
	}
	if s.adopted(u, stored) {
		c, err := s.entered(stored.Event, s.given[u.Event])
		c.Again = true
		return errors.Join(err, s.commit(c))
	}
	if u.Outside {
		s.foreign(u.Event)
	}
	c, err := s.judge(stored.Event, u.Backfilled)
	if err != nil {
		return err
	}
	c.Again = s.batch[u.Event] == nil // else it got its place just now
	if c.Status == SoftFailed && stored.Status == Accepted && stored.Event.Sender().Server() == s.m.self {
		c.Status, c.Rejection, c.Reason = Accepted, nil, "" // it is on its way, and others stand on it: a leave that is forgotten splits the room
	}
	if c.Status != stored.Status {
		s.verdict(verdictOf(&c))
	}
	if c.Status == Rejected && stored.Status != Rejected {
		s.fallen[u.Event] = c.Event
	}
	return s.commit(c)
}
