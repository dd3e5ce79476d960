package rooms

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

// cites is an event of room version 1, which has the ID that is given and names these auth events.
func cites(t *testing.T, name int, auth ...int) *event.Event {
	t.Helper()
	type reference [2]any
	references := []reference{}
	for _, a := range auth {
		references = append(references, reference{numbered(a), map[string]string{"sha256": "x"}})
	}
	raw, err := json.Marshal(map[string]any{
		"event_id": numbered(name), "room_id": "!room:a", "sender": "@alice:a", "type": "m.room.member", "state_key": fmt.Sprint(name),
		"content": map[string]any{}, "auth_events": references, "prev_events": []reference{}, "depth": 1, "origin_server_ts": 1,
		"hashes": map[string]string{"sha256": "x"}, "signatures": map[string]any{},
	})
	if err != nil {
		t.Fatal(err)
	}
	rules, _ := roomversion.Lookup(roomversion.V1)
	e, err := event.Parse(rules, raw)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func numbered(name int) id.EventID { return id.EventID(fmt.Sprintf("$%03d:a", name)) }

func TestAuthEventsComeBeforeWhatCitesThem(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 0))
		names := random.Perm(40) // later ones cite earlier ones, and some that aren't there
		var events []*event.Event
		for i, name := range names {
			auth := []int{100 + random.IntN(3)}
			for range random.IntN(3) {
				if i > 0 {
					auth = append(auth, names[random.IntN(i)])
				}
			}
			events = append(events, cites(t, name, auth...))
		}
		random.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		sorted := inTurn(events)
		at := map[id.EventID]int{}
		for i, e := range sorted {
			at[e.ID()] = i
		}
		if len(at) != len(events) {
			t.Fatalf("seed %d: %d events of %d", seed, len(at), len(events))
		}
		for i, e := range sorted {
			for _, a := range e.AuthEvents() {
				if below, ok := at[a]; ok && below >= i {
					t.Errorf("seed %d: %s comes before %s, which it cites", seed, e.ID(), a)
				}
			}
		}
	}
}

func TestInTurnIsByIDOtherwise(t *testing.T) {
	a := cites(t, 9)
	circle := []*event.Event{cites(t, 1, 2), cites(t, 2, 1), cites(t, 3, 1)}
	events := append(circle, cites(t, 7, 9), cites(t, 8), cites(t, 5, 8, 8), a, cites(t, 4))
	var got []id.EventID
	for _, e := range inTurn(events) {
		got = append(got, e.ID())
	}
	want := []id.EventID{numbered(4), numbered(8), numbered(9), numbered(5), numbered(7), numbered(1), numbered(2), numbered(3)}
	if !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
}
