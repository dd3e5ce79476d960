package stateres

import (
	"encoding/json"
	"flag"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ed25519"

	"hanse/federation/authrules"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
	"hanse/federation/signedjson"
	"hanse/testnet/wholestate"
)

// world is a room in the making: a DAG of signed events with the state after each.
type world struct {
	t        testing.TB
	rules    *roomversion.Rules
	key      signedjson.Key
	roomID   id.RoomID
	events   map[id.EventID]*event.Event
	after    map[id.EventID]roomstate.Map
	rejected map[id.EventID]bool
	order    []id.EventID
	ts       int64
	spoil    bool // some contents are those of spoiled
}

func newWorld(t testing.TB, rules *roomversion.Rules) *world {
	return &world{
		t:        t,
		rules:    rules,
		key:      signedjson.Key{ID: "ed25519:1", Private: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))},
		events:   map[id.EventID]*event.Event{},
		after:    map[id.EventID]roomstate.Map{},
		rejected: map[id.EventID]bool{},
		ts:       1_000_000,
	}
}

// step is what one wants to send. Without auth the auth events are selected from the state before.
type step struct {
	sender, typ, stateKey string
	message               bool // not a state event
	content               map[string]any
	after                 []id.EventID
	auth                  []id.EventID
	ts, depth             int64 // 0: the next
}

// send adds an event, whether it is allowed or not. It returns false if the state before it doesn't allow it: it is
// rejected then.
func (w *world) send(s step) (*event.Event, bool) {
	w.t.Helper()
	before, err := Resolve(w.rules, w.states(s.after), w)
	if err != nil {
		w.t.Fatal(err)
	}
	d := w.draft(s)
	if s.auth == nil && s.typ != typeCreate {
		for _, key := range authrules.Selection(w.rules, d.Type, d.StateKey, d.Sender, d.Content) {
			if value, ok := wholestate.Get(before, key.Type, key.StateKey); ok {
				d.AuthEvents = append(d.AuthEvents, value)
			}
		}
	}
	e, err := d.Sign(w.rules, d.Sender.Server(), w.key)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.roomID == "" {
		w.roomID = e.RoomID()
	}
	return e, w.receive(e)
}

// receive takes an event and reports whether the state before it allows it. If not, it is rejected.
func (w *world) receive(e *event.Event) bool {
	w.t.Helper()
	var src Source = w
	if len(w.order)%2 == 0 { // either way must do
		src = w.withCitations()
	}
	after, err := Resolve(w.rules, w.states(e.PrevEvents()), src)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.events[e.ID()] == nil {
		w.order = append(w.order, e.ID())
	}
	w.events[e.ID()] = e
	allowed := authrules.Check(e, &plainState{w: w, state: maps.Collect(wholestate.All(after))}) == nil
	if key, ok := keyOf(e); ok && allowed {
		after = wholestate.With(after, key.Type, key.StateKey, e.ID())
	}
	w.after[e.ID()], w.rejected[e.ID()] = after, !allowed
	return allowed
}

func (w *world) draft(s step) event.Draft {
	if s.content == nil {
		s.content = map[string]any{}
	}
	if s.typ == typeCreate {
		s.content = maps.Clone(s.content)
		s.content["room_version"] = string(w.rules.Version)
		if !w.rules.ImplicitCreator {
			s.content["creator"] = s.sender
		}
	}
	content, err := json.Marshal(s.content)
	if err != nil {
		w.t.Fatal(err)
	}
	w.ts++
	d := event.Draft{
		RoomID: w.roomID, Type: s.typ, Sender: id.UserID(s.sender), Content: content,
		PrevEvents: s.after, AuthEvents: s.auth, OriginServerTS: w.ts, Depth: 1,
	}
	if s.typ == typeCreate && !w.rules.RoomIDIsCreateEvent {
		d.RoomID = "!room:a"
	}
	if !s.message {
		d.StateKey = &s.stateKey
	}
	for _, prev := range s.after {
		d.Depth = max(d.Depth, w.events[prev].Depth()+1)
	}
	if s.ts != 0 {
		d.OriginServerTS = s.ts
	}
	if s.depth != 0 {
		d.Depth = s.depth
	}
	return d
}

func (w *world) states(after []id.EventID) []roomstate.Map {
	var states []roomstate.Map
	for _, e := range after {
		states = append(states, w.after[e])
	}
	return states
}

// Events makes world a Source that knows all of its events.
func (w *world) Events(ids []id.EventID) (map[id.EventID]*event.Event, error) {
	found := map[id.EventID]*event.Event{}
	for _, e := range ids {
		if w.events[e] != nil {
			found[e] = w.events[e]
		}
	}
	return found, nil
}

// Rejected makes world a Source with Rejections.
func (w *world) Rejected(e id.EventID) bool { return w.rejected[e] }

// citing is a world that is a Source with Citations.
type citing struct {
	*world
	cited   map[id.EventID][]id.EventID
	place   map[id.EventID]int
	unknown int // so many of the first events were there before the index
}

func (w *world) withCitations() citing {
	c := citing{world: w, cited: map[id.EventID][]id.EventID{}, place: map[id.EventID]int{}}
	for i, e := range w.order {
		c.place[e] = i
		for _, auth := range w.events[e].AuthEvents() {
			c.cited[auth] = append(c.cited[auth], e)
		}
	}
	return c
}

