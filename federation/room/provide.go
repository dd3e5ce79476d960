package room

import (
	"errors"
	"fmt"
	"slices"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
)

// provide takes the answer to a fetch. One that nobody waits for any more (the machine was loaded anew) is ignored.
func (s *step) provide(in Provide) error {
	c := s.m.waiting.asking(in.Fetch)
	if c == nil {
		return nil
	}
	f := *c.fetch
	c.fetch, c.answered = nil, true
	defer func() {
		if c.answered = false; len(c.events) == 0 && c.fetch == nil {
			delete(s.m.waiting.chases, c.chaseKey)
		}
	}()
	if len(c.events) == 0 { // all decided meanwhile
		return nil
	}
	if in.Refused && f.Kind == FetchMissing && f.From[0] == c.origin {
		s.refused(c, f, in.Err)
		return nil
	}
	if in.Err != nil {
		return s.giveUp(c, f, fmt.Sprintf("no server answered: %v", in.Err), false)
	}
	var helped bool
	var err error
	switch f.Kind {
	case FetchMissing:
		helped, err = s.provideMissing(c, f, in)
	case FetchAuth:
		helped, err = s.provideAuth(f, in)
	case FetchState:
		helped, err = s.provideState(c, f, in)
	}
	if err != nil || helped || len(c.events) == 0 {
		return err
	}
	return s.retry(c, f, in)
}

// asking finds the chase that a fetch belongs to.
func (w *waitingEvents) asking(f Fetch) *chase {
	for _, c := range w.chases {
		if c.fetch != nil && c.fetch.Ticket == f.Ticket && c.fetch.Kind == f.Kind && c.fetch.At == f.At && slices.Equal(c.fetch.Latest, f.Latest) {
			return c
		}
	}
	return nil
}

// retry asks the servers that haven't been asked yet, after one whose answer didn't help.
func (s *step) retry(c *chase, f Fetch, in Provide) error {
	i := slices.Index(f.From, in.From)
	f.silent = f.silent || i != 0
	if i < 0 || i+1 >= len(f.From) || c.fetches >= c.bound() {
		answered := !f.silent && i+1 == len(f.From)
		if f.Kind == FetchState {
			// Of an event that no server has, or whose server's keys nobody has, the answer holds a state and not the event itself.
			// What was acknowledged is dropped at the word of who sent it only, not of whichever server was asked last.
			given := !s.unknown(f.At) || slices.ContainsFunc(in.Events, func(e *event.Event) bool { return e.ID() == f.At })
			answered = given && in.State != nil && in.From == c.origin
		}
		return s.giveUp(c, f, "no server's answer held what was asked for", answered)
	}
	f.From = f.From[i+1:]
	if f.Kind == FetchAuth {
		if w := s.m.waiting.byID[f.At]; w != nil {
			f.Events = slices.Clone(w.auth)
		}
	}
	s.ask(c, f)
	return nil
}

// giveUp decides how to go on without an answer. A gap is jumped by fetching the states at the missing prev events. Where nobody has
// those (the only server that did has left the room, all others have jumped the gap too) the state before the waiting event itself will do.
// An event whose auth events, or the state below which, can't be had is dropped, as deployed servers do: nothing can be
// said about it, nor about what stands on it. Should it come again, by a later event that stands on it, it gets another chance.
//
// An event whose auth events we have, but in copies that may be bad, is judged by these when all servers have answered and none had better
// ones. If one gave no answer that may be the one that has them, so the event isn't rejected for good but dropped. A server may never answer
// again, though, which must not cost us what stands on such an event: for that, the state before it will do.
func (s *step) giveUp(c *chase, f Fetch, why string, answered bool) error {
	switch f.Kind {
	case FetchMissing:
		c.jump = true
	case FetchAuth:
		w := s.m.waiting.byID[f.At]
		if w == nil {
			return nil
		}
		if slices.ContainsFunc(w.auth, s.unknown) {
			s.drop(w, "its auth events can't be had: "+why)
			return nil
		}
		if answered {
			w.asked = true
			return s.settle(w, false)
		}
		above := s.m.waiting.wake(f.At)
		s.drop(w, "better copies of its auth events may be had from servers that didn't answer: "+why)
		for _, a := range above {
			a.itself = a.itself || a.chase() == w.chase()
			s.m.waiting.add(a)
		}
	case FetchState:
		for _, w := range slices.Clone(c.events) {
			switch {
			case w.event.ID() == f.At:
				s.drop(w, "the state before it can't be had: "+why)
			case !slices.Contains(w.prev, f.At):
			case answered: // the prev event is there, but not what it takes to judge it
				s.drop(w, fmt.Sprintf("it stands on %s, of which not enough can be had: %s", f.At, why))
			default:
				w.itself = true
			}
		}
	}
	return nil
}

