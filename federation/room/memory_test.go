package room_test

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

// memory is a store: what node/store keeps of a room, in maps.
type memory struct {
	roomID   id.RoomID
	rules    *roomversion.Rules
	events   map[id.EventID]room.Stored
	after    map[id.EventID]roomstate.Map
	above    map[id.EventID]bool
	placed   map[id.EventID]bool
	staged   []*event.Event
	forward  []id.EventID
	depth    int64
	current  roomstate.Map
	servers  map[id.ServerName]int
	resident bool
	partial  *room.PartialState
	err      error // what reads give
	reads    int   // events asked for
	reopens  bool  // each second step has the machine read its state anew
}

func newMemory() *memory {
	return &memory{
		events: make(map[id.EventID]room.Stored), after: make(map[id.EventID]roomstate.Map),
		above: make(map[id.EventID]bool), placed: make(map[id.EventID]bool), servers: make(map[id.ServerName]int),
	}
}

func (m *memory) Events(ids []id.EventID) (map[id.EventID]room.Stored, error) {
	found := make(map[id.EventID]room.Stored)
	m.reads += len(ids)
	for _, e := range ids {
		if stored, ok := m.events[e]; ok {
			found[e] = stored
		}
	}
	return found, m.err
}

func (m *memory) StateAfter(e id.EventID) (roomstate.Map, bool, error) {
	state, ok := m.after[e]
	return state, ok, m.err
}

func (m *memory) Referenced(ids []id.EventID) (map[id.EventID]bool, error) {
	found := make(map[id.EventID]bool)
	for _, e := range ids {
		if m.above[e] && !m.placed[e] {
			found[e] = true
		}
	}
	return found, m.err
}

// apply makes a commit durable.
func (m *memory) apply(c room.Commit) {
	m.roomID, m.rules = c.RoomID, c.Rules
	for _, e := range c.Events {
		m.events[e.Event.ID()] = e.Stored()
		if e.Outlier {
			m.displace(e)
			continue
		}
		m.after[e.Event.ID()] = e.After
		if e.Again != m.placed[e.Event.ID()] && m.rules != nil {
			panic("an event is judged again that has no place, or anew that has one")
		}
		m.placed[e.Event.ID()] = true
		if e.Status == room.Accepted {
			for _, p := range e.Event.PrevEvents() {
				m.above[p] = true
			}
		}
	}
	for _, e := range c.Filled {
		stored := m.events[e.ID()]
		stored.Event = e
		m.events[e.ID()] = stored
	}
	for _, lack := range c.Lacking {
		m.above[lack.Event] = true
	}
	m.keepPartial(c)
	m.forward, m.depth, m.current, m.resident = c.Forward, c.Depth, c.Current, c.Resident
	m.staged = append(m.staged, c.Stage...)
	m.staged = slices.DeleteFunc(m.staged, func(e *event.Event) bool { return slices.Contains(c.Unstage, e.ID()) })
	for server, n := range c.Servers {
		if n == 0 {
			delete(m.servers, server)
		} else {
			m.servers[server] = n
		}
	}
}

// forget takes events out that came in one line, as if they hadn't, one at a time.
func (m *memory) forget(e *event.Event) {
	delete(m.events, e.ID())
	delete(m.placed, e.ID())
	delete(m.after, e.ID())
	for _, p := range e.PrevEvents() {
		delete(m.above, p)
	}
}

// displace takes its place from an event.
func (m *memory) displace(e room.Committed) {
	name := e.Event.ID()
	if e.Again != m.placed[name] {
		panic("an event loses a place that it hasn't, or has one and becomes an outlier")
	}
	delete(m.placed, name)
	delete(m.after, name)
	if e.Again {
		clear(m.above)
		for other := range m.placed {
			if stored := m.events[other]; stored.Status == room.Accepted {
				for _, p := range stored.Event.PrevEvents() {
					m.above[p] = true
				}
			}
		}
	}
}

func (m *memory) snapshot() room.Snapshot {
	return room.Snapshot{
		RoomID: m.roomID, Rules: m.rules, Forward: m.forward, Depth: m.depth, Current: m.current,
		Staged: m.staged, Servers: maps.Clone(m.servers), Resident: m.resident, Partial: m.partialState(),
	}
}

// keepPartial keeps what is to be judged again.
func (m *memory) keepPartial(c room.Commit) {
	if c.Partial != nil {
		m.partial = &room.PartialState{Join: c.Partial.Join, Servers: c.Partial.Servers}
	}
	for _, e := range c.Events {
		if e.Unsure && !e.Outlier && m.partial != nil {
			m.partial.Unsure = append(m.partial.Unsure, e.AsUnsure())
		}
	}
	if c.Whole {
		m.partial = nil
	}
}

// reopen has a machine go on with the states as they are stored, after each second step.
func (m *memory) reopen(machine *room.Machine) {
	if m.reopens = !m.reopens; m.reopens {
		machine.Reopen(wholestate.Stored(machine.Current()), m.given)
	}
}

// given is the state before an event if another server gave it while the state isn't whole.
func (m *memory) given(e id.EventID) (roomstate.Map, bool, error) {
	if m.partial != nil {
		for _, u := range m.partial.Unsure {
			if u.Event == e && u.Given {
				return wholestate.Stored(u.Before), true, m.err
			}
		}
	}
	return roomstate.Map{}, false, m.err
}

// partialState is a copy for a machine.
func (m *memory) partialState() *room.PartialState {
	if m.partial == nil {
		return nil
	}
	p := *m.partial
	p.Unsure = slices.Clone(p.Unsure)
	return &p
}
