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
	"hanse/federation/roomversion"
)

// receive takes in events of a transaction.
func (s *step) receive(in Receive) error {
	if !s.m.resident {
		for _, e := range in.Events {
			s.verdict(Verdict{EventID: e.ID(), Status: Dropped, Reason: "we aren't in the room"})
		}
		return nil
	}
	return s.takeIn(in.Events, arrival{origin: in.Origin, stage: true})
}

// arrival is how events came in.
type arrival struct {
	origin   id.ServerName
	stage    bool // acknowledged: must not be lost while they wait
	staged   bool // staged already, before the last stop
	backfill bool
}

// resume receives again what was staged before the last stop. The origin isn't kept: the sender's server stands in for it.
func (s *step) resume() error {
	staged := s.m.waiting.staged
	s.m.waiting.staged = nil
	for _, e := range staged {
		if err := s.takeIn([]*event.Event{e}, arrival{origin: e.Sender().Server(), stage: true, staged: true}); err != nil {
			return err
		}
	}
	return nil
}

// takeIn judges the events that can be judged, parents first, and has the others wait.
func (s *step) takeIn(events []*event.Event, how arrival) error {
	if err := s.prefetch(events); err != nil {
		return err
	}
	s.result.Verdicts = slices.Grow(s.result.Verdicts, len(events))
	for _, e := range dag.SortTopologically(events) {
		e, err := s.whole(e)
		if err != nil {
			return err
		}
		w := &waiting{event: e, origin: how.origin, staged: how.staged, backfill: how.backfill, outside: s.fromOutside(e, how.origin)}
		known, err := s.known(e, how)
		if err != nil {
			return err
		}
		if known {
			s.unstage(w)
			continue
		}
		if err := s.settle(w, how.stage); err != nil {
			return err
		}
	}
	return nil
}

// prefetch reads in bulk what the events and their checks refer to.
func (s *step) prefetch(events []*event.Event) error {
	ids, own := make([]id.EventID, 0, usualReferences*len(events)), make([]id.EventID, 0, len(events))
	for _, e := range events {
		ids = append(append(append(ids, e.ID()), e.PrevEvents()...), authEvents(e)...)
		own = append(own, e.ID())
	}
	if err := s.load(ids); err != nil {
		return err
	}
	return s.loadReferenced(own)
}

// usualReferences is how many events a message names, itself and its room's create event among them.
const usualReferences = 6

// whole is an event, or our own copy of it where that has what the one given lacks. Who wasn't in the room when something was said may
// be given it redacted, while the answer to their join, which has the state, is whole: an access control list without its content would
// keep everybody out.
func (s *step) whole(e *event.Event) (*event.Event, error) {
	stored, ok, err := s.stored(e.ID())
	if err != nil || !ok || !stored.Outlier || !mends(stored.Event, e) {
		return e, err
	}
	return stored.Event, nil
}

// mends tells whether an event is whole, and a copy of it came redacted.
func mends(e, redacted *event.Event) bool {
	return !redacted.ContentHashMatches() && e.ContentHashMatches() && e.ReferenceHash() == redacted.ReferenceHash()
}

// known gives the verdict for an event that needs no judging.
func (s *step) known(e *event.Event, how arrival) (bool, error) {
	if e.RoomID() != s.m.roomID {
		s.verdict(Verdict{EventID: e.ID(), Status: Dropped, Reason: fmt.Sprintf("it belongs to room %s", e.RoomID())})
		return true, nil
	}
	if w := s.m.waiting.byID[e.ID()]; w != nil {
		fits := !mends(e, w.event) || s.m.waiting.makeWhole(w, e)
		if how.stage {
			s.stage(w) // now it was acknowledged
			w.outside = w.outside && s.fromOutside(e, how.origin)
		}
		if !fits { // it waits with what else came from who gave the whole one, if at all
			s.m.waiting.remove(w)
			w.event, w.origin, w.backfill = e, how.origin, w.backfill && how.backfill
			return true, s.settle(w, false)
		}
		s.verdict(Verdict{EventID: e.ID(), Status: Waiting, Duplicate: true})
		return true, nil
	}
	stored, ok, err := s.stored(e.ID())
	if err != nil {
		return false, err
	}
	if ok && !stored.Outlier {
		s.makeWhole(stored, e)
		s.verdict(Verdict{EventID: e.ID(), Status: stored.Status, Duplicate: true})
		if how.stage {
			s.vouch(e, how.origin)
		}
		return true, nil
	}
	return false, nil
}

// makeWhole has a whole event replace the copy that has its place, if that came redacted: any server in the room may send it so before its own
// server does, and would take what was said, or an access control list, from others. Its verdict stays, and so must be one that doesn't rest
// on what was missing.
func (s *step) makeWhole(stored Stored, e *event.Event) {
	if stored.Status != Accepted || readByRules(e.Type()) || !mends(e, stored.Event) {
		return
	}
	if decided := s.batch[e.ID()]; decided != nil {
		decided.Event = e
		return
	}
	stored.Event = e
	s.read[e.ID()] = stored
	s.result.Commit.Filled = append(s.result.Commit.Filled, e)
}

