package literal

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
	"hanse/federation/signedjson"
	"hanse/federation/stateres"
	"hanse/testnet/wholestate"
)

// TestAgreement: in rooms that branch at random, this package's reading of state resolution and the server's come to the
// same state wherever branches meet. The server's was held against Synapse's on such rooms.
func TestAgreement(t *testing.T) {
	for _, rules := range roomversion.All() {
		t.Run("version "+string(rules.Version), func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(20) {
				r := newRoom(t, rules, rand.New(rand.NewPCG(seed, 1)))
				r.branch(48)
				if t.Failed() {
					t.Fatalf("in the room of seed %d", seed)
				}
			}
		})
	}
}

// room is a room in the making, of which only what is allowed is kept.
type room struct {
	t      *testing.T
	rules  *roomversion.Rules
	random *rand.Rand
	graph  *Graph
	events map[id.EventID]*event.Event
	roomID id.RoomID
	clock  int64
}

var users = []string{"@alice:a", "@bob:b", "@carol:c", "@dave:a", "@eve:b"}

func newRoom(t *testing.T, rules *roomversion.Rules, random *rand.Rand) *room {
	version, err := strconv.Atoi(string(rules.Version))
	if err != nil {
		t.Fatal(err)
	}
	r := &room{t: t, rules: rules, random: random, events: map[id.EventID]*event.Event{}, clock: 1_000_000}
	r.graph = NewGraph(version, func(*Event, string) bool { return true })
	return r
}

// begin makes the room and gives its last event. Its users have power levels of 100, 75, 75, 50 and 0.
func (r *room) begin() []string {
	create := map[string]any{"room_version": string(r.rules.Version)}
	if !r.rules.ImplicitCreator {
		create["creator"] = users[0]
	}
	at := []string{}
	first := func(sender, eventType, stateKey string, content map[string]any) {
		next := r.try(at, sender, eventType, stateKey, content)
		if next == "" {
			r.t.Fatalf("%s is not allowed", eventType)
		}
		at = []string{next}
	}
	first(users[0], "m.room.create", "", create)
	first(users[0], "m.room.member", users[0], map[string]any{"membership": "join"})
	first(users[0], "m.room.power_levels", "", r.levels(map[string]any{users[1]: 75, users[2]: 75, users[3]: 50}))
	first(users[0], "m.room.join_rules", "", map[string]any{"join_rule": "public"})
	for _, user := range users[1:4] {
		first(user, "m.room.member", user, map[string]any{"membership": "join"})
	}
	return at
}

func (r *room) levels(levels map[string]any) map[string]any {
	levels = maps.Clone(levels)
	if !r.rules.PrivilegedCreators {
		levels[users[0]] = 100
	}
	return map[string]any{"users": levels, "state_default": 50, "invite": 0}
}

// branch lets three branches grow, which now and then meet, and compares the states where they do.
func (r *room) branch(steps int) {
	base := r.begin()
	branches := [][]string{base, base, base}
	for range steps {
		i := r.random.IntN(len(branches))
		at := branches[i]
		if r.random.IntN(3) == 0 {
			at = slices.Concat(at, branches[r.random.IntN(len(branches))])
			slices.Sort(at)
			at = slices.Compact(at)
		}
		r.compare(at)
		if made := r.step(at); made != "" {
			branches[i] = []string{made}
		}
	}
	at := slices.Concat(branches...)
	slices.Sort(at)
	r.compare(slices.Compact(at))
}

