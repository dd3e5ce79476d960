package peer

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"hanse/federation/authrules"
	"hanse/federation/dag"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
	"hanse/federation/stateres"
	"hanse/testnet/wholestate"
)

// ErrMissing says that an event's prev events are not in the room.
var ErrMissing = errors.New("prev events are missing")

// Room is a room as the peer has it: every event with the state before and after it. What is added is not judged: a
// script decides what is in the peer's rooms. Safe for concurrent use.
type Room struct {
	ID    id.RoomID
	Rules *roomversion.Rules

	peer    *Peer
	mu      sync.Mutex
	events  map[id.EventID]*event.Event  // guarded by mu; with the outliers
	before  map[id.EventID]roomstate.Map // guarded by mu; not of outliers
	after   map[id.EventID]roomstate.Map // guarded by mu
	order   []id.EventID                 // guarded by mu; as they were added, without outliers
	forward []id.EventID                 // guarded by mu
	waiting map[id.EventID]*event.Event  // guarded by mu; prev events are missing
}

func (p *Peer) newRoom(roomID id.RoomID, rules *roomversion.Rules) *Room {
	return &Room{
		ID: roomID, Rules: rules, peer: p, events: map[id.EventID]*event.Event{},
		before: map[id.EventID]roomstate.Map{}, after: map[id.EventID]roomstate.Map{}, waiting: map[id.EventID]*event.Event{},
	}
}

// RoomOptions say what a new room is like. The zero value is a public room.
type RoomOptions struct {
	JoinRule          string // "public" when empty
	HistoryVisibility string // "shared" when empty
	// PowerLevels is the content of m.room.power_levels; nil: the creator has 100 (nothing from version 12 on).
	PowerLevels map[string]any
	// CreateContent is added to the content of m.room.create.
	CreateContent map[string]any
}

// CreateRoom makes a room of the peer's with its creator as the only member.
func (p *Peer) CreateRoom(version roomversion.Version, creator id.UserID, options RoomOptions) (*Room, error) {
	rules, ok := roomversion.Lookup(version)
	if !ok {
		return nil, fmt.Errorf("room version %q is not known", version)
	}
	content := map[string]any{"room_version": string(version)}
	if !rules.ImplicitCreator {
		content["creator"] = string(creator)
	}
	for key, value := range options.CreateContent {
		content[key] = value
	}
	roomID := id.RoomID("")
	if rules.RoomIDIsCreateEvent {
		content["nonce"] = randomText() // else rooms of one millisecond could be one
	} else {
		roomID = id.RoomID("!" + randomText() + ":" + string(p.Name))
	}
	r := p.newRoom(roomID, rules)
	create, err := r.Build(event.Draft{Type: "m.room.create", StateKey: new(string), Sender: creator, Content: encode(content)})
	if err != nil {
		return nil, err
	}
	r.ID = create.RoomID()
	if err := r.Add(create); err != nil {
		return nil, err
	}
	levels := options.PowerLevels
	if levels == nil {
		levels = map[string]any{"users": map[string]any{string(creator): 100}}
		if rules.PrivilegedCreators {
			levels = map[string]any{"users": map[string]any{}}
		}
	}
	for _, d := range []event.Draft{
		StateDraft(creator, "m.room.member", string(creator), map[string]any{"membership": "join"}),
		StateDraft(creator, "m.room.power_levels", "", levels),
		StateDraft(creator, "m.room.join_rules", "", map[string]any{"join_rule": or(options.JoinRule, "public")}),
		StateDraft(creator, "m.room.history_visibility", "", map[string]any{"history_visibility": or(options.HistoryVisibility, "shared")}),
	} {
		if _, err := r.Put(d); err != nil {
			return nil, err
		}
	}
	p.addRoom(r)
	return r, nil
}

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

// StateDraft is the draft of a state event; Room.Build fills in the rest.
func StateDraft(sender id.UserID, eventType, stateKey string, content any) event.Draft {
	return event.Draft{Type: eventType, StateKey: &stateKey, Sender: sender, Content: encode(content)}
}

// MessageDraft is the draft of a text message.
func MessageDraft(sender id.UserID, text string) event.Draft {
	return event.Draft{Type: "m.room.message", Sender: sender, Content: encode(map[string]any{"msgtype": "m.text", "body": text})}
}

// Build makes an event of a draft and signs it with the peer's key, without adding it to the room. What the draft
// leaves empty is filled in as it should be: prev events (the room's ends), auth events, depth, time.
func (r *Room) Build(d event.Draft) (*event.Event, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.build(d)
}

// build needs mu.
func (r *Room) build(d event.Draft) (*event.Event, error) {
	if err := r.fill(&d); err != nil {
		return nil, err
	}
	return d.Sign(r.Rules, r.peer.Name, r.peer.Key())
}