// readByRules tells whether authorisation rules, or redactions, rest on the content of events of a type.
func readByRules(typ string) bool {
	switch typ {
	case typeCreate, typeMember, "m.room.power_levels", "m.room.join_rules", "m.room.third_party_invite", "m.room.redaction":
		return true
	}
	return false
}

// settle judges an event if all it needs is there, and then those that waited for it; otherwise it waits.
func (s *step) settle(first *waiting, stage bool) error {
	queue := []*waiting{first}
	for len(queue) > 0 {
		w := queue[0]
		queue = queue[1:]
		if w != first && s.m.waiting.byID[w.event.ID()] != w {
			continue // decided meanwhile
		}
		reason, err := s.unfit(w.event)
		if err != nil {
			return err
		}
		if reason != "" {
			s.m.waiting.remove(w)
			s.unstage(w)
			s.verdict(Verdict{EventID: w.event.ID(), Status: Dropped, Reason: reason})
			continue
		}
		ready, err := s.needs(w)
		if err != nil {
			return err
		}
		if !ready {
			s.wait(w, stage && w == first)
			continue
		}
		if w.outside {
			s.foreign(w.event.ID())
		}
		c, err := s.judge(w.event, w.backfill)
		if err != nil {
			return err
		}
		s.m.waiting.remove(w)
		s.unstage(w)
		s.verdict(verdictOf(&c))
		if err := s.commit(c); err != nil {
			return err
		}
		if c.Status == Accepted && !w.backfill {
			if err := s.passOn(&c, w.origin); err != nil {
				return err
			}
		}
		queue = append(queue, s.m.waiting.wake(w.event.ID())...)
	}
	return nil
}

// unfit tells why an event can't be judged at all; "" for nothing.
func (s *step) unfit(e *event.Event) (string, error) {
	if s.full() {
		return ReasonFull, nil
	}
	if slices.Contains(e.PrevEvents(), e.ID()) || slices.Contains(e.AuthEvents(), e.ID()) {
		return "it stands on itself", nil
	}
	taken, err := s.taken(e)
	if taken {
		return "another event was accepted under its ID", err
	}
	return "", err
}

// taken tells whether the ID of an event is that of another one, on which states and other events rest already. Servers choose the IDs
// in room versions 1 and 2.
func (s *step) taken(e *event.Event) (bool, error) {
	if s.m.rules.EventIDs != roomversion.EventIDGiven {
		return false, nil
	}
	stored, ok, err := s.stored(e.ID())
	return ok && stored.Status == Accepted && stored.Event.ReferenceHash() != e.ReferenceHash(), err
}

// wake settles those that waited for an event which came by another way than settle.
func (s *step) wake(e id.EventID) error {
	for _, w := range s.m.waiting.wake(e) {
		if s.m.waiting.byID[w.event.ID()] != w {
			continue
		}
		if err := s.settle(w, false); err != nil {
			return err
		}
	}
	return nil
}

// needs finds out what an event waits for; true: nothing.
func (s *step) needs(w *waiting) (bool, error) {
	s.m.waiting.release(w)
	if _, ok := s.given[w.event.ID()]; !ok {
		for _, p := range w.event.PrevEvents() {
			placed, err := s.placed(p)
			if err == nil && !placed {
				placed, err = s.begins(p)
			}
			if err != nil {
				return false, err
			}
			if !placed {
				w.prev = append(w.prev, p)
			}
		}
	}
	for _, a := range authEvents(w.event) {
		stored, ok, err := s.stored(a)
		if err != nil {
			return false, err
		}
		doubtful := false
		if ok && !w.asked {
			if doubtful, err = s.doubtful(stored); err != nil {
				return false, err
			}
		}
		if !ok || doubtful {
			w.auth = append(w.auth, a)
		}
	}
	return len(w.prev) == 0 && len(w.auth) == 0, nil
}

// begins gives the room's create event its place, where an event names it that comes long after: there is no state before it that a server could
// give. It tells whether e is that.
func (s *step) begins(e id.EventID) (bool, error) {
	stored, ok, err := s.stored(e)
	if err != nil || !ok || s.left[e] || stored.Status != Accepted || stored.Event.Type() != typeCreate || len(stored.Event.PrevEvents()) > 0 {
		return false, err
	}
	c, err := s.judge(stored.Event, true)
	if err != nil {
		return false, err
	}
	s.verdict(verdictOf(&c))
	return true, s.commit(c)
}

