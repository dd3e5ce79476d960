package room

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"hanse/federation/authrules"
	"hanse/federation/canonicaljson"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/signedjson"
)

// ReasonFull is why an event isn't taken in a room whose state isn't whole: so much was decided without it that no more can be
// looked at again. It is no fault of the event's, and passes.
const ReasonFull = "too much has happened for a room whose state isn't whole yet"

// propose makes own events on top of the forward extremities.
func (s *step) propose(in Propose) error {
	undo := s.mark()
	for i, d := range in.Drafts {
		if s.full() {
			undo()
			s.verdict(Verdict{Status: Rejected, Reason: ReasonFull, Draft: i})
			return nil
		}
		c, err := s.make(d, in.Key)
		if err != nil {
			return err
		}
		if c.Status != Accepted {
			undo()
			s.verdict(Verdict{Status: Rejected, Rejection: c.Rejection, Reason: c.Reason, Draft: i})
			return nil
		}
		s.verdict(Verdict{EventID: c.Event.ID(), Status: Accepted, Draft: i})
		s.m.roomID = c.Event.RoomID()
		if err := s.commit(c); err != nil {
			return err
		}
		if !in.Quiet {
			s.sends = append(s.sends, sending{c: s.batch[c.Event.ID()]})
		}
	}
	return nil
}

// mark notes where the step stands; the function it returns goes back there.
func (s *step) mark() func() {
	roomID, forward, current, stale := s.m.roomID, s.forward, s.current, s.stale
	committed, verdicts, sends := len(s.order), len(s.result.Verdicts), len(s.sends)
	return func() {
		for _, c := range s.order[committed:] {
			if c != nil {
				delete(s.batch, c.Event.ID())
			}
		}
		s.m.roomID, s.forward, s.current, s.stale = roomID, forward, current, stale
		s.order, s.result.Verdicts, s.sends = s.order[:committed], s.result.Verdicts[:verdicts], s.sends[:sends]
	}
}

// make fills, signs and checks an own event. The rules need an event, which a draft is only once signed; until it is committed
// nobody sees it.
func (s *step) make(d event.Draft, key signedjson.Key) (Committed, error) {
	if err := s.fill(&d); err != nil {
		if refused, ok := errors.AsType[*unfit](err); ok {
			return Committed{Status: Rejected, Reason: refused.Error()}, nil
		}
		return Committed{}, err
	}
	return s.sign(d, key)
}

func (s *step) sign(d event.Draft, key signedjson.Key) (Committed, error) {
	before, err := s.stateAfterAll(d.PrevEvents)
	if err != nil {
		return Committed{}, err
	}
	e, err := d.Sign(s.m.rules, s.m.self, key)
	if err == nil && e.Size() > maxOwnSize {
		err = fmt.Errorf("it would have %d bytes, %d are allowed", e.Size(), maxOwnSize)
	}
	if err != nil {
		return Committed{Status: Rejected, Reason: fmt.Sprintf("it makes no event: %v", err)}, nil
	}
	s.above[e.ID()] = false // nobody can have cited it yet
	after, err := stateWith(before, e)
	if err != nil {
		return Committed{}, err
	}
	c := Committed{Event: e, Before: before, After: after}
	for _, pass := range []func(*Committed) error{s.checkStateBefore, s.checkCurrentState} {
		err := pass(&c)
		if err == nil {
			continue
		}
		rejection, ok := errors.AsType[*authrules.Rejection](err)
		if !ok {
			return c, err
		}
		c.Status, c.Rejection, c.Reason = Rejected, rejection, rejection.Error()
		break
	}
	return c, nil
}

// unfit is a draft of which no event can be made, whatever the state.
type unfit struct{ error }