// fill needs mu.
func (r *Room) fill(d *event.Draft) error {
	if d.RoomID == "" {
		d.RoomID = r.ID
	}
	if d.PrevEvents == nil {
		d.PrevEvents = slices.Clone(r.forward)
	}
	if d.OriginServerTS == 0 {
		d.OriginServerTS = time.Now().UnixMilli()
	}
	if d.Depth == 0 {
		for _, prev := range d.PrevEvents {
			if e := r.events[prev]; e != nil {
				d.Depth = max(d.Depth, e.Depth())
			}
		}
		d.Depth++
	}
	if d.AuthEvents == nil && len(r.events) > 0 {
		state, err := r.stateAfter(d.PrevEvents)
		if err != nil {
			return err
		}
		d.AuthEvents = []id.EventID{}
		for _, key := range authrules.Selection(r.Rules, d.Type, d.StateKey, d.Sender, d.Content) {
			if eventID, ok := wholestate.Get(state, key.Type, key.StateKey); ok {
				d.AuthEvents = append(d.AuthEvents, eventID)
			}
		}
	}
	if r.Rules.ReferencesWithHashes {
		d.ReferenceHashes = map[id.EventID][]byte{}
		for _, eventID := range slices.Concat(d.PrevEvents, d.AuthEvents) {
			if e := r.events[eventID]; e != nil {
				hash := e.ReferenceHash()
				d.ReferenceHashes[eventID] = hash[:]
			}
		}
	}
	return nil
}

// Put builds an event and adds it to the room, telling nobody.
func (r *Room) Put(d event.Draft) (*event.Event, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, err := r.build(d)
	if err != nil {
		return nil, err
	}
	return e, r.add(e)
}

// Add puts an event into the room. It fails with ErrMissing where prev events are not there.
func (r *Room) Add(e *event.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.add(e)
}

// add needs mu.
func (r *Room) add(e *event.Event) error {
	if _, ok := r.after[e.ID()]; ok {
		return nil
	}
	state, err := r.stateAfter(e.PrevEvents())
	if err != nil {
		return err
	}
	r.place(e, state)
	for again := true; again; {
		again = false
		for eventID, waiting := range r.waiting {
			if state, err := r.stateAfter(waiting.PrevEvents()); err == nil {
				delete(r.waiting, eventID)
				r.place(waiting, state)
				again = true
			}
		}
	}
	return nil
}

// place needs mu.
func (r *Room) place(e *event.Event, before roomstate.Map) {
	after := before
	if stateKey, ok := e.StateKey(); ok {
		after = wholestate.With(before, e.Type(), stateKey, e.ID())
	}
	r.events[e.ID()], r.before[e.ID()], r.after[e.ID()] = e, before, after
	r.order = append(r.order, e.ID())
	r.forward = slices.DeleteFunc(r.forward, func(end id.EventID) bool { return slices.Contains(e.PrevEvents(), end) })
	r.forward = append(r.forward, e.ID())
}

// AddRejected puts an event into the room's graph that changes nothing of its state, as one that the room rejects. It fails with ErrMissing
// where prev events are not there.
func (r *Room) AddRejected(e *event.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	before, err := r.stateAfter(e.PrevEvents())
	if err != nil {
		return err
	}
	r.place(e, before)
	r.after[e.ID()] = before
	return nil
}

// StateBefore is the state before an event; empty if the room doesn't have it.
func (r *Room) StateBefore(eventID id.EventID) []id.EventID {
	r.mu.Lock()
	defer r.mu.Unlock()
	state, _ := r.stateBefore(eventID)
	return ids(state)
}

// addOutlier knows an event without its place in the graph. It needs mu.
func (r *Room) addOutlier(e *event.Event) {
	if r.events[e.ID()] == nil {
		r.events[e.ID()] = e
	}
}

// receive takes an event of another server's: it goes into the room now, or when what is before it has come.
func (r *Room) receive(e *event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.add(e); err != nil {
		r.waiting[e.ID()] = e
	}
}

// stateAfter is the resolved state after the given events. It needs mu.
func (r *Room) stateAfter(ids []id.EventID) (roomstate.Map, error) {
	states := make([]roomstate.Map, 0, len(ids))
	for _, eventID := range ids {
		state, ok := r.after[eventID]
		if !ok {
			return roomstate.Map{}, fmt.Errorf("%w: %s", ErrMissing, eventID)
		}
		states = append(states, state)
	}
	return stateres.Resolve(r.Rules, states, source(r.events))
}

// source is a room's events as stateres and dag read them.
type source map[id.EventID]*event.Event

// Events gives those that are there.
func (s source) Events(ids []id.EventID) (map[id.EventID]*event.Event, error) {
	found := make(map[id.EventID]*event.Event, len(ids))
	for _, eventID := range ids {
		if e := s[eventID]; e != nil {
			found[eventID] = e
		}
	}
	return found, nil
}

// Event is an event of the room; nil if the peer doesn't have it.
func (r *Room) Event(eventID id.EventID) *event.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events[eventID]
}