func (c citing) CitedBy(e id.EventID) iter.Seq2[id.EventID, error] {
	return func(yield func(id.EventID, error) bool) {
		for _, citing := range c.cited[e] {
			if c.place[citing] >= c.unknown && !yield(citing, nil) {
				return
			}
		}
		if c.place[e] < c.unknown {
			yield("", ErrCitationsUnknown)
		}
	}
}

// without is a world that lost some events.
type without struct {
	*world
	lost map[id.EventID]bool
}

func (s without) Events(ids []id.EventID) (map[id.EventID]*event.Event, error) {
	found, err := s.world.Events(ids)
	maps.DeleteFunc(found, func(e id.EventID, _ *event.Event) bool { return s.lost[e] })
	return found, err
}

// start makes a room with Alice as its creator, and returns its last event.
func (w *world) start() *event.Event {
	create, ok := w.send(step{sender: "@alice:a", typ: typeCreate})
	if !ok {
		w.t.Fatal("create is not allowed")
	}
	last := create
	for _, s := range []step{
		{typ: typeMember, stateKey: "@alice:a", content: map[string]any{"membership": "join"}},
		{typ: typePowerLevels, content: w.levels(map[string]any{"@alice:a": 100})},
		{typ: typeJoinRules, content: map[string]any{"join_rule": "public"}},
	} {
		s.sender, s.after = "@alice:a", []id.EventID{last.ID()}
		if last, ok = w.send(s); !ok {
			w.t.Fatalf("%s is not allowed", s.typ)
		}
	}
	return last
}

// levels returns the content of a power levels event, without the creator where creators must not be in it.
func (w *world) levels(users map[string]any) map[string]any {
	users = maps.Clone(users)
	if w.rules.PrivilegedCreators {
		delete(users, "@alice:a")
	}
	return map[string]any{"users": users, "state_default": 50, "invite": 0}
}

// grow adds events at random: some from the newest events, some from old ones, some with auth events of another
// branch, some with times and depths that are lies, some that are not allowed.
func (w *world) grow(r *rand.Rand, count int) {
	users := []string{"@alice:a", "@bob:b", "@carol:c", "@dave:a", "@eve:b"}
	levels := map[string]any{"@alice:a": 100}
	for range count {
		s := w.someStep(r, users, levels)
		if w.spoil && r.IntN(12) == 0 {
			s.content = spoiled[r.IntN(len(spoiled))]
		}
		for range 1 + r.IntN(10)/7 + r.IntN(10)/8 {
			recent := w.order[max(0, len(w.order)-1-r.IntN(12)):]
			if prev := recent[r.IntN(len(recent))]; !slices.Contains(s.after, prev) && !w.rejected[prev] {
				s.after = append(s.after, prev)
			}
		}
		if len(s.after) == 0 {
			continue
		}
		if r.IntN(4) == 0 {
			s.ts = 1_000_000 + r.Int64N(20)
		}
		if r.IntN(10) == 0 {
			s.depth = 1 + r.Int64N(30)
		}
		if r.IntN(8) == 0 { // auth events of another branch
			other := w.after[w.order[r.IntN(len(w.order))]]
			d := w.draft(s)
			s.auth = []id.EventID{}
			for _, key := range authrules.Selection(w.rules, d.Type, d.StateKey, d.Sender, d.Content) {
				if value, ok := wholestate.Get(other, key.Type, key.StateKey); ok {
					s.auth = append(s.auth, value)
				}
			}
		}
		if e := w.events[w.order[r.IntN(len(w.order))]]; s.auth != nil && w.rejected[e.ID()] && e.IsState() { // a rejected one among them
			s.auth = append(s.auth, e.ID())
		}
		w.send(s)
	}
}

func (w *world) someStep(r *rand.Rand, users []string, levels map[string]any) step {
	sender, target := users[r.IntN(len(users))], users[r.IntN(len(users))]
	if r.IntN(2) == 0 {
		sender = users[0]
	}
	member := func(sender, target, membership string) step {
		return step{sender: sender, typ: typeMember, stateKey: target, content: map[string]any{"membership": membership}}
	}
	switch r.IntN(12) {
	case 0, 1, 2:
		return member(target, target, "join")
	case 3:
		return member(target, target, "leave")
	case 4, 5:
		return member(sender, target, []string{"ban", "leave", "invite"}[r.IntN(3)])
	case 6, 7:
		levels[target] = []int{0, 50, 50, 100}[r.IntN(4)]
		return step{sender: sender, typ: typePowerLevels, content: w.levels(levels)}
	case 8:
		rule := []string{"public", "public", "invite", "knock", "restricted"}[r.IntN(5)]
		return step{sender: sender, typ: typeJoinRules, content: map[string]any{"join_rule": rule}}
	case 9:
		return step{sender: sender, typ: "org.example.x", stateKey: fmt.Sprint(r.IntN(3))}
	case 10:
		return step{sender: sender, typ: "m.room.message", message: true}
	}
	return step{sender: sender, typ: "m.room.topic", content: map[string]any{"topic": fmt.Sprint(r.IntN(1000))}}
}

// describe renders a state for failures, with what each event is.
func (w *world) describe(m roomstate.Map) string {
	var lines []string
	for key, e := range wholestate.All(m) {
		lines = append(lines, fmt.Sprintf("%s %q: %s", key.Type, key.StateKey, e))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

var seedFlag = flag.Uint64("seed", 1, "of the property tests; 0: by the clock, so that no change is refused for what it didn't do")

// random returns a generator and prints its seed, with which a failure can be repeated.
func random(t testing.TB) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}
