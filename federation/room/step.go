package room

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"hanse/federation/authrules"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/federation/stateres"
)

const (
	typeCreate = "m.room.create"
	typeMember = "m.room.member"
)

// step is one Step under way: the machine as it was, what has been read, and what has been decided on top of it.
type step struct {
	m      *Machine
	now    time.Time
	src    Source
	result Result

	batch    map[id.EventID]*Committed // decided in this step
	order    []*Committed              // the same, prev events first; nil where a placed event replaced its outlier
	read     map[id.EventID]Stored     // asked of the source in this step; without an event: not there
	size     int                       // of the events that read has of the source, in bytes
	rejected map[id.EventID]bool       // those rejected of what state resolution read; nil: none
	above    map[id.EventID]bool       // known to be referenced (or not) by an accepted event
	given    map[id.EventID]given      // states before events, told by another server
	outside  map[id.EventID]bool       // a server from outside the room brought them, of others; nil: none
	sends    []sending
	relays   []Send // events of others that are passed on to newcomers
	forward  forward
	current  roomstate.Map
	stale    bool // current isn't resolved yet from forward
	partial  *PartialState
	members  map[id.EventID]Member // complete only: what the membership events of the state say, which aren't kept
	joined   joinedIn              // the answer of joinedNow before
	part     bool                  // the input is Outliers
	// replaying: events are judged again, so nothing is unsure. Those left got their places after the one that is judged: as when that came, they
	// have none meanwhile.
	replaying bool
	left      map[id.EventID]bool
	// fallen are those that weren't rejected and are now; mendedAuth are the accepted outliers that were judged again for them.
	fallen     map[id.EventID]*event.Event
	mendedAuth map[id.EventID]bool
}

// given is a state that another server gave.
type given struct {
	state   roomstate.Map
	leftOut []id.EventID // of it, as they were rejected
}

// sending is an event to be sent but to where it came from.
type sending struct {
	c      *Committed
	origin id.ServerName
}

func newStep(m *Machine, now time.Time, src Source) *step {
	return &step{
		m: m, now: now, src: src, forward: m.forward, current: m.current, partial: m.partial,
		batch: make(map[id.EventID]*Committed), read: make(map[id.EventID]Stored),
		above: make(map[id.EventID]bool), given: make(map[id.EventID]given),
	}
}

func (s *step) run(in Input) error {
	if own, ok := in.(Propose); ok {
		// What waits has no part in it: its verdicts are those of the drafts alone.
		if err := s.propose(own); err != nil {
			return err
		}
		return s.finish()
	}
	if err := s.resume(); err != nil {
		return err
	}
	if err := s.input(in); err != nil {
		return err
	}
	if err := s.pursue(); err != nil {
		return err
	}
	return s.finish()
}

func (s *step) input(in Input) error {
	switch in := in.(type) {
	case Receive:
		return s.receive(in)
	case Accept:
		return s.accept(in)
	case Adopt:
		return s.adopt(in)
	case Complete:
		return s.complete(in)
	case Outliers:
		s.part = true
		since := len(s.order)
		if err := s.outliers(in.Events); err != nil {
			return err
		}
		return s.wakeAll(since)
	case Backfill:
		return s.backfill(in)
	case Provide:
		return s.provide(in)
	case Resume:
		return nil
	}
	return fmt.Errorf("room: unknown input %T", in)
}

// load reads what isn't known yet of ids, in batches.
func (s *step) load(ids []id.EventID) error {
	var want []id.EventID
	for _, e := range ids {
		if s.batch[e] != nil {
			continue
		}
		if _, asked := s.read[e]; asked {
			continue
		}
		stored, ok := s.m.cache.events.get(e)
		if s.read[e] = stored; !ok {
			want = append(want, e)
		}
	}
	for chunk := range slices.Chunk(want, maxSourceBatch) {
		found, err := s.src.Events(chunk)
		if err != nil {
			return fmt.Errorf("room: reading events: %w", err)
		}
		for e, stored := range found {
			s.read[e] = stored
			s.size += stored.Event.Size()
		}
	}
	return nil
}

// stored gives an event as it is known: decided in this step or stored before.
func (s *step) stored(e id.EventID) (Stored, bool, error) {
	var stored Stored
	var asked bool
	if c := s.batch[e]; c != nil {
		stored = c.Stored()
	} else if stored, asked = s.read[e]; !asked {
		if err := s.load([]id.EventID{e}); err != nil {
			return Stored{}, false, err
		}
		stored = s.read[e]
	}
	stored.Outlier = stored.Outlier || s.left[e]
	return stored, stored.Event != nil, nil
}