// Has tells whether the room has the event with all that is before it.
func (r *Room) Has(eventID id.EventID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.after[eventID]
	return ok
}

// Timeline is every event of the room but outliers, in the order in which they came.
func (r *Room) Timeline() []*event.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	events := make([]*event.Event, len(r.order))
	for i, eventID := range r.order {
		events[i] = r.events[eventID]
	}
	return events
}

// Ends are the room's forward extremities.
func (r *Room) Ends() []id.EventID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.forward)
}

// State is an event of the room's current state; nil if there is none.
func (r *Room) State(eventType, stateKey string) *event.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	state, err := r.stateAfter(r.forward)
	if err != nil {
		return nil
	}
	eventID, _ := wholestate.Get(state, eventType, stateKey)
	return r.events[eventID]
}

// Membership is a user's membership in the room's current state; "" if there is none.
func (r *Room) Membership(user id.UserID) string {
	if e := r.State("m.room.member", string(user)); e != nil {
		return e.Membership()
	}
	return ""
}

// authoriser is a user of the peer's who may let a user into the room by its conditions: whoever made the room, or a
// member; "" where the room isn't restricted, or the user doesn't need it. Whether a condition is met is the script's to
// say.
//
// spec:server-server-api#restricted-rooms
func (r *Room) authoriser(user string) string {
	var content struct {
		Rule string `json:"join_rule"`
	}
	rules := r.State("m.room.join_rules", "")
	if rules == nil || json.Unmarshal(rules.Content(), &content) != nil || content.Rule != "restricted" && content.Rule != "knock_restricted" {
		return ""
	}
	if membership := r.Membership(id.UserID(user)); membership == "join" || membership == "invite" {
		return ""
	}
	if creator := r.State("m.room.create", "").Sender(); creator.Server() == r.peer.Name {
		return string(creator)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	state, err := r.stateAfter(r.forward)
	if err != nil {
		return ""
	}
	via := ""
	for member, eventID := range wholestate.ByType(state, "m.room.member") {
		if e := r.events[eventID]; e != nil && e.Membership() == "join" && id.UserID(member).Server() == r.peer.Name && (via == "" || member < via) {
			via = member
		}
	}
	return via
}

// Servers are the servers with joined users, the peer's own left out.
func (r *Room) Servers() []id.ServerName {
	r.mu.Lock()
	defer r.mu.Unlock()
	state, err := r.stateAfter(r.forward)
	if err != nil {
		return nil
	}
	var servers []id.ServerName
	for user, eventID := range wholestate.ByType(state, "m.room.member") {
		server := id.UserID(user).Server()
		if e := r.events[eventID]; e != nil && e.Membership() == "join" && server != r.peer.Name && !slices.Contains(servers, server) {
			servers = append(servers, server)
		}
	}
	slices.Sort(servers)
	return servers
}

// Check judges an event by its auth events and by the state before it.
func (r *Room) Check(e *event.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	auth := make([]*event.Event, 0, len(e.AuthEvents()))
	for _, eventID := range e.AuthEvents() {
		if a := r.events[eventID]; a != nil {
			auth = append(auth, a)
		}
	}
	if err := authrules.CheckAuthEvents(e, auth, func(id.EventID) bool { return false }); err != nil {
		return err
	}
	before, ok := r.before[e.ID()]
	if !ok {
		var err error
		if before, err = r.stateAfter(e.PrevEvents()); err != nil {
			return err
		}
	}
	return authrules.Check(e, stateOf{before, r.events})
}

// stateOf is a state as authrules reads it.
type stateOf struct {
	state  roomstate.Map
	events source
}

// StateEvent looks up one event.
func (s stateOf) StateEvent(eventType, stateKey string) (*event.Event, error) {
	eventID, _ := wholestate.Get(s.state, eventType, stateKey)
	return s.events[eventID], nil
}

// chain is the auth chain of some events, as raw events. It needs mu.
func (r *Room) chain(of []id.EventID) []*event.Event {
	found, err := dag.AuthChain(of, source(r.events))
	if err != nil {
		return nil
	}
	chain := make([]*event.Event, 0, len(found))
	for _, e := range found {
		chain = append(chain, e)
	}
	return dag.SortTopologically(chain)
}

// All is every event of the room, with the outliers, in no order.
func (r *Room) All() []*event.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*event.Event, 0, len(r.events))
	for _, e := range r.events {
		all = append(all, e)
	}
	return all
}

// Take adds events that were fetched, in whatever order they are; those whose prev events are missing wait.
func (r *Room) Take(raws []json.RawMessage) error {
	events := make([]*event.Event, 0, len(raws))
	for _, raw := range raws {
		e, err := event.Parse(r.Rules, raw)
		if err != nil {
			return fmt.Errorf("an event that was fetched: %w", err)
		}
		events = append(events, e)
	}
	for _, e := range dag.SortTopologically(events) {
		r.receive(e)
	}
	return nil
}