// refused drops events of which all servers, the one that sent them among them, refuse to tell what came before: they would not tell the
// state there either, and deployed servers take no such event. Should they come again they get another chance. What wasn't sent, but told
// when we asked what came before an event, isn't dropped: it may be all that a server has, which joined or threw older events away, and
// would be told and dropped again with each later event. The gap below it is jumped.
func (s *step) refused(c *chase, f Fetch, why error) {
	for _, e := range f.Latest {
		w := s.m.waiting.byID[e]
		switch {
		case w == nil || len(w.prev) == 0:
		case w.staged:
			s.drop(w, fmt.Sprintf("no server tells what came before it: %v", why))
		default:
			c.jump = true
		}
	}
}

// unknown tells whether an event that was looked up in this step is stored in no form.
func (s *step) unknown(e id.EventID) bool {
	_, ok, err := s.stored(e)
	return err != nil || !ok
}

// provideMissing takes in events below those that wait. It helped if any new one is placed or waits now. What
// a short answer leaves open of the gap is jumped: the server has given all that it has.
func (s *step) provideMissing(c *chase, f Fetch, in Provide) (bool, error) {
	var fresh []*event.Event
	for _, e := range in.Events[:min(len(in.Events), missingLimit)] {
		if e.RoomID() != s.m.roomID || s.m.waiting.byID[e.ID()] != nil {
			continue
		}
		placed, err := s.placed(e.ID())
		if err != nil {
			return false, err
		}
		if !placed {
			fresh = append(fresh, e)
		}
	}
	if err := s.takeIn(fresh, arrival{origin: c.origin}); err != nil {
		return false, err
	}
	helped := false
	for _, e := range fresh {
		if kept, err := s.kept(e.ID()); err != nil {
			return false, err
		} else if kept {
			helped = true
			break
		}
	}
	if helped && len(in.Events) < fullMissing {
		c.jump = c.jump || slices.ContainsFunc(f.Latest, func(e id.EventID) bool {
			w := s.m.waiting.byID[e]
			return w != nil && len(w.prev) > 0
		})
	}
	return helped, nil
}

// provideAuth takes in an auth chain. It helped if the event needs no more.
func (s *step) provideAuth(f Fetch, in Provide) (bool, error) {
	since := len(s.order)
	if err := s.outliers(in.Events); err != nil {
		return false, err
	}
	if err := s.wakeAll(since); err != nil {
		return false, err
	}
	w := s.m.waiting.byID[f.At]
	return w == nil || len(w.auth) == 0, nil
}

// provideState takes in the state before an event. It helped if the event now has its place in the graph.
func (s *step) provideState(c *chase, f Fetch, in Provide) (helped bool, err error) {
	w := s.m.waiting.byID[f.At]
	var rest []*event.Event
	for _, e := range in.Events {
		switch {
		case e.ID() != f.At:
			rest = append(rest, e)
		case w == nil && e.RoomID() == s.m.roomID:
			w = &waiting{event: e, origin: c.origin, outside: s.fromOutside(e, c.origin)}
		}
	}
	if placed, err := s.placed(f.At); placed || err != nil {
		return placed, err
	}
	if w == nil {
		stored, ok, err := s.stored(f.At) // an outlier
		if err != nil || !ok {
			return false, err
		}
		w = &waiting{event: stored.Event, origin: c.origin, outside: s.fromOutside(stored.Event, c.origin)}
	}
	if in.State == nil || in.State.At != f.At || len(in.State.State) > maxState {
		return false, nil
	}
	since := len(s.order)
	if err := s.outliers(rest); err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, s.wakeAll(since)) }()
	state, leftOut, ok, err := s.stateOf(in.State.State)
	if err != nil || !ok {
		return false, err
	}
	for _, a := range authEvents(w.event) {
		if _, ok, err := s.stored(a); err != nil || !ok {
			return false, err
		}
	}
	if err := s.take(w.event, given{state, leftOut}); err != nil {
		return false, err
	}
	if err := s.settle(w, false); err != nil {
		return false, err
	}
	return s.kept(f.At)
}

