package room_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/crypto/ed25519"

	"hanse/federation/authrules"
	"hanse/federation/canonicaljson"
	"hanse/federation/dag"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
	"hanse/federation/signedjson"
	"hanse/federation/stateres"
	"hanse/testnet/wholestate"
)

// testKey signs for every server: the machine doesn't look at signatures.
func testKey() signedjson.Key {
	return signedjson.Key{ID: "ed25519:1", Private: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}
}

func rulesOf(t testing.TB, v roomversion.Version) *roomversion.Rules {
	t.Helper()
	rules, ok := roomversion.Lookup(v)
	if !ok {
		t.Fatalf("no room version %q", v)
	}
	return rules
}

// world is all events of a room as somebody would see it who knows them all: what other servers have.
type world struct {
	t      testing.TB
	rules  *roomversion.Rules
	room   id.RoomID
	events map[id.EventID]*event.Event
	after  map[id.EventID]roomstate.Map
	before map[id.EventID]roomstate.Map
	clock  int64
}

func newWorld(t testing.TB, v roomversion.Version) *world {
	w := &world{
		t: t, rules: rulesOf(t, v), events: make(map[id.EventID]*event.Event), clock: 1000,
		after: make(map[id.EventID]roomstate.Map), before: make(map[id.EventID]roomstate.Map),
	}
	return w
}

// Events is for stateres and dag.
func (w *world) Events(ids []id.EventID) (map[id.EventID]*event.Event, error) {
	found := make(map[id.EventID]*event.Event)
	for _, e := range ids {
		if known, ok := w.events[e]; ok {
			found[e] = known
		}
	}
	return found, nil
}

// make makes an event as its sender's server would; auth events and depth as set in d, or chosen as the spec says.
func (w *world) make(d event.Draft) *event.Event {
	w.t.Helper()
	before := w.stateAfterAll(d.PrevEvents)
	d.RoomID = w.room
	if d.OriginServerTS == 0 {
		w.clock += 10
		d.OriginServerTS = w.clock
	}
	if d.AuthEvents == nil {
		for _, k := range authrules.Selection(w.rules, d.Type, d.StateKey, d.Sender, d.Content) {
			if a, ok := wholestate.Get(before, k.Type, k.StateKey); ok {
				d.AuthEvents = append(d.AuthEvents, a)
			}
		}
	}
	if d.Depth == 0 {
		for _, p := range d.PrevEvents {
			d.Depth = max(d.Depth, w.events[p].Depth())
		}
		d.Depth++
	}
	if w.rules.ReferencesWithHashes {
		d.ReferenceHashes = make(map[id.EventID][]byte)
		for _, r := range append(slices.Clone(d.PrevEvents), d.AuthEvents...) {
			sum := w.events[r].ReferenceHash()
			d.ReferenceHashes[r] = sum[:]
		}
	}
	e, err := d.Sign(w.rules, d.Sender.Server(), testKey())
	if err != nil {
		w.t.Fatalf("making an event: %v", err)
	}
	if via, ok := canonicaljson.Get(e.Content(), "join_authorised_via_users_server"); ok { // a restricted join has a second signature
		user, _ := canonicaljson.String(via)
		if e, err = e.CoSign(id.UserID(user).Server(), testKey()); err != nil {
			w.t.Fatalf("signing a restricted join: %v", err)
		}
	}
	w.add(e, before)
	return e
}

// add takes in an event made elsewhere.
func (w *world) add(e *event.Event, before roomstate.Map) {
	w.events[e.ID()] = e
	w.before[e.ID()], w.after[e.ID()] = before, before
	if key, ok := e.StateKey(); ok && authrules.Check(e, worldState{w, before}) == nil {
		w.after[e.ID()] = wholestate.With(before, e.Type(), key, e.ID())
	}
	if w.room == "" {
		w.room = e.RoomID()
	}
}

