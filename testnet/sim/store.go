package sim

import (
	"maps"
	"slices"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
	"hanse/testnet/wholestate"
)

// store is what a server keeps: it outlives crashes. A room.Source.
type store struct {
	roomID     id.RoomID
	rules      *roomversion.Rules
	events     map[id.EventID]room.Committed
	order      []id.EventID                // placed events, in the order in which they came
	children   map[id.EventID][]id.EventID // placed events, by what they name as prev events
	redactions map[id.EventID][]id.EventID // of placed events, by what they redact
	lacking    map[id.EventID]bool         // what wasn't there below refused events, see [room.Lack]
	judged     map[id.EventID]int          // events that were judged again, by the whole state they were so by, from 1
	wholes     int                         // whole states so far
	staged     []*event.Event
	forward    []id.EventID
	been       map[id.EventID]bool // what was a forward extremity after a step, since it has its place
	depth      int64
	current    roomstate.Map
	servers    map[id.ServerName]int
	resident   bool
	outbox     map[id.ServerName][]*event.Event
	partial    *room.PartialState // nil: the state is whole
	mended     int                // rejected events that another copy made valid
}

func newStore(rules *roomversion.Rules) *store {
	return &store{
		rules: rules, events: make(map[id.EventID]room.Committed), children: make(map[id.EventID][]id.EventID),
		lacking: make(map[id.EventID]bool), judged: make(map[id.EventID]int),
		servers: make(map[id.ServerName]int), outbox: make(map[id.ServerName][]*event.Event), been: make(map[id.EventID]bool),
		redactions: make(map[id.EventID][]id.EventID),
	}
}

// Events is for the machine.
func (s *store) Events(ids []id.EventID) (map[id.EventID]room.Stored, error) {
	found := make(map[id.EventID]room.Stored, len(ids))
	for _, e := range ids {
		if c, ok := s.events[e]; ok {
			found[e] = c.Stored()
		}
	}
	return found, nil
}

// StateAfter is for the machine.
func (s *store) StateAfter(e id.EventID) (roomstate.Map, bool, error) {
	c, ok := s.events[e]
	return c.After, ok && !c.Outlier, nil
}

// Referenced is for the machine.
func (s *store) Referenced(ids []id.EventID) (map[id.EventID]bool, error) {
	found := make(map[id.EventID]bool)
	for _, e := range ids {
		if known, ok := s.events[e]; ok && !known.Outlier {
			continue
		}
		if s.lacking[e] || slices.ContainsFunc(s.children[e], func(child id.EventID) bool { return s.events[child].Status == room.Accepted }) {
			found[e] = true
		}
	}
	return found, nil
}

// apply makes a commit durable.
func (s *store) apply(c room.Commit) {
	s.roomID = c.RoomID
	if c.Whole {
		s.wholes++
	}
	for _, e := range c.Events {
		name := e.Event.ID()
		old, known := s.events[name]
		s.events[name] = e
		if known && old.Outlier && old.Status == room.Rejected && e.Status == room.Accepted {
			s.mended++
		}
		if c.Whole && e.Again {
			s.judged[name] = s.wholes
		}
		if e.Outlier {
			if e.Again {
				delete(s.been, name)
				is := func(e id.EventID) bool { return e == name }
				s.order = slices.DeleteFunc(s.order, is)
				for _, p := range e.Event.PrevEvents() {
					s.children[p] = slices.DeleteFunc(slices.Clone(s.children[p]), is)
				}
			}
			continue
		}
		if !known || old.Outlier {
			s.order = append(s.order, name)
			if target, ok := e.Event.Redacts(); ok {
				s.redactions[target] = append(s.redactions[target], name)
			}
			for _, p := range e.Event.PrevEvents() {
				s.children[p] = append(s.children[p], name)
			}
		}
	}
	for _, e := range c.Filled {
		filled := s.events[e.ID()]
		filled.Event = e
		s.events[e.ID()] = filled
	}
	for _, lack := range c.Lacking {
		s.lacking[lack.Event] = true
	}
	s.keepPartial(c)
	s.forward, s.depth, s.current, s.resident = c.Forward, c.Depth, c.Current, c.Resident
	s.staged = append(s.staged, c.Stage...)
	s.staged = slices.DeleteFunc(s.staged, func(e *event.Event) bool { return slices.Contains(c.Unstage, e.ID()) })
	for server, n := range c.Servers {
		if n == 0 {
			delete(s.servers, server)
		} else {
			s.servers[server] = n
		}
	}
	for _, out := range c.Send {
		for _, to := range out.Servers {
			s.outbox[to] = append(s.outbox[to], out.Event)
		}
	}
}

func (s *store) snapshot() room.Snapshot {
	return room.Snapshot{
		RoomID: s.roomID, Rules: s.rules, Forward: s.forward, Depth: s.depth, Current: s.current,
		Staged: slices.Clone(s.staged), Servers: maps.Clone(s.servers), Resident: s.resident, Partial: s.partialState(),
	}
}

// keepPartial keeps what is to be judged again.
func (s *store) keepPartial(c room.Commit) {
	if c.Partial != nil {
		s.partial = &room.PartialState{Join: c.Partial.Join, Servers: c.Partial.Servers}
	}
	for _, e := range c.Events {
		if !e.Unsure || e.Outlier || s.partial == nil {
			continue
		}
		s.partial.Unsure = append(s.partial.Unsure, e.AsUnsure())
	}
	if c.Whole {
		s.partial = nil
	}
}

// given is the state before an event if another server gave it while the state isn't whole.
func (s *store) given(e id.EventID) (roomstate.Map, bool, error) {
	if s.partial != nil {
		for _, u := range s.partial.Unsure {
			if u.Event == e && u.Given {
				return wholestate.Stored(u.Before), true, nil
			}
		}
	}
	return roomstate.Map{}, false, nil
}

// partialState is a copy for a machine.
func (s *store) partialState() *room.PartialState {
	if s.partial == nil {
		return nil
	}
	p := *s.partial
	p.Unsure = slices.Clone(p.Unsure)
	return &p
}

// authSource is the store as package dag reads it.
type authSource struct{ *store }

func (s authSource) Events(ids []id.EventID) (map[id.EventID]*event.Event, error) {
	found := make(map[id.EventID]*event.Event, len(ids))
	for _, e := range ids {
		if c, ok := s.events[e]; ok {
			found[e] = c.Event
		}
	}
	return found, nil
}
