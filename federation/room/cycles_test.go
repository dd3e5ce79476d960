package room_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"hanse/federation/authrules"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
	"hanse/testnet/wholestate"
)

// In room versions 1 and 2 events have the IDs that their servers gave them, so that they can name each other as prev and auth
// events, and two events can have one ID.

// named makes an event of the given ID, with the references of the draft, whatever they are; the state in which its sender's server
// would choose auth events is that of the machine.
func named(w *world, m *room.Machine, eventID id.EventID, d event.Draft) *event.Event {
	w.t.Helper()
	d.RoomID = m.RoomID()
	if d.Depth == 0 {
		d.Depth = 50
	}
	if d.PrevEvents == nil {
		d.PrevEvents = m.Forward()
	}
	if d.AuthEvents == nil {
		for _, key := range authrules.Selection(w.rules, d.Type, d.StateKey, d.Sender, d.Content) {
			if a, ok := wholestate.Get(m.Current(), key.Type, key.StateKey); ok {
				d.AuthEvents = append(d.AuthEvents, a)
			}
		}
	}
	w.clock += 10
	d.OriginServerTS = w.clock
	signed, err := d.Sign(w.rules, d.Sender.Server(), testKey())
	if err != nil {
		w.t.Fatal(err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(signed.JSON(), &fields); err != nil {
		w.t.Fatal(err)
	}
	signatures := fields["signatures"]
	delete(fields, "signatures")
	delete(fields, "hashes")
	fields["event_id"] = fmt.Appendf(nil, "%q", eventID)
	text, _ := json.Marshal(fields)
	sum := sha256.Sum256(text)
	fields["hashes"] = fmt.Appendf(nil, `{"sha256":%q}`, base64.RawStdEncoding.EncodeToString(sum[:]))
	fields["signatures"] = signatures
	text, _ = json.Marshal(fields)
	e, err := event.Parse(w.rules, text)
	if err != nil || !e.ContentHashMatches() {
		w.t.Fatalf("%s: %v", text, err)
	}
	return e
}

// inCycles is a room of version 1 with a user of server b, whose events name each other.
func inCycles(t testing.TB) (*room.Machine, *memory, *world) {
	m, store := founded(t, roomversion.V1)
	w := others(t, store, roomversion.V1)
	joined(t, m, store, w, "@bob:b", "@carol:c")
	return m, store, w
}

// alive checks that the room goes on: there is something to stand on, with its state, and an own event is made.
func alive(t *testing.T, m *room.Machine, store *memory) {
	t.Helper()
	if len(m.Forward()) == 0 || !m.Resident() || m.Current().Len() < 7 {
		t.Fatalf("extremities %v, resident %v, %d state events", m.Forward(), m.Resident(), m.Current().Len())
	}
	before := m.Forward()
	result := step(t, m, store, room.Propose{Drafts: []event.Draft{message("@alice:a", "still here")}, Key: testKey()})
	if len(result.Commit.Events) != 1 || !slices.Equal(result.Commit.Events[0].Event.PrevEvents(), before) {
		t.Fatalf("an own event: %+v", result.Verdicts)
	}
}

// refuse has nobody answer, until nothing is asked any more.
func refuse(t *testing.T, m *room.Machine, store *memory, open []room.Fetch, answer func(room.Fetch) room.Provide) {
	t.Helper()
	for n := 0; len(open) > 0; n++ {
		if n > 100 {
			t.Fatal("it never stops asking")
		}
		in := answer(open[0])
		in.Fetch, in.From = open[0], open[0].From[0]
		open = append(open[1:], step(t, m, store, in).Fetch...)
	}
	if m.Waiting() != 0 || len(store.staged) != 0 {
		t.Errorf("%d wait, %d staged", m.Waiting(), len(store.staged))
	}
}

func TestCyclesAreDropped(t *testing.T) {
	m, store, w := inCycles(t)
	on := func(eventID id.EventID, prev ...id.EventID) *event.Event {
		d := message("@bob:b", string(eventID))
		d.PrevEvents = prev
		return named(w, m, eventID, d)
	}
	x, y, self := on("$x:b", "$y:b"), on("$y:b", "$x:b"), on("$z:b", "$z:b")
	result := step(t, m, store, room.Receive{Origin: "b", Events: []*event.Event{x, y, self}})
	if m.Waiting() != 0 || len(result.Fetch) != 0 || !result.Commit.Empty() {
		t.Errorf("%d wait: %+v", m.Waiting(), result.Verdicts)
	}
	alive(t, m, store)
}

// The state before an event is given, so that the event gets its place over a gap; then what it stands on comes, and stands on it.
func TestACycleOverAGapLeavesTheExtremities(t *testing.T) {
	for _, length := range []int{2, 3, 5} {
		m, store, w := inCycles(t)
		honest := m.Forward()
		name := func(i int) id.EventID { return id.EventID(fmt.Sprintf("$x%d:b", i%length)) }
		make := func(i int) *event.Event {
			d := message("@bob:b", fmt.Sprint(i))
			d.PrevEvents = []id.EventID{name(i + length - 1)}
			if i == 0 {
				d.PrevEvents = append(d.PrevEvents, honest...)
			}
			return named(w, m, name(i), d)
		}
		var given room.StateAt
		for _, e := range wholestate.All(m.Current()) {
			given.State = append(given.State, e)
		}
		open := step(t, m, store, room.Receive{Origin: "b", Events: []*event.Event{make(0)}}).Fetch
		refuse(t, m, store, open, func(f room.Fetch) room.Provide {
			if f.Kind != room.FetchState || f.At != name(0) {
				return room.Provide{Err: fmt.Errorf("no")}
			}
			given.At = f.At
			return room.Provide{State: &given}
		})
		if !slices.Equal(m.Forward(), []id.EventID{name(0)}) {
			t.Fatalf("the event over the gap has no place: %v", m.Forward())
		}
		for i := 1; i < length; i++ {
			step(t, m, store, room.Receive{Origin: "b", Events: []*event.Event{make(i)}})
		}
		m = room.Load("a", store.snapshot())
		alive(t, m, store)
	}
}

// What an event stands on comes in every answer, with a state before it, and stands on itself.
func TestAnAnswerThatIsDroppedDoesNotHelp(t *testing.T) {
	m, store, w := inCycles(t)
	d := message("@bob:b", "on itself")
	d.PrevEvents = []id.EventID{"$self:b"}
	self := named(w, m, "$self:b", d)
	above := named(w, m, "$above:b", d)
	given := room.StateAt{At: self.ID(), State: stateIDs(m.Current())}
	asked := 0
	open := step(t, m, store, room.Receive{Origin: "b", Events: []*event.Event{above}}).Fetch
	refuse(t, m, store, open, func(f room.Fetch) room.Provide {
		if asked++; f.Kind != room.FetchState || f.At != self.ID() {
			return room.Provide{Events: []*event.Event{self}}
		}
		return room.Provide{Events: []*event.Event{self}, State: &given}
	})
	if asked > 10 {
		t.Errorf("asked %d times", asked)
	}
	alive(t, m, store)
}

// The answer about missing auth events is a cycle of them.
func TestCyclesOfAuthEventsAreDropped(t *testing.T) {
	m, store, w := inCycles(t)
	create, _ := wholestate.Get(m.Current(), "m.room.create", "")
	auth := func(eventID id.EventID, auth ...id.EventID) *event.Event {
		d, _ := w.draft("@bob:b", "join", "")
		d.AuthEvents = append([]id.EventID{create}, auth...)
		return named(w, m, eventID, d)
	}
	chain := []*event.Event{auth("$x:b", "$y:b"), auth("$y:b", "$z:b"), auth("$z:b", "$x:b"), auth("$self:b", "$self:b")}
	d := message("@bob:b", "by nobody's leave")
	d.AuthEvents = []id.EventID{create, "$x:b"}
	open := step(t, m, store, room.Receive{Origin: "b", Events: []*event.Event{named(w, m, "$e:b", d)}}).Fetch
	asked := 0
	refuse(t, m, store, open, func(f room.Fetch) room.Provide {
		asked++
		return room.Provide{Events: chain}
	})
	for _, e := range append(chain, chain[0]) {
		if _, ok := store.events[e.ID()]; ok {
			t.Errorf("%s is stored", e.ID())
		}
	}
	if asked == 0 || asked > 10 {
		t.Errorf("asked %d times", asked)
	}
	alive(t, m, store)

	// Rejected ones can name each other: one is known as an outlier when it gets its place with another text.
	d, _ = w.draft("@eve:b", "ban @alice:a", "")
	d.AuthEvents = []id.EventID{create}
	first := named(w, m, "$p:b", d)
	d.AuthEvents = []id.EventID{create, "$p:b"}
	second := named(w, m, "$q:b", d)
	step(t, m, store, room.Outliers{Events: []*event.Event{first, second}})
	d.AuthEvents = []id.EventID{create, "$q:b"}
	open = step(t, m, store, room.Receive{Origin: "b", Events: []*event.Event{named(w, m, "$p:b", d)}}).Fetch
	refuse(t, m, store, open, func(f room.Fetch) room.Provide { return room.Provide{Events: []*event.Event{first, second}} })
	if store.events["$p:b"].Status != room.Rejected || store.events["$q:b"].Status != room.Rejected {
		t.Errorf("%+v %+v", store.events["$p:b"], store.events["$q:b"])
	}
	alive(t, m, store)
}

// The answer to a join has cycles in its auth chain and state: they are left out, the join goes on.
func TestCyclesInAnAnswerToAJoinAreLeftOut(t *testing.T) {
	w, in := large(t, roomversion.V1, 5)
	m, store := room.New("a", w.rules), newMemory()
	full := room.New("a", w.rules)
	step(t, full, newMemory(), in)
	topic := func(eventID, auth id.EventID) *event.Event {
		d, _ := w.draft("@u1:s1", "topic "+string(eventID), "")
		create, _ := wholestate.Get(full.Current(), "m.room.create", "")
		d.AuthEvents = []id.EventID{create, auth}
		return named(w, full, eventID, d)
	}
	x, y, self := topic("$x:s1", "$y:s1"), topic("$y:s1", "$x:s1"), topic("$self:s1", "$self:s1")
	in.State = append(in.State, x, self)
	in.AuthChain = append(in.AuthChain, y)
	step(t, m, store, in)
	if !m.Current().Equal(full.Current()) {
		t.Errorf("%d state events, want %d", m.Current().Len(), full.Current().Len())
	}
	if len(m.Forward()) != 1 {
		t.Errorf("extremities %v", m.Forward())
	}
}

// What was accepted under an ID is what the ID means: states and auth events name it.
func TestAnIDIsGivenOnce(t *testing.T) {
	m, store, w := inCycles(t)
	d, _ := w.draft("@bob:b", "nick Bob", "")
	first := named(w, m, "$x:b", d)
	step(t, m, store, room.Outliers{Events: []*event.Event{first}})
	d, _ = w.draft("@bob:b", "leave", "")
	for _, in := range []room.Input{
		room.Receive{Origin: "b", Events: []*event.Event{named(w, m, "$x:b", d)}},
		room.Accept{Origin: "b", Event: named(w, m, "$x:b", d)},
	} {
		result := step(t, m, store, in)
		if v, _ := result.Verdict("$x:b"); v.Status != room.Dropped || len(result.Commit.Events) != 0 {
			t.Errorf("%T: %+v", in, result.Verdicts)
		}
	}
	if result := step(t, m, store, room.Receive{Origin: "b", Events: []*event.Event{first}}); result.Verdicts[0].Status != room.Accepted {
		t.Errorf("the event itself: %+v", result.Verdicts)
	}
	alive(t, m, store)
}

// Whatever events name each other, and whatever is answered about them, the machine stops asking and the room goes on.
func TestGraphsThatAreNone(t *testing.T) {
	seed := *partialSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 60 {
		m, store, w := inCycles(t)
		create, _ := wholestate.Get(m.Current(), "m.room.create", "")
		bob, _ := wholestate.Get(m.Current(), "m.room.member", "@bob:b")
		known := []id.EventID{create, bob, m.Forward()[0]}
		some := func(at int) []id.EventID {
			list := slices.Clone(known[:at])
			for range 1 + r.IntN(2) {
				list = append(list, id.EventID(fmt.Sprintf("$x%d:b", r.IntN(6))))
			}
			if r.IntN(3) == 0 {
				list = append(list, known[2])
			}
			slices.Sort(list)
			return slices.Compact(list)
		}
		any := func() *event.Event {
			d, _ := w.draft("@bob:b", []string{"nick Bob", "message x", "topic y", "leave"}[r.IntN(16)/5], "")
			d.PrevEvents, d.Depth = some(0), 1+r.Int64N(100)
			if r.IntN(2) == 0 {
				d.AuthEvents = some(2)
			}
			return named(w, m, id.EventID(fmt.Sprintf("$x%d:b", r.IntN(6))), d)
		}
		several := func() (list []*event.Event) {
			for range r.IntN(6) {
				list = append(list, any())
			}
			return list
		}
		for range 12 {
			open := step(t, m, store, room.Receive{Origin: "b", Events: several()}).Fetch
			refuse(t, m, store, open, func(f room.Fetch) room.Provide {
				if r.IntN(3) == 0 {
					return room.Provide{Err: fmt.Errorf("no")}
				}
				in := room.Provide{Events: several()}
				if f.Kind == room.FetchState {
					in.State = &room.StateAt{At: f.At}
					for _, e := range wholestate.All(m.Current()) {
						in.State.State = append(in.State.State, e)
					}
				}
				return in
			})
			if r.IntN(4) == 0 {
				m = room.Load("a", store.snapshot())
			}
		}
		for key, e := range wholestate.All(m.Current()) {
			if stored := store.events[e]; stored.Event == nil || stored.Status == room.Rejected || !stored.Event.Is(key.Type, key.StateKey) {
				t.Errorf("the state has %s for %v: %+v", e, key, stored)
			}
		}
		alive(t, m, store)
	}
}
