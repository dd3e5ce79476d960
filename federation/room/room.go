// Package room is the state machine of one room: it decides what becomes of each event.
//
// The same inputs give the same results: there is no IO, clock, randomness or goroutine here. A Machine reads what is stored
// through the [Source] passed to each Step and returns, in a [Result], what is to be written, fetched and sent.
//
// Who does what:
//
//   - The caller (node/rooms: one goroutine a room; testnet/sim: many machines in one) has made checks 1 to 3 on receipt of a
//     PDU before it hands events in: format ([event.Parse]), signatures, content hash (an event with a wrong one comes redacted).
//   - The machine does checks 4 to 7, computes states, keeps the extremities, decides what to ask other servers for.
//   - The caller makes Result.Commit durable, and only then answers the peer or client, releases Result.Send and calls Step
//     again. Result.Fetch may start at once. The machine already holds the new state: if the commit fails, or Step returns an
//     error, drop the machine and [Load] anew from what is stored.
//   - Each [Fetch] is answered by exactly one [Provide], whether it succeeded or failed. Other inputs may come in between.
//
// A Machine is not safe for concurrent use. It is not a store: it keeps the current state (a persistent map), the
// extremities, the waiting events and small caches in memory, whatever the size of the room.
//
// spec:server-server-api#checks-performed-on-receipt-of-a-pdu
package room

import (
	"errors"
	"fmt"
	"iter"
	"time"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
)

// Source answers from what is stored in the room's store. What is missing is absent, never fetched. What it says doesn't change
// during a Step. An error ends the Step and the machine.
type Source interface {
	// Events gives the stored ones of ids, in whatever status, outliers too. Staged events are not stored events.
	// It is asked for at most 1,000 at a time.
	Events(ids []id.EventID) (map[id.EventID]Stored, error)
	// StateAfter gives the state after an event (Committed.After); false for outliers and events that aren't stored.
	StateAfter(event id.EventID) (roomstate.Map, bool, error)
	// Referenced gives those of ids which stand in the prev_events of a stored event that is Accepted and no outlier, or were
	// Lacking in a Commit: an event that arrives late, below an accepted one, is no forward extremity. Those that have their place already may
	// be left out.
	Referenced(ids []id.EventID) (map[id.EventID]bool, error)
}

// Citer is what a [Source] may implement besides: it knows which events cite an event. Without it some merges read all events of the
// room's state, those of branches with two changes of the power levels in a row. See stateres.Citations.
type Citer interface {
	// CitedBy iterates over the stored state events (others too, if that is simpler) that have the given one among their
	// auth_events, in any order. An error is the last thing it yields.
	CitedBy(id.EventID) iter.Seq2[id.EventID, error]
}

// Stored is an event as the store has it.
type Stored struct {
	Event   *event.Event
	Status  Status // Accepted, SoftFailed or Rejected
	Outlier bool   // known without its place in the room's graph: no state before or after it
	Deep    bool   // see [Committed]
	Given   bool   // see [Committed]; of accepted events it may be left out
}

// Snapshot is what the store knows of a room. [Load] makes the machine from it.
type Snapshot struct {
	RoomID   id.RoomID
	Rules    *roomversion.Rules
	Forward  []id.EventID          // the forward extremities
	Depth    int64                 // greatest depth among Forward
	Current  roomstate.Map         // the current state
	Staged   []*event.Event        // received and acknowledged but undecided before the last stop, oldest first
	Servers  map[id.ServerName]int // joined members a server; the machine takes the map over
	Resident bool                  // we take part in the room (a user of ours is joined). Not so: what is stored may be stale
	Partial  *PartialState         // nil: the state is whole. The machine takes it over
}

// Machine is the state machine of one room. Not safe for concurrent use.
type Machine struct {
	self     id.ServerName
	roomID   id.RoomID // "" before the first event
	rules    *roomversion.Rules
	forward  forward
	arrivals arrivals
	current  roomstate.Map
	servers  servers
	resident bool
	partial  *PartialState // nil: the state is whole
	noted    noted         // while it isn't
	waiting  waitingEvents
	strays   map[id.EventID]bool // nil: none; see stray.go
	cache    cache
	// newcomers are kept in memory alone: after a restart the gap they bridge has most likely closed.
	newcomers []newcomer
	failed    error // set once Step has failed
}

// New makes the machine of a room that doesn't exist here yet. Its first input is a [Propose] that starts with the create event,
// or an [Adopt].
func New(self id.ServerName, rules *roomversion.Rules) *Machine {
	return Load(self, Snapshot{Rules: rules})
}

// Load makes the machine of a stored room. It reads nothing: the events in Staged are received again in the next Step;
// the caller gives a [Resume] when there are any.
func Load(self id.ServerName, s Snapshot) *Machine {
	m := &Machine{
		self: self, roomID: s.RoomID, rules: s.Rules,
		forward: newForward(s.Forward, s.Depth), current: s.Current,
		servers: newServers(s.Servers), resident: s.Resident,
		cache: newCache(), partial: s.Partial,
	}
	if s.Partial != nil {
		m.servers.tell(s.Partial.Servers)
	}
	m.waiting = newWaiting(s.Staged)
	return m
}

// RoomID is the room's ID, "" before the first event of a new room was committed.
func (m *Machine) RoomID() id.RoomID { return m.roomID }

// Rules are the rules of the room's version.
func (m *Machine) Rules() *roomversion.Rules { return m.rules }

// Current is the current state: the resolution of the states after all forward extremities.
func (m *Machine) Current() roomstate.Map { return m.current }

// Reopen has the machine go on with states as they are stored, in place of those that it has: what it has made or was given itself, of a room
// that was joined all of the state, stays in memory otherwise. stored is the current state; before gives the state before a stored event, false
// if it has none. It gives false if some states aren't stored yet, which stay as they are.
func (m *Machine) Reopen(stored roomstate.Map, before func(id.EventID) (roomstate.Map, bool, error)) bool {
	if !m.current.Equal(stored) {
		return false
	}
	m.current = stored
	m.cache.forgetStates()
	return m.partial == nil || m.partial.reopen(before)
}

// Forward are the forward extremities in order of their IDs. Each that isn't merged makes the next resolution larger: when there are more
// than MaxPrevEvents, it is time to say something, as deployed servers do by a dummy event.
func (m *Machine) Forward() []id.EventID { return m.forward.ids() }

// Resident tells whether a user of this server is joined.
func (m *Machine) Resident() bool { return m.resident }

// Servers are the servers with joined users, ourselves included, most joined users first, then by name; while the state isn't whole,
// those that we were told of as the last. The slice must not be changed; it costs nothing unless membership changed since the last call.
func (m *Machine) Servers() []id.ServerName { return m.servers.list() }

// Waiting is the number of events that wait for a fetch.
func (m *Machine) Waiting() int { return m.waiting.len() }

// ErrFailed is what Step returns, wrapped with the first cause, when an earlier Step has failed.
var ErrFailed = errors.New("room: the machine has failed before, load it anew")

// Step takes one input and returns what it leads to. now is the local time: it becomes origin_server_ts of own events.
//
// What other servers send never makes an error: it makes verdicts. An error is a Source's, a signing key's or the caller's
// (an input that doesn't fit the machine); the machine can't be used afterwards.
func (m *Machine) Step(now time.Time, in Input, src Source) (Result, error) {
	if m.failed != nil {
		return Result{}, fmt.Errorf("%w (%v)", ErrFailed, m.failed)
	}
	s := newStep(m, now, src)
	if err := s.run(in); err != nil {
		m.failed = err
		return Result{}, err
	}
	return s.result, nil
}