func (r *room) step(at []string) string {
	pick := func() string { return users[r.random.IntN(len(users))] }
	sender, target := pick(), pick()
	if r.random.IntN(2) == 0 {
		sender = users[r.random.IntN(3)]
	}
	member := func(sender, membership string) string {
		return r.try(at, sender, "m.room.member", target, map[string]any{"membership": membership})
	}
	switch r.random.IntN(12) {
	case 0:
		return r.try(at, sender, "m.room.topic", "", map[string]any{"topic": fmt.Sprint(r.random.IntN(1000))})
	case 1:
		rule := []string{"public", "public", "invite", "knock"}[r.random.IntN(4)]
		return r.try(at, sender, "m.room.join_rules", "", map[string]any{"join_rule": rule})
	case 2, 3:
		levels := map[string]any{users[1]: 75, users[2]: 75, users[3]: 50}
		levels[users[1+r.random.IntN(4)]] = []int{0, 50, 60, 75}[r.random.IntN(4)]
		return r.try(at, sender, "m.room.power_levels", "", r.levels(levels))
	case 4, 5, 6:
		return member(target, "join")
	case 7:
		return member(target, "leave")
	}
	return member(sender, []string{"ban", "leave", "invite"}[r.random.IntN(3)])
}

// try makes an event on top of some others, and gives its ID if it is allowed.
func (r *room) try(at []string, sender, eventType, stateKey string, content map[string]any) string {
	r.t.Helper()
	raw, err := json.Marshal(content)
	if err != nil {
		r.t.Fatal(err)
	}
	r.clock += 20
	d := event.Draft{RoomID: r.roomID, Type: eventType, StateKey: &stateKey, Sender: id.UserID(sender), Content: raw,
		Depth: 1, OriginServerTS: r.clock - r.random.Int64N(40)}
	if eventType == "m.room.create" && !r.rules.RoomIDIsCreateEvent {
		d.RoomID = "!room:a"
	}
	for _, prev := range at {
		d.PrevEvents = append(d.PrevEvents, id.EventID(prev))
		d.Depth = max(d.Depth, r.events[id.EventID(prev)].Depth()+1)
	}
	state := r.graph.At(at)
	selection := Selection(&Event{Version: r.graph.Version, Fields: map[string]any{"type": eventType, "sender": sender, "state_key": stateKey, "content": content}})
	slices.SortFunc(selection, func(a, b Key) int { return strings.Compare(a.Type+a.StateKey, b.Type+b.StateKey) })
	for _, key := range slices.Compact(selection) {
		if e := state[key]; e != nil && eventType != "m.room.create" {
			d.AuthEvents = append(d.AuthEvents, id.EventID(e.ID))
		}
	}
	key := signedjson.Key{ID: "ed25519:1", Private: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}
	made, err := d.Sign(r.rules, d.Sender.Server(), key)
	if err != nil {
		r.t.Fatal(err)
	}
	e, err := Read(r.graph.Version, made.JSON())
	if err != nil {
		r.t.Fatal(err)
	}
	if r.graph.Add(e) != nil {
		return ""
	}
	if r.roomID == "" {
		r.roomID = made.RoomID()
	}
	r.events[made.ID()] = made
	return e.ID
}

// compare resolves the states after some events by both readings.
func (r *room) compare(at []string) {
	r.t.Helper()
	var states []roomstate.Map
	for _, one := range at {
		states = append(states, mapOf(r.graph.after[one]))
	}
	got, err := stateres.Resolve(r.rules, states, r)
	if err != nil {
		r.t.Fatal(err)
	}
	for change := range wholestate.Diff(mapOf(r.graph.At(at)), got) {
		r.t.Errorf("%s %q: the server's reading has %q, this one %q", change.Key.Type, change.Key.StateKey, change.New, change.Old)
	}
}

func mapOf(s State) roomstate.Map {
	var m roomstate.Map
	for key, e := range s {
		m = wholestate.With(m, key.Type, key.StateKey, id.EventID(e.ID))
	}
	return m
}

// Events makes room a source for the server's reading.
func (r *room) Events(ids []id.EventID) (map[id.EventID]*event.Event, error) {
	found := map[id.EventID]*event.Event{}
	for _, one := range ids {
		if e := r.events[one]; e != nil {
			found[one] = e
		}
	}
	return found, nil
}
