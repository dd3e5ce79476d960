package bench

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"hanse/federation/authrules"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
	"hanse/testnet/wholestate"
)

// roomVersion is the version of all rooms of the bench: the one that deployed rooms have.
const roomVersion = roomversion.V10

// room is a room as the bench has it: every event, and the state at its end. Its events are made and signed before any
// clock starts. Safe for concurrent use.
type room struct {
	id    id.RoomID
	rules *roomversion.Rules
	owner *server

	mu     sync.Mutex
	events map[id.EventID]*event.Event  // guarded by mu
	after  map[id.EventID]roomstate.Map // guarded by mu; the state after each event
	tip    *event.Event                 // guarded by mu; the newest event of the chain
	answer []byte                       // guarded by mu; the state of send_join answers, encoded for answerAt
	at     roomstate.Hash               // guarded by mu
}

// newRoom makes a public room of the owner's; name makes the room ID.
func newRoom(owner *server, name string) (*room, error) {
	rules, ok := roomversion.Lookup(roomVersion)
	if !ok {
		return nil, fmt.Errorf("room version %s is not known", roomVersion)
	}
	r := &room{
		id: id.RoomID("!" + name + ":" + string(owner.name)), rules: rules, owner: owner,
		events: map[id.EventID]*event.Event{}, after: map[id.EventID]roomstate.Map{},
	}
	creator := owner.user("creator")
	for _, d := range []event.Draft{
		stateDraft(creator, "m.room.create", "", map[string]any{"room_version": string(roomVersion), "creator": string(creator)}),
		stateDraft(creator, "m.room.member", string(creator), map[string]any{"membership": "join", "displayname": "The creator"}),
		stateDraft(creator, "m.room.power_levels", "", map[string]any{
			"users": map[string]any{string(creator): 100}, "state_default": 50, "events": map[string]any{"m.room.topic": 0, "m.room.name": 0},
		}),
		stateDraft(creator, "m.room.join_rules", "", map[string]any{"join_rule": "public"}),
		stateDraft(creator, "m.room.history_visibility", "", map[string]any{"history_visibility": "shared"}),
		stateDraft(creator, "m.room.name", "", map[string]any{"name": "The room " + name}),
	} {
		if _, err := r.put(owner, d); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func stateDraft(sender id.UserID, eventType, stateKey string, content map[string]any) event.Draft {
	return event.Draft{Type: eventType, StateKey: &stateKey, Sender: sender, Content: encode(content)}
}

func messageDraft(sender id.UserID, text string) event.Draft {
	return event.Draft{Type: "m.room.message", Sender: sender, Content: encode(message{"m.text", text})}
}

// encode is for values that always encode: maps of texts and numbers.
func encode(value any) json.RawMessage {
	raw, err := json.Marshal(value)
	if err != nil {
		panic(err) // a scenario with a value that is no JSON
	}
	return raw
}

// put makes an event on top of the chain.
func (r *room) put(signer *server, d event.Draft) (*event.Event, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, err := r.build(signer, d, r.tip)
	if err != nil {
		return nil, err
	}
	r.tip = e
	return e, nil
}

// branch makes an event on top of another one, and leaves the chain as it is.
func (r *room) branch(signer *server, d event.Draft, on *event.Event) (*event.Event, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.build(signer, d, on)
}

// build needs mu.
func (r *room) build(signer *server, d event.Draft, on *event.Event) (*event.Event, error) {
	var state roomstate.Map
	d.RoomID, d.OriginServerTS, d.Depth = r.id, time.Now().UnixMilli(), 1
	d.PrevEvents, d.AuthEvents = []id.EventID{}, []id.EventID{}
	if on != nil {
		state = r.after[on.ID()]
		d.PrevEvents, d.Depth = []id.EventID{on.ID()}, on.Depth()+1
	}
	d.AuthEvents = append(d.AuthEvents, r.selection(d, state)...)
	e, err := d.Sign(r.rules, signer.name, signer.key)
	if err != nil {
		return nil, err
	}
	r.place(e, state)
	return e, nil
}

func (r *room) selection(d event.Draft, state roomstate.Map) []id.EventID {
	var selected []id.EventID
	if d.Type == "m.room.create" {
		return nil
	}
	for _, key := range authrules.Selection(r.rules, d.Type, d.StateKey, d.Sender, d.Content) {
		if eventID, ok := wholestate.Get(state, key.Type, key.StateKey); ok {
			selected = append(selected, eventID)
		}
	}
	return selected
}

// place needs mu.
func (r *room) place(e *event.Event, before roomstate.Map) {
	after := before
	if stateKey, ok := e.StateKey(); ok {
		after = wholestate.With(before, e.Type(), stateKey, e.ID())
	}
	r.events[e.ID()], r.after[e.ID()] = e, after
}

// join takes a join event that another server made, on top of the chain where it was made.
func (r *room) join(e *event.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.events[e.ID()] != nil {
		return nil
	}
	prev := e.PrevEvents()
	if len(prev) != 1 || r.events[prev[0]] == nil {
		return fmt.Errorf("the join %s is not on top of an event of the room", e.ID())
	}
	r.place(e, r.after[prev[0]])
	if r.tip.ID() == prev[0] {
		r.tip = e
	}
	return nil
}

// adopt makes a room of what a resident server answered to send_join.
func adopt(owner *server, join *event.Event, state, authChain []*event.Event) *room {
	r := &room{
		id: join.RoomID(), rules: join.Rules(), owner: owner,
		events: map[id.EventID]*event.Event{}, after: map[id.EventID]roomstate.Map{},
	}
	var before roomstate.Map
	for _, e := range authChain {
		r.events[e.ID()] = e
	}
	for _, e := range state {
		r.events[e.ID()] = e
		stateKey, _ := e.StateKey()
		before = wholestate.With(before, e.Type(), stateKey, e.ID())
	}
	r.place(join, before)
	r.tip = join
	return r
}

// clone is a copy that can be joined and grown without changing the room.
func (r *room) clone() *room {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &room{
		id: r.id, rules: r.rules, owner: r.owner, tip: r.tip, answer: r.answer, at: r.at,
		events: make(map[id.EventID]*event.Event, len(r.events)), after: make(map[id.EventID]roomstate.Map, len(r.after)),
	}
	for eventID, e := range r.events {
		c.events[eventID] = e
	}
	for eventID, state := range r.after {
		c.after[eventID] = state
	}
	return c
}

// end is the newest event of the chain and the state after it.
func (r *room) end() (*event.Event, roomstate.Map) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tip, r.after[r.tip.ID()]
}

// event is an event of the room; nil if there is none.
func (r *room) event(eventID id.EventID) *event.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events[eventID]
}