// placed tells whether an event has its place in the graph here, and so states before and after it.
func (s *step) placed(e id.EventID) (bool, error) {
	stored, ok, err := s.stored(e)
	return ok && !stored.Outlier, err
}

// Events is what state resolution reads. It keeps what it needs itself: of more than maxRead the step keeps nothing.
func (s *step) Events(ids []id.EventID) (map[id.EventID]*event.Event, error) {
	if s.size < maxRead {
		if err := s.load(ids); err != nil {
			return nil, err
		}
	}
	known, err := s.glance(ids)
	if err != nil {
		return nil, err
	}
	found := make(map[id.EventID]*event.Event, len(known))
	for e, stored := range known {
		found[e] = stored.Event
		if stored.Status != Rejected {
			delete(s.rejected, e)
			continue
		}
		if s.rejected == nil {
			s.rejected = make(map[id.EventID]bool)
		}
		s.rejected[e] = true
	}
	return found, nil
}

// Rejected is for state resolution: a rejected event never authorises another one.
func (s *step) Rejected(e id.EventID) bool { return s.rejected[e] }

// Memo is for state resolution: the power levels parsed last.
func (s *step) Memo() *authrules.Memo { return s.m.cache.levels }

// citing adds to a step what state resolution asks of a [Citer].
type citing struct {
	*step
	src Citer
}

// CitedBy iterates over the events decided in this step and the stored ones that have e among their auth events.
func (c citing) CitedBy(e id.EventID) iter.Seq2[id.EventID, error] {
	return func(yield func(id.EventID, error) bool) {
		for _, decided := range c.order {
			if decided != nil && slices.Contains(decided.Event.AuthEvents(), e) && !yield(decided.Event.ID(), nil) {
				return
			}
		}
		c.src.CitedBy(e)(yield)
	}
}

// isReferenced tells whether an accepted event has e among its prev events.
func (s *step) isReferenced(e id.EventID) (bool, error) {
	if _, ok := s.above[e]; !ok {
		if err := s.loadReferenced([]id.EventID{e}); err != nil {
			return false, err
		}
	}
	return s.above[e], nil
}

func (s *step) loadReferenced(ids []id.EventID) error {
	for chunk := range slices.Chunk(ids, maxSourceBatch) {
		found, err := s.src.Referenced(chunk)
		if err != nil {
			return fmt.Errorf("room: reading references: %w", err)
		}
		for _, e := range chunk {
			s.above[e] = s.above[e] || found[e]
		}
	}
	return nil
}

// after is the state after a placed event.
func (s *step) after(e id.EventID) (roomstate.Map, error) {
	if c := s.batch[e]; c != nil && !c.Outlier {
		return c.After, nil
	}
	if state, ok := s.m.cache.after.get(e); ok {
		return state, nil
	}
	state, ok, err := s.src.StateAfter(e)
	if err != nil {
		return roomstate.Map{}, fmt.Errorf("room: reading the state after %s: %w", e, err)
	}
	if !ok {
		return roomstate.Map{}, fmt.Errorf("room: the store has no state after %s", e)
	}
	s.m.cache.after.put(e, state)
	return state, nil
}

// stateAfterAll is the resolution of the states after placed events: the state before an event that has them as prev events.
// spec:server-server-api#room-state-resolution
func (s *step) stateAfterAll(events []id.EventID) (roomstate.Map, error) {
	states := make([]roomstate.Map, 0, len(events))
	for _, e := range events {
		state, err := s.after(e)
		if err != nil {
			return roomstate.Map{}, err
		}
		states = append(states, state)
	}
	return s.resolve(states)
}