// take has a state that another server gave be that before e, unless it follows from what we have: where all of e's prev events are here and our
// own states are whole. Otherwise any server in the room could take away what those have set, the power levels too, by a state without it.
//
// Of prev events of which some are here the state given stands alone, and those stay extremities: see extend. Together with theirs it would be
// another for honest servers: resolving one state with what was made of that and others doesn't always give the latter again, which the simulation
// found in versions 1, 6 and 7.
func (s *step) take(e *event.Event, told given) error {
	missing := s.partial != nil
	for _, p := range e.PrevEvents() {
		placed, err := s.placed(p)
		if err != nil {
			return err
		}
		missing = missing || !placed
	}
	if missing {
		s.given[e.ID()] = told
	}
	return nil
}

// kept tells whether an event that was taken in is placed or waits, and was not dropped as one that can't be judged at all.
func (s *step) kept(e id.EventID) (bool, error) {
	if s.m.waiting.byID[e] != nil {
		return true, nil
	}
	return s.placed(e)
}

// stateOf makes a state of event IDs that another server gave. What isn't known here, was rejected or isn't state is left out; of two
// events with the same key the first one counts. It is a state only if the room's create event is in it. leftOut are those that were rejected,
// at most maxLeftOut.
func (s *step) stateOf(ids []id.EventID) (state roomstate.Map, leftOut []id.EventID, ok bool, err error) {
	entries := make(map[roomstate.Key]id.EventID, len(ids))
	take := func(typ, stateKey string, e id.EventID) {
		key := roomstate.Key{Type: typ, StateKey: stateKey}
		if _, taken := entries[key]; !taken {
			entries[key] = e
		}
	}
	for chunk := range slices.Chunk(ids, maxSourceBatch) {
		known, err := s.glance(s.unnoted(chunk))
		if err != nil {
			return roomstate.Map{}, nil, false, err
		}
		for _, e := range chunk {
			if member, ok := s.noted(e); ok {
				s.noteMember(e, member.Member)
				take(typeMember, member.stateKey, e)
				continue
			}
			stored, ok := known[e]
			if !ok || stored.Event.RoomID() != s.m.roomID {
				continue
			}
			if stored.Status == Rejected {
				if len(leftOut) < maxLeftOut {
					leftOut = append(leftOut, e)
				}
				continue
			}
			if stateKey, ok := stored.Event.StateKey(); ok {
				if stored.Event.Type() == typeMember {
					s.noteMember(e, memberOf(stored.Event))
				}
				take(stored.Event.Type(), stateKey, e)
			}
		}
	}
	_, ok = entries[roomstate.Key{Type: typeCreate}]
	return buildState(entries), leftOut, ok, nil
}

// noteMember keeps what a stored membership event says of a state that becomes the room's.
func (s *step) noteMember(e id.EventID, said Member) {
	if s.members != nil && s.batch[e] == nil {
		s.members[e] = said
	}
}

// glance gives events without keeping them for the step: a large room's state isn't held in memory event by event.
func (s *step) glance(ids []id.EventID) (map[id.EventID]Stored, error) {
	known := make(map[id.EventID]Stored, len(ids))
	var want []id.EventID
	for _, e := range ids {
		if c := s.batch[e]; c != nil {
			known[e] = c.Stored()
		} else if stored, asked := s.read[e]; !asked {
			want = append(want, e)
		} else if stored.Event != nil {
			known[e] = stored
		}
	}
	if len(want) == 0 {
		return known, nil
	}
	found, err := s.src.Events(want)
	if err != nil {
		return nil, fmt.Errorf("room: reading events of a state: %w", err)
	}
	for e, stored := range found {
		known[e] = stored
	}
	return known, nil
}