// Events makes a room the source of state resolution.
func (r *room) Events(ids []id.EventID) (map[id.EventID]*event.Event, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := make(map[id.EventID]*event.Event, len(ids))
	for _, eventID := range ids {
		if e := r.events[eventID]; e != nil {
			found[eventID] = e
		}
	}
	return found, nil
}

// stateEvents are the events of a state, and their auth chain without them.
func (r *room) stateEvents(state roomstate.Map) (events, authChain []*event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := map[id.EventID]bool{}
	var queue []*event.Event
	for _, eventID := range wholestate.All(state) {
		seen[eventID] = true
		events = append(events, r.events[eventID])
	}
	queue = slices.Clone(events)
	for len(queue) > 0 {
		e := queue[0]
		queue = queue[1:]
		for _, eventID := range e.AuthEvents() {
			if auth := r.events[eventID]; auth != nil && !seen[eventID] {
				seen[eventID] = true
				authChain = append(authChain, auth)
				queue = append(queue, auth)
			}
		}
	}
	return events, authChain
}

// missing walks back from latest, breadth first, without what earliest names, and gives at most limit events, the
// oldest first.
func (r *room) missing(latest, earliest []id.EventID, limit int, inclusive bool) []*event.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := map[id.EventID]bool{}
	for _, eventID := range earliest {
		seen[eventID] = true
	}
	var found []*event.Event
	queue := slices.Clone(latest)
	for first := len(latest); len(queue) > 0 && len(found) < limit; first-- {
		e := r.events[queue[0]]
		queue = queue[1:]
		if e == nil || seen[e.ID()] {
			continue
		}
		seen[e.ID()] = true
		if inclusive || first <= 0 {
			found = append(found, e)
		}
		queue = append(queue, e.PrevEvents()...)
	}
	slices.SortStableFunc(found, func(a, b *event.Event) int { return int(a.Depth() - b.Depth()) })
	return found
}