// resolve resolves states, once for the same set of them: merges come back, as the state before an event and as the current one.
func (s *step) resolve(states []roomstate.Map) (roomstate.Map, error) {
	switch len(states) {
	case 0:
		return roomstate.Map{}, nil
	case 1:
		return states[0], nil
	}
	byHash := make(map[string]roomstate.Map, len(states))
	hashes := make([]string, 0, len(states))
	for _, state := range states {
		sum := state.Hash()
		h := string(sum[:])
		if _, ok := byHash[h]; !ok {
			byHash[h] = state
			hashes = append(hashes, h)
		}
	}
	if len(hashes) == 1 {
		return states[0], nil
	}
	slices.Sort(hashes)
	key := strings.Join(hashes, "")
	distinct := make([]roomstate.Map, 0, len(hashes))
	for _, h := range hashes {
		distinct = append(distinct, byHash[h])
	}
	if state, ok := s.m.cache.resolved.get(key); ok {
		return state, nil
	}
	var src stateres.Source = s
	if citer, ok := s.src.(Citer); ok {
		src = citing{s, citer}
	}
	state, err := stateres.Resolve(s.m.rules, distinct, src)
	if err != nil {
		return roomstate.Map{}, fmt.Errorf("room: resolving %d states: %w", len(distinct), err)
	}
	s.m.cache.resolved.put(key, state)
	return state, nil
}

// currentState is the resolution of the states after the forward extremities.
func (s *step) currentState() (roomstate.Map, error) {
	if s.stale {
		state, err := s.stateAfterAll(s.forward.list)
		if err != nil {
			return roomstate.Map{}, err
		}
		s.current, s.stale = state, false
	}
	return s.current, nil
}

// commit takes over a decision. Waking those that wait for the event is the caller's.
func (s *step) commit(c Committed) error {
	e := c.Event.ID()
	if old := s.batch[e]; old != nil {
		s.order[slices.Index(s.order, old)] = nil
		c.Again = c.Again || old.Again // it lost its place in this step, and has it back
	}
	if c.Unsure = s.partial != nil && !c.Outlier && !c.Again; c.Unsure {
		var err error
		if c.Below, err = s.isReferenced(e); err != nil {
			return err
		}
	}
	kept := &c
	s.batch[e] = kept
	s.order = append(s.order, kept)
	if c.Outlier {
		return nil
	}
	return s.extend(kept)
}

// finish makes the Commit and hands the step's state to the machine.
func (s *step) finish() error {
	current, err := s.currentState()
	if err != nil {
		return err
	}
	c := &s.result.Commit
	c.RoomID, c.Rules = s.m.roomID, s.m.rules
	c.Forward, c.Depth, c.Current = s.forward.ids(), s.forward.depth, current
	c.Events = make([]Committed, 0, len(s.order))
	for _, e := range s.order {
		if e != nil {
			c.Events = append(c.Events, *e)
		}
	}
	for change, err := range s.m.current.Changes(current) {
		if err != nil {
			return err
		}
		c.Changes = append(c.Changes, StateChange{Key: change.Key, Old: change.Old, New: change.New})
	}
	slices.SortFunc(c.Changes, func(a, b StateChange) int { return compareKeys(a.Key, b.Key) })
	c.Members = s.members
	if c.Servers, err = s.countServers(c.Changes); err != nil {
		return err
	}
	for _, out := range s.sends {
		to, err := s.receivers(out.c, c.Servers, out.origin)
		if err != nil {
			return err
		}
		if len(to) > 0 {
			c.Send = append(c.Send, Send{Event: out.c.Event, Servers: to})
		}
	}
	c.Send = append(c.Send, s.relayed(c.Servers)...)
	s.result.Send = c.Send
	s.m.servers.apply(c.Servers)
	s.m.resident = s.m.servers.count[s.m.self] > 0
	c.Resident = s.m.resident
	if s.partial != nil {
		s.partial.Unsure = append(s.partial.Unsure, s.unsure()...)
	}
	s.m.forward, s.m.current, s.m.partial = s.forward, current, s.partial
	if s.partial != nil {
		s.m.noted.learn(c.Events, s.part)
	} else {
		s.m.noted = noted{}
	}
	if c.Whole {
		s.m.cache = newCache() // verdicts and states in it may be those of before
		return nil
	}
	s.remember()
	return nil
}

// remember keeps in the caches what the next steps are likely to read.
func (s *step) remember() {
	cache := &s.m.cache
	if len(s.read) <= cachedEvents {
		for e, stored := range s.read {
			if stored.Event != nil {
				cache.events.put(e, stored)
			}
		}
	}
	committed := s.result.Commit.Events
	for _, c := range committed {
		cache.events.drop(c.Event.ID()) // an outlier got its place, or another verdict
	}
	for _, c := range committed[max(0, len(committed)-cachedEvents):] {
		cache.events.put(c.Event.ID(), c.Stored())
		if !c.Outlier {
			cache.after.put(c.Event.ID(), c.After)
		}
	}
}
