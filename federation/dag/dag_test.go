package dag

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"golang.org/x/crypto/ed25519"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/federation/signedjson"
)

var seedFlag = flag.Uint64("seed", 1, "of the property tests; 0: by the clock, so that no change is refused for what it didn't do")

// random returns a generator and prints its seed.
func random(t testing.TB) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// store is a Source of events.
type store struct {
	events map[id.EventID]*event.Event
	calls  int
}

func (s *store) Events(ids []id.EventID) (map[id.EventID]*event.Event, error) {
	s.calls++
	found := map[id.EventID]*event.Event{}
	for _, e := range ids {
		if s.events[e] != nil {
			found[e] = s.events[e]
		}
	}
	return found, nil
}

var key = signedjson.Key{ID: "ed25519:1", Private: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}

// newEvent makes an event with those references. Only the shape of the graph matters.
func newEvent(t testing.TB, depth int64, prev, auth []id.EventID) *event.Event {
	return numbered(t, 0, depth, prev, auth)
}

func numbered(t testing.TB, number int, depth int64, prev, auth []id.EventID) *event.Event {
	rules, _ := roomversion.Lookup(roomversion.V11)
	e, err := event.Draft{
		RoomID: "!room:a", Type: "m.room.message", Sender: "@alice:a", Depth: depth, PrevEvents: prev, AuthEvents: auth,
		Content: fmt.Appendf(nil, `{"n":%d}`, number),
	}.Sign(rules, "a", key)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// graph makes a random graph of events, in an order in which parents come first. Depths may lie.
func graph(t testing.TB, r *rand.Rand, count int) []*event.Event {
	var events []*event.Event
	some := func(limit int) []id.EventID {
		var ids []id.EventID
		for range min(r.IntN(limit), len(events)) {
			if e := events[r.IntN(len(events))].ID(); !slices.Contains(ids, e) {
				ids = append(ids, e)
			}
		}
		return ids
	}
	for i := range count {
		depth := int64(i + 1)
		if r.IntN(5) == 0 {
			depth = 1 + r.Int64N(int64(count))
		}
		events = append(events, numbered(t, i, depth, some(4), some(4)))
	}
	return events
}

func TestSortTopologically(t *testing.T) {
	r := random(t)
	for range 20 {
		events := graph(t, r, 40)
		want := SortTopologically(events)
		position := map[id.EventID]int{}
		for i, e := range want {
			position[e.ID()] = i
		}
		if len(position) != len(events) || len(want) != len(events) {
			t.Fatalf("%d events were sorted to %d", len(events), len(want))
		}
		for _, e := range events {
			for _, parent := range append(slices.Clone(e.PrevEvents()), e.AuthEvents()...) {
				if position[parent] >= position[e.ID()] {
					t.Fatal("an event comes before its parent")
				}
			}
		}
		r.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		if got := SortTopologically(append(events, events[3])); !slices.Equal(got, want) {
			t.Fatal("another order of delivery gives another order")
		}
	}
}

func TestSortTopologicallyTies(t *testing.T) {
	deep, shallow := newEvent(t, 7, nil, nil), newEvent(t, 2, nil, nil)
	child := newEvent(t, 1, []id.EventID{deep.ID(), "$unknown"}, nil)
	if got := SortTopologically([]*event.Event{child, deep, shallow}); !slices.Equal(got, []*event.Event{shallow, deep, child}) {
		t.Errorf("sorted to depths %d %d %d, want 2 7 1", got[0].Depth(), got[1].Depth(), got[2].Depth())
	}
	if got := SortTopologically(nil); len(got) != 0 {
		t.Errorf("no events were sorted to %v", got)
	}
}

// inCircle makes an event of room version 1, where servers choose IDs, so that events can refer to each other.
func inCircle(t *testing.T, name, refers string, depth int) *event.Event {
	rules, _ := roomversion.Lookup(roomversion.V1)
	e, err := event.Load(rules, id.EventID(name), fmt.Appendf(nil, `{"auth_events":[[%[3]q,{}]],"content":{},"depth":%[1]d,"event_id":%[2]q,`+
		`"hashes":{"sha256":""},"origin_server_ts":1,"prev_events":[[%[3]q,{}]],"room_id":"!r:a","sender":"@a:a","signatures":{},"type":"x"}`,
		depth, name, refers))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestSortTopologicallyCircle(t *testing.T) {
	a, b, c := inCircle(t, "$a:a", "$b:a", 9), inCircle(t, "$b:a", "$a:a", 8), inCircle(t, "$c:a", "$x:a", 20)
	if got := SortTopologically([]*event.Event{a, b, c}); !slices.Equal(got, []*event.Event{c, b, a}) {
		t.Errorf("sorted to %v %v %v", got[0].ID(), got[1].ID(), got[2].ID())
	}
}

func TestAuthChain(t *testing.T) {
	r := random(t)
	for range 20 {
		events := graph(t, r, 40)
		src := &store{events: map[id.EventID]*event.Event{}}
		for _, e := range events {
			if r.IntN(10) > 0 { // some are missing
				src.events[e.ID()] = e
			}
		}
		of := []id.EventID{events[len(events)-1].ID(), events[r.IntN(len(events))].ID(), "$unknown"}
		want := map[id.EventID]*event.Event{}
		var walk func(e id.EventID)
		walk = func(e id.EventID) {
			if src.events[e] == nil {
				return
			}
			for _, auth := range src.events[e].AuthEvents() {
				if want[auth] == nil && src.events[auth] != nil {
					want[auth] = src.events[auth]
					walk(auth)
				}
			}
		}
		for _, e := range of {
			walk(e)
		}
		got, err := AuthChain(of, src)
		if err != nil || !maps.Equal(got, want) {
			t.Fatalf("an auth chain of %d events, want %d (%v)", len(got), len(want), err)
		}
	}
}

func TestAuthChainCircle(t *testing.T) {
	src := &store{events: map[id.EventID]*event.Event{}}
	for _, e := range []*event.Event{inCircle(t, "$a:a", "$b:a", 1), inCircle(t, "$b:a", "$a:a", 2), inCircle(t, "$c:a", "$c:a", 3), inCircle(t, "$d:a", "$a:a", 4)} {
		src.events[e.ID()] = e
	}
	for of, want := range map[id.EventID][]id.EventID{"$a:a": {"$a:a", "$b:a"}, "$c:a": {"$c:a"}, "$d:a": {"$a:a", "$b:a"}} {
		chain, err := AuthChain([]id.EventID{of}, src)
		if got := slices.Sorted(maps.Keys(chain)); err != nil || !slices.Equal(got, want) {
			t.Errorf("the auth chain of %s is %v, want %v (%v)", of, got, want, err)
		}
	}
}

func TestAuthChainIsReadInBatches(t *testing.T) {
	src := &store{events: map[id.EventID]*event.Event{}}
	var last []id.EventID
	for level := range 5 {
		var next []id.EventID
		for i := range 6 {
			e := numbered(t, i, int64(level+1), nil, last)
			src.events[e.ID()] = e
			next = append(next, e.ID())
		}
		last = next
	}
	if chain, err := AuthChain(last, src); err != nil || len(chain) != 24 || src.calls != 5 {
		t.Errorf("%d events in %d calls (%v), want 24 in 5", len(chain), src.calls, err)
	}
}

type broken struct{}

var errBroken = errors.New("the disk is gone")

func (broken) Events([]id.EventID) (map[id.EventID]*event.Event, error) { return nil, errBroken }

func TestAuthChainPassesErrorsOn(t *testing.T) {
	if _, err := AuthChain([]id.EventID{"$a"}, broken{}); !errors.Is(err, errBroken) {
		t.Errorf("%v, want the error of the source", err)
	}
}

// endless is a source in which each event has ten others.
type endless struct{}

func (s endless) Events(ids []id.EventID) (map[id.EventID]*event.Event, error) {
	found := make(map[id.EventID]*event.Event, len(ids))
	rules, _ := roomversion.Lookup(roomversion.V11)
	for _, e := range ids {
		auth := []byte(`[`)
		for i := range 10 {
			auth = fmt.Appendf(auth, `"%s%d",`, e, i)
		}
		auth[len(auth)-1] = ']'
		loaded, err := event.Load(rules, e, fmt.Appendf(nil, `{"auth_events":%s,"content":{},"depth":1,"hashes":{"sha256":""},`+
			`"origin_server_ts":1,"prev_events":[],"room_id":"!r:a","sender":"@a:a","signatures":{},"type":"x"}`, auth))
		if err != nil {
			return nil, err
		}
		found[e] = loaded
	}
	return found, nil
}

func TestAuthChainIsBounded(t *testing.T) {
	if _, err := authChain([]id.EventID{"$a"}, endless{}, 2000); !errors.Is(err, ErrChainTooLong) {
		t.Errorf("%v, want ErrChainTooLong", err)
	}
}

func BenchmarkSortTopologically(b *testing.B) {
	events := graph(b, rand.New(rand.NewPCG(1, 1)), 10_000)
	for b.Loop() {
		SortTopologically(events)
	}
}

func BenchmarkAuthChain(b *testing.B) {
	events := graph(b, rand.New(rand.NewPCG(1, 1)), 10_000)
	src := &store{events: map[id.EventID]*event.Event{}}
	for _, e := range events {
		src.events[e.ID()] = e
	}
	of := []id.EventID{events[len(events)-1].ID(), events[len(events)-2].ID()}
	for b.Loop() {
		if _, err := AuthChain(of, src); err != nil {
			b.Fatal(err)
		}
	}
}
