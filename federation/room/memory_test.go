package room_test

import (
	"maps"
	"slices"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
)

// memory is a store: what node/store keeps of a room, in maps.
type memory struct {
	roomID   id.RoomID
	rules    *roomversion.Rules
	events   map[id.EventID]room.Stored
	after    map[id.EventID]roomstate.Map
	above    map[id.EventID]bool
	staged   []*event.Event
	forward  []id.EventID
	depth    int64
	current  roomstate.Map
	servers  map[id.ServerName]int
	resident bool
	err      error // what reads give
	reads    int   // events asked for
}

func newMemory() *memory {
	return &memory{
		events: make(map[id.EventID]room.Stored), after: make(map[id.EventID]roomstate.Map),
		above: make(map[id.EventID]bool), servers: make(map[id.ServerName]int),
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
		if m.above[e] {
			found[e] = true
		}
	}
	return found, m.err
}

// apply makes a commit durable.
func (m *memory) apply(c room.Commit) {
	m.roomID, m.rules = c.RoomID, c.Rules
	for _, e := range c.Events {
		m.events[e.Event.ID()] = room.Stored{Event: e.Event, Status: e.Status, Outlier: e.Outlier}
		if e.Outlier {
			continue
		}
		m.after[e.Event.ID()] = e.After
		if e.Status == room.Accepted {
			for _, p := range e.Event.PrevEvents() {
				m.above[p] = true
			}
		}
	}
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

func (m *memory) snapshot() room.Snapshot {
	return room.Snapshot{
		RoomID: m.roomID, Rules: m.rules, Forward: m.forward, Depth: m.depth, Current: m.current,
		Staged: m.staged, Servers: maps.Clone(m.servers), Resident: m.resident,
	}
}