// wait has an event wait, if there is room for it.
func (s *step) wait(w *waiting, stage bool) {
	e := w.event.ID()
	if s.m.waiting.byID[e] == nil {
		if !s.m.waiting.room(w) {
			s.unstage(w)
			s.verdict(Verdict{EventID: e, Status: Dropped, Reason: "too many events of this room wait already"})
			return
		}
		if stage {
			s.stage(w)
		}
		s.verdict(Verdict{EventID: e, Status: Waiting, Reason: fmt.Sprintf("%d prev events and %d auth events are missing", len(w.prev), len(w.auth))})
	}
	s.m.waiting.add(w)
}

// judge makes the checks 4 to 7 on receipt of a PDU, in their order. What they need is there.
//
// spec:server-server-api#checks-performed-on-receipt-of-a-pdu
func (s *step) judge(e *event.Event, backfill bool) (Committed, error) {
	c := Committed{Event: e, Backfilled: backfill}
	if err := s.states(&c); err != nil {
		return c, err
	}
	before := c.Before
	checks := []check{
		{"4. its auth events", Rejected, (*step).checkAuthEvents},
		{"the members that it names", Rejected, (*step).claim},
		{"5. the state before it", Rejected, (*step).checkStateBefore},
		{"the depth that all servers take", SoftFailed, (*step).checkDepth},
		{"6. the current state", SoftFailed, (*step).checkCurrentState},
		{"7. the policy server", SoftFailed, (*step).checkPolicy},
	}
	if backfill {
		checks = checks[:3] // history isn't judged by what came later
	}
	for _, check := range checks {
		err := check.pass(s, &c)
		if err == nil {
			continue
		}
		rejection, ok := errors.AsType[*authrules.Rejection](err)
		if !ok {
			return c, err
		}
		c.Status, c.Rejection = check.status, rejection
		c.Reason = fmt.Sprintf("it fails the check against %s: %v", check.against, rejection)
		break
	}
	if held, err := s.held(&c); err != nil {
		return c, err
	} else if held {
		c.Status, c.Rejection, c.Reason = Accepted, nil, ""
	}
	c.Deep = c.Deep && c.Status != Accepted
	if c.Status == Rejected {
		c.Before, c.After = before, before // what it claimed counts for nothing
		return c, nil
	}
	var err error
	c.After, err = stateWith(c.Before, e)
	return c, err
}

// held tells whether an event that would be rejected is of the room's state, or one that authorised it: who let us in gave that, and what the event
// names allows it. The state before it is another server's word then, of which there is no telling: if it counted for more, any server in the
// room could have us reject the power levels, and with them what everybody says.
func (s *step) held(c *Committed) (bool, error) {
	e := c.Event
	key, isState := e.StateKey()
	if c.Status != Rejected || !isState || s.partial != nil {
		return false, nil
	}
	stored, ok, err := s.stored(e.ID())
	if err != nil || !ok || !s.replaying && (!stored.Outlier || stored.Status == Rejected) {
		return false, err
	}
	current, err := s.currentState()
	if err != nil {
		return false, err
	}
	if at, err := current.Event(e.Type(), key); err != nil || at == e.ID() {
		return err == nil, err
	}
	var heads []id.EventID
	for _, typ := range [2]string{"m.room.power_levels", "m.room.join_rules"} {
		at, err := current.Event(typ, "")
		if err != nil {
			return false, err
		}
		if at != "" {
			heads = append(heads, at)
		}
	}
	chain, err := dag.AuthChain(heads, s)
	if errors.Is(err, dag.ErrChainTooLong) {
		return false, nil
	}
	_, held := chain[e.ID()]
	if held {
		s.above[e.ID()] = true // it is below what we have
	}
	return held, err
}

type check struct {
	against string
	status  Status // of events that don't pass
	pass    func(*step, *Committed) error
}

// states finds the state before the event, and what else its prev events tell; the state after it is the same as long as it isn't accepted.
func (s *step) states(c *Committed) error {
	e := c.Event
	c.Deep = e.Depth() > event.MaxSharedDepth
	for _, p := range e.PrevEvents() {
		prev, ok, err := s.stored(p)
		if err != nil {
			return err
		}
		c.Gap = c.Gap || !ok || prev.Outlier
		c.Deep = c.Deep || prev.Deep
	}
	told, ok := s.given[e.ID()]
	before := told.state
	if !ok {
		var err error
		if before, err = s.stateAfterAll(e.PrevEvents()); err != nil {
			return err
		}
	}
	c.Before, c.After, c.Given, c.LeftOut = before, before, ok, told.leftOut
	return nil
}

// stateWith is the state after an event that passed.
func stateWith(before roomstate.Map, e *event.Event) (roomstate.Map, error) {
	if key, ok := e.StateKey(); ok {
		return before.Set(e.Type(), key, e.ID())
	}
	return before, nil
}