// fill gives a draft what the room decides: its place in the graph, its auth events, the time.
//
// spec:server-server-api#pdus
func (s *step) fill(d *event.Draft) error {
	content, err := s.canonical(d.Content)
	if err != nil {
		return &unfit{fmt.Errorf("its content isn't right: %w", err)}
	}
	d.Content = content
	if s.m.roomID != "" {
		d.RoomID = s.m.roomID
	}
	if d.OriginServerTS == 0 {
		d.OriginServerTS = s.now.UnixMilli()
	}
	if d.PrevEvents, err = s.newest(MaxPrevEvents); err != nil {
		return err
	}
	before, err := s.stateAfterAll(d.PrevEvents)
	if err != nil {
		return err
	}
	deepest, err := s.greatestDepth(d.PrevEvents)
	if err != nil {
		return err
	}
	d.Depth = depthAbove(deepest)
	d.AuthEvents = nil
	for _, k := range authrules.Selection(s.m.rules, d.Type, d.StateKey, d.Sender, d.Content) {
		a, err := before.Event(k.Type, k.StateKey)
		if err != nil {
			return err
		}
		if a != "" {
			d.AuthEvents = append(d.AuthEvents, a)
		}
	}
	return s.referenceHashes(d)
}

func (s *step) canonical(content json.RawMessage) (json.RawMessage, error) {
	mode := canonicaljson.Lenient
	if s.m.rules.StrictCanonicalJSON {
		mode = canonicaljson.Strict
	}
	out, err := canonicaljson.Append(nil, content, mode)
	if err != nil {
		return nil, err
	}
	if len(out) == 0 || out[0] != '{' {
		return nil, errors.New("it isn't an object")
	}
	return out, nil
}

// depthAbove is the depth of an event whose deepest prev event has that depth. At the greatest possible depth it stays there.
//
// spec:rooms/v12#event-format
func depthAbove(depth int64) int64 { return min(max(depth, 0), event.MaxSharedDepth-1) + 1 }

// referenceHashes adds the hashes that events of the first room versions carry beside the IDs they refer to.
func (s *step) referenceHashes(d *event.Draft) error {
	if !s.m.rules.ReferencesWithHashes {
		return nil
	}
	d.ReferenceHashes = make(map[id.EventID][]byte)
	for _, list := range [2][]id.EventID{d.PrevEvents, d.AuthEvents} {
		for _, e := range list {
			stored, ok, err := s.stored(e)
			if err != nil {
				return err
			}
			if ok {
				sum := stored.Event.ReferenceHash()
				d.ReferenceHashes[e] = sum[:]
			}
		}
	}
	return nil
}

// Templated is what [Machine.Template] makes.
type Templated struct {
	Draft     event.Draft          // filled: prev events, auth events, depth, time
	Event     *event.Event         // the draft signed by us; nil if Refused
	Refused   bool                 // the rules don't allow it now
	Rejection *authrules.Rejection // why, if a rule decided
	Reason    string               // why, for people
}

// Template fills and checks a draft like [Propose] but commits nothing: for the answers to make_join, make_leave and make_knock, whose
// senders' servers sign the draft, and for invites to users of other servers, who sign the event too. What comes back signed is
// handed in as [Accept]. The event signed by us is for the invite; in the answers only the draft goes out.
//
// Like Step it must not run beside another call, and an error means that the Source failed; the machine stays usable.
func (m *Machine) Template(now time.Time, d event.Draft, key signedjson.Key, src Source) (Templated, error) {
	if m.failed != nil {
		return Templated{}, fmt.Errorf("%w (%v)", ErrFailed, m.failed)
	}
	s := newStep(m, now, src)
	if err := s.fill(&d); err != nil {
		if refused, ok := errors.AsType[*unfit](err); ok {
			return Templated{Draft: d, Refused: true, Reason: refused.Error()}, nil
		}
		return Templated{}, err
	}
	c, err := s.sign(d, key)
	if err != nil {
		return Templated{}, err
	}
	if c.Status != Accepted {
		return Templated{Draft: d, Refused: true, Rejection: c.Rejection, Reason: c.Reason}, nil
	}
	return Templated{Draft: d, Event: c.Event}, nil
}