func (w *world) stateAfterAll(prev []id.EventID) roomstate.Map {
	var states []roomstate.Map
	for _, p := range prev {
		states = append(states, w.after[p])
	}
	switch len(states) {
	case 0:
		return roomstate.Map{}
	case 1:
		return states[0]
	}
	state, err := stateres.Resolve(w.rules, states, w)
	if err != nil {
		w.t.Fatal(err)
	}
	return state
}

// authChain is the auth chain of events, with the create event where that is implied.
func (w *world) authChain(of []id.EventID) []*event.Event {
	chain, err := dag.AuthChain(of, w)
	if err != nil {
		w.t.Fatal(err)
	}
	if create, ok := w.room.CreateEvent(); ok {
		chain[create] = w.events[create]
	}
	var list []*event.Event
	for _, e := range chain {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b *event.Event) int { return int(a.Depth() - b.Depth()) })
	return dag.SortTopologically(list)
}

// stateEvents are the events of a state, in order of depth.
func (w *world) stateEvents(state roomstate.Map) []*event.Event {
	var list []*event.Event
	for _, e := range wholestate.All(state) {
		list = append(list, w.events[e])
	}
	return dag.SortTopologically(list)
}

// between are the events below latest down to earliest, as get_missing_events gives them.
func (w *world) between(latest, earliest []id.EventID, limit int) []*event.Event {
	seen := make(map[id.EventID]bool)
	for _, e := range append(slices.Clone(latest), earliest...) {
		seen[e] = true
	}
	var found []*event.Event
	queue := slices.Clone(latest)
	for len(queue) > 0 && len(found) < limit {
		e := w.events[queue[0]]
		queue = queue[1:]
		if e == nil {
			continue
		}
		for _, p := range e.PrevEvents() {
			if !seen[p] && w.events[p] != nil && len(found) < limit {
				seen[p] = true
				found = append(found, w.events[p])
				queue = append(queue, p)
			}
		}
	}
	return found
}

type worldState struct {
	w     *world
	state roomstate.Map
}

func (s worldState) StateEvent(typ, stateKey string) (*event.Event, error) {
	e, ok := wholestate.Get(s.state, typ, stateKey)
	if !ok {
		return nil, nil
	}
	return s.w.events[e], nil
}

// draft makes a draft of a type of event, with shorthands for the usual ones.
func (w *world) draft(sender id.UserID, what string, content string) (event.Draft, error) {
	typ, arg, _ := cut(what)
	d := event.Draft{Sender: sender, Content: json.RawMessage(content)}
	state := func(typ, key string, content any) {
		d.Type, d.StateKey = typ, &key
		if len(d.Content) == 0 {
			d.Content, _ = json.Marshal(content)
		}
	}
	switch typ {
	case "create":
		if !w.rules.RoomIDIsCreateEvent {
			w.room = id.RoomID("!room:" + sender.Server())
		}
		c := map[string]any{"room_version": w.rules.Version}
		if !w.rules.ImplicitCreator {
			c["creator"] = sender
		}
		state("m.room.create", "", c)
	case "join", "leave", "knock":
		state("m.room.member", string(sender), map[string]any{"membership": typ})
	case "invite", "ban":
		state("m.room.member", arg, map[string]any{"membership": typ})
	case "kick", "unban":
		state("m.room.member", arg, map[string]any{"membership": "leave"})
	case "nick":
		state("m.room.member", string(sender), map[string]any{"membership": "join", "displayname": arg})
	case "rules":
		state("m.room.join_rules", "", map[string]any{"join_rule": arg})
	case "topic":
		state("m.room.topic", "", map[string]any{"topic": arg})
	case "power":
		state("m.room.power_levels", "", map[string]any{})
	case "message":
		d.Type, d.Content = "m.room.message", json.RawMessage(fmt.Sprintf(`{"body":%q,"msgtype":"m.text"}`, arg))
	default:
		return d, fmt.Errorf("no kind of event %q", typ)
	}
	return d, nil
}