// checkAuthEvents is check 4: the list of auth events, and the rules against the state that they make.
//
// spec:server-server-api#checks-performed-on-receipt-of-a-pdu 4
func (s *step) checkAuthEvents(c *Committed) error {
	ids := authEvents(c.Event)
	state := make([]*event.Event, 0, len(ids))
	var rejected []id.EventID
	for _, a := range ids {
		stored, ok, err := s.stored(a)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("room: auth event %s of %s isn't there", a, c.Event.ID())
		}
		if stored.Status == Rejected {
			rejected = append(rejected, a)
		}
		state = append(state, stored.Event)
	}
	listed := state[:min(len(state), len(c.Event.AuthEvents()))]
	if err := authrules.CheckAuthEvents(c.Event, listed, func(e id.EventID) bool { return slices.Contains(rejected, e) }); err != nil {
		return err
	}
	return s.m.cache.check(c.Event, authrules.EventsState(state))
}

// authEvents are the auth events of e, and where the room's ID is the create event's, that one too, as the last: no event names it,
// each rests on it. There are none of an event that names so many that it is rejected whatever they are.
func authEvents(e *event.Event) []id.EventID {
	list := e.AuthEvents()
	if len(list) > event.MaxAuthEvents {
		return nil
	}
	if !e.Rules().RoomIDIsCreateEvent || e.Type() == typeCreate {
		return list
	}
	create, ok := e.RoomID().CreateEvent()
	if !ok {
		return list
	}
	return append(list[:len(list):len(list)], create)
}

// claim adds the members that an event names to a state before it that isn't whole: see PartialState. It never fails an event.
func (s *step) claim(c *Committed) (err error) {
	if !c.Given {
		c.Before, err = s.claimed(c.Event, c.Before)
		c.After = c.Before
	}
	return err
}

// checkStateBefore is check 5.
//
// spec:server-server-api#checks-performed-on-receipt-of-a-pdu 5
func (s *step) checkStateBefore(c *Committed) error {
	return s.checkAgainst(c.Event, c.Before)
}

// checkDepth keeps events off the forward extremities that other servers drop, and those that stand on them, which others can't place: see
// [event.MaxSharedDepth].
func (s *step) checkDepth(c *Committed) error {
	if !c.Deep {
		return nil
	}
	reason := "it stands on an event of a depth for which some servers drop it"
	if depth := c.Event.Depth(); depth > event.MaxSharedDepth {
		reason = fmt.Sprintf("its depth is %d, and some servers drop events of more than %d", depth, int64(event.MaxSharedDepth))
	}
	return &authrules.Rejection{Rule: "depth.not_shared", Spec: "rooms/v6#event-format", Reason: reason}
}

// checkCurrentState is check 6. Where another server gave the state before the event, we may have been away, and the current state be that of
// then: who says it may have come since. So the current state is taken together with the given one, as by Synapse: a ban that either knows holds.
//
// spec:server-server-api#soft-failure
func (s *step) checkCurrentState(c *Committed) error {
	current, err := s.currentState()
	if err != nil {
		return err
	}
	if c.Given || s.onStray(c.Event) {
		if current, err = s.resolve([]roomstate.Map{current, c.Before}); err != nil {
			return err
		}
	}
	if current, err = s.claimed(c.Event, current); err != nil {
		return err
	}
	if current.Equal(c.Before) {
		return nil // check 5 was the same
	}
	return s.checkAgainst(c.Event, current)
}

// checkAgainst applies the rules to e in a state. Only the few state events that rules ask for are read.
func (s *step) checkAgainst(e *event.Event, state roomstate.Map) error {
	var stateKey *string
	if key, ok := e.StateKey(); ok {
		stateKey = &key
	}
	var ids []id.EventID
	asked := append(authrules.Selection(s.m.rules, e.Type(), stateKey, e.Sender(), e.Content()), roomstate.Key{Type: typeCreate})
	for _, key := range asked {
		a, err := state.Event(key.Type, key.StateKey)
		if err != nil {
			return err
		}
		if a != "" {
			ids = append(ids, a)
		}
	}
	if err := s.load(ids); err != nil {
		return err
	}
	return s.m.cache.check(e, view{s: s, state: state})
}

// view is a state whose events are read when the rules ask for them.
type view struct {
	s     *step
	state roomstate.Map
}

// StateEvent is for authrules.
func (v view) StateEvent(typ, stateKey string) (*event.Event, error) {
	at, err := v.state.Event(typ, stateKey)
	if err != nil || at == "" {
		return nil, err
	}
	stored, ok, err := v.s.stored(at)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("room: the store has no event %s of the state", at)
	}
	return stored.Event, nil
}

func verdictOf(c *Committed) Verdict {
	return Verdict{EventID: c.Event.ID(), Status: c.Status, Rejection: c.Rejection, Reason: c.Reason}
}
