package room_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
)

var start = time.UnixMilli(1_700_000_000_000)

// creation are the drafts of a usual createRoom.
func creation(rules *roomversion.Rules, creator id.UserID) []event.Draft {
	w := &world{rules: rules}
	drafts := make([]event.Draft, 0, 5)
	for _, what := range []string{"create", "join", "power", "rules public", "topic hello"} {
		content := ""
		if what == "power" && !rules.PrivilegedCreators {
			content = `{"users": {"` + string(creator) + `": 100}}` // not canonical: the machine makes it so
		}
		d, err := w.draft(creator, what, content)
		if err != nil {
			panic(err)
		}
		d.RoomID = w.room
		drafts = append(drafts, d)
	}
	return drafts
}

// founded is a machine of server a with a public room of @alice:a, and its store.
func founded(t testing.TB, v roomversion.Version) (*room.Machine, *memory) {
	t.Helper()
	rules := rulesOf(t, v)
	m, store := room.New("a", rules), newMemory()
	step(t, m, store, room.Propose{Drafts: creation(rules, "@alice:a"), Key: testKey()})
	return m, store
}

// step steps a machine and makes its commit durable.
func step(t testing.TB, m *room.Machine, store *memory, in room.Input) room.Result {
	t.Helper()
	result, err := m.Step(start, in, store)
	if err != nil {
		t.Fatalf("%T: %v", in, err)
	}
	store.apply(result.Commit)
	store.reopen(m)
	return result
}

func message(sender id.UserID, body string) event.Draft {
	content, _ := json.Marshal(map[string]string{"body": body, "msgtype": "m.text"})
	return event.Draft{Type: "m.room.message", Sender: sender, Content: content}
}

// others is a world that knows what a machine's store holds.
func others(t testing.TB, store *memory, v roomversion.Version) *world {
	w := newWorld(t, v)
	w.room, w.clock = store.roomID, start.UnixMilli()
	for e, stored := range store.events {
		w.events[e] = stored.Event
		w.after[e] = store.after[e]
	}
	return w
}

func TestProposeCreatesRooms(t *testing.T) {
	for _, rules := range roomversion.All() {
		t.Run(string(rules.Version), func(t *testing.T) {
			m, store := founded(t, rules.Version)
			if got := m.Current().Len(); got != 5 {
				t.Errorf("the state has %d events", got)
			}
			if !m.Resident() || !slices.Equal(m.Servers(), []id.ServerName{"a"}) {
				t.Errorf("resident %v, servers %v", m.Resident(), m.Servers())
			}
			if len(store.forward) != 1 || store.depth != 5 {
				t.Errorf("forward %v at depth %d", store.forward, store.depth)
			}
			topic := store.events[store.forward[0]].Event
			want := 3 // create, power levels, membership
			if !rules.CreateInAuthEvents {
				want = 2
			}
			if got := len(topic.AuthEvents()); got != want {
				t.Errorf("the topic has %d auth events, want %d", got, want)
			}
			if topic.OriginServerTS() != start.UnixMilli() {
				t.Errorf("made at %d", topic.OriginServerTS())
			}
			for _, stored := range store.events {
				if e, err := event.Parse(rules, stored.Event.JSON()); err != nil || e.ID() != stored.Event.ID() || !e.ContentHashMatches() {
					t.Errorf("an own event doesn't come through the parser: %v", err)
				}
			}
		})
	}
}

func TestProposeIsAllOrNothing(t *testing.T) {
	m, store := founded(t, roomversion.V10)
	forward := m.Forward()
	for name, last := range map[string]event.Draft{
		"not allowed": message("@nobody:a", "no"),
		"no content":  {Type: "m.room.message", Sender: "@alice:a"},
		"no object":   {Type: "m.room.message", Sender: "@alice:a", Content: json.RawMessage(`[1]`)},
		"a float":     {Type: "m.room.message", Sender: "@alice:a", Content: json.RawMessage(`{"a":1.5}`)},
		"too large":   message("@alice:a", string(make([]byte, 70_000))),
	} {
		result := step(t, m, store, room.Propose{Drafts: []event.Draft{message("@alice:a", "yes"), last}, Key: testKey()})
		if !result.Commit.Empty() || len(result.Send) != 0 || !slices.Equal(m.Forward(), forward) {
			t.Errorf("%s: something was done: %+v", name, result.Commit)
		}
		if v := result.Verdicts; len(v) != 1 || v[0].Status != room.Rejected || v[0].Draft != 1 || v[0].Reason == "" {
			t.Errorf("%s: verdicts %+v", name, v)
		}
	}
	result := step(t, m, store, room.Propose{Drafts: []event.Draft{message("@alice:a", "1"), message("@alice:a", "2")}, Key: testKey()})
	if n := len(result.Commit.Events); n != 2 || result.Commit.Events[1].Event.PrevEvents()[0] != result.Commit.Events[0].Event.ID() {
		t.Errorf("%d events committed", n)
	}
}

// TestProposeLeavesRoomForUnsigned: Synapse, which puts an empty unsigned into events that have none, must find ours within the limit.
func TestProposeLeavesRoomForUnsigned(t *testing.T) {
	m, store := founded(t, roomversion.V10)
	ofSize := func(body int) (int, room.Verdict) {
		t.Helper()
		result := step(t, m, store, room.Propose{Drafts: []event.Draft{message("@alice:a", strings.Repeat("x", body))}, Key: testKey()})
		if len(result.Commit.Events) == 1 {
			return result.Commit.Events[0].Event.Size(), room.Verdict{}
		}
		return 0, result.Verdicts[0]
	}
	const most = event.MaxSize - len(`"unsigned":{},`)
	empty, _ := ofSize(100)
	body := 100 + most - empty
	if size, refused := ofSize(body); size != most {
		t.Fatalf("%d bytes: %+v", size, refused)
	}
	if size, refused := ofSize(body + 1); refused.Status != room.Rejected {
		t.Errorf("one of %d bytes was taken", size)
	}
}

// A new room that is refused leaves a machine as new as before.
func TestProposeRefusedRoom(t *testing.T) {
	rules := rulesOf(t, roomversion.V12)
	m, store := room.New("a", rules), newMemory()
	drafts := append(creation(rules, "@alice:a"), message("@nobody:a", "no"))
	if result := step(t, m, store, room.Propose{Drafts: drafts, Key: testKey()}); !result.Commit.Empty() || m.RoomID() != "" {
		t.Fatalf("room %q was made", m.RoomID())
	}
	if result := step(t, m, store, room.Propose{Drafts: creation(rules, "@alice:a"), Key: testKey()}); len(result.Commit.Events) != 5 {
		t.Errorf("%+v", result.Verdicts)
	}
}

func TestProposeMergesNewest(t *testing.T) {
	m, store := founded(t, roomversion.V10)
	w := others(t, store, roomversion.V10)
	d, _ := w.draft("@bob:b", "join", "")
	d.PrevEvents = m.Forward()
	join := w.make(d)
	step(t, m, store, room.Accept{Origin: "b", Event: join})
	var lowest id.EventID
	for i := range room.MaxPrevEvents + 3 {
		d := message("@bob:b", "fork")
		d.PrevEvents, d.Depth = []id.EventID{join.ID()}, int64(100+i)
		e := w.make(d)
		if i == 0 {
			lowest = e.ID()
		}
		step(t, m, store, room.Receive{Origin: "b", Events: []*event.Event{e}})
	}
	if n := len(m.Forward()); n != room.MaxPrevEvents+3 {
		t.Fatalf("%d forward extremities", n)
	}
	result := step(t, m, store, room.Propose{Drafts: []event.Draft{message("@alice:a", "merge")}, Key: testKey()})
	e := result.Commit.Events[0].Event
	if len(e.PrevEvents()) != room.MaxPrevEvents || slices.Contains(e.PrevEvents(), lowest) || e.Depth() != 100+room.MaxPrevEvents+3 {
		t.Errorf("%d prev events at depth %d", len(e.PrevEvents()), e.Depth())
	}
	if n := len(m.Forward()); n != 4 {
		t.Errorf("%d forward extremities are left, want 3 and ours", n)
	}
}

// Room versions 1 to 5 allow depths that some servers don't take: what we say must not stand on such an event, nor be so deep itself.
func TestProposeAboveTheGreatestDepth(t *testing.T) {
	for _, rules := range roomversion.All() {
		m, store := founded(t, rules.Version)
		w := others(t, store, rules.Version)
		d, _ := w.draft("@bob:b", "join", "")
		d.PrevEvents = m.Forward()
		join := w.make(d)
		step(t, m, store, room.Accept{Origin: "b", Event: join})
		var taken []id.EventID
		var deep id.EventID
		for _, depth := range []int64{rules.MaxDepth, event.MaxSharedDepth} {
			d = message("@bob:b", "deep")
			d.PrevEvents, d.Depth = []id.EventID{join.ID()}, depth
			e, want := w.make(d), room.SoftFailed
			if depth <= event.MaxSharedDepth {
				want = room.Accepted
				taken = append(taken, e.ID())
			} else {
				deep = e.ID()
			}
			if v := step(t, m, store, room.Receive{Origin: "b", Events: []*event.Event{e}}).Verdicts[0]; v.Status != want {
				t.Errorf("version %s: depth %d: %+v", rules.Version, depth, v)
			}
		}
		// Nor on what stands on such an event, whatever depth that claims, and whoever says it.
		for i, below := 0, deep; i < 3 && rules.MaxDepth > event.MaxSharedDepth; i++ {
			d = message([]id.UserID{"@mallory:b", "@bob:b", "@bob:b"}[i], "not so deep")
			d.PrevEvents, d.Depth = []id.EventID{below}, 6
			e, want := w.make(d), []room.Status{room.Rejected, room.SoftFailed, room.SoftFailed}[i]
			m = room.Load("a", store.snapshot())
			if v := step(t, m, store, room.Receive{Origin: "b", Events: []*event.Event{e}}).Verdicts[0]; v.Status != want {
				t.Errorf("version %s: event %d above one that is too deep: %+v", rules.Version, i, v)
			}
			below = e.ID()
		}
		slices.Sort(taken)
		result := step(t, m, store, room.Propose{Drafts: []event.Draft{message("@alice:a", "above")}, Key: testKey()})
		if e := result.Commit.Events[0].Event; e.Depth() != event.MaxSharedDepth || !slices.Equal(e.PrevEvents(), taken) {
			t.Errorf("version %s: depth %d above %v, want %v", rules.Version, e.Depth(), e.PrevEvents(), taken)
		}
	}
}

func TestTemplate(t *testing.T) {
	for _, v := range []roomversion.Version{roomversion.V1, roomversion.V10, roomversion.V12} {
		m, store := founded(t, v)
		w := others(t, store, v)
		d, _ := w.draft("@bob:b", "join", "")
		made, err := m.Template(start, d, testKey(), store)
		if err != nil || made.Refused {
			t.Fatalf("version %s: %v %+v", v, err, made)
		}
		join, err := made.Draft.Sign(rulesOf(t, v), "b", testKey())
		if err != nil {
			t.Fatal(err)
		}
		before := m.Current()
		result := step(t, m, store, room.Accept{Origin: "b", Event: join})
		if result.Verdicts[0].Status != room.Accepted || !result.Before.Equal(before) || len(result.Send) != 0 {
			t.Errorf("version %s: %+v", v, result.Verdicts)
		}
		again := step(t, m, store, room.Accept{Origin: "b", Event: join})
		if !again.Verdicts[0].Duplicate || !again.Before.Equal(before) || !again.Commit.Empty() {
			t.Errorf("version %s: the same again: %+v", v, again.Verdicts)
		}
		d, _ = w.draft("@eve:e", "knock", "")
		if made, err = m.Template(start, d, testKey(), store); err != nil || !made.Refused || made.Reason == "" {
			t.Errorf("version %s: a knock on a public room: %v %+v", v, err, made)
		}
	}
}

func TestStepFails(t *testing.T) {
	_, store := founded(t, roomversion.V10)
	m := room.Load("a", store.snapshot()) // nothing cached
	store.err = errors.New("disk on fire")
	if _, err := m.Step(start, room.Propose{Drafts: []event.Draft{message("@alice:a", "x")}, Key: testKey()}, store); !errors.Is(err, store.err) {
		t.Fatalf("got %v", err)
	}
	store.err = nil
	if _, err := m.Step(start, room.Resume{}, store); !errors.Is(err, room.ErrFailed) {
		t.Errorf("got %v", err)
	}
	if _, err := m.Template(start, message("@alice:a", "x"), testKey(), store); !errors.Is(err, room.ErrFailed) {
		t.Errorf("got %v", err)
	}
	m = room.Load("a", store.snapshot())
	if result := step(t, m, store, room.Propose{Drafts: []event.Draft{message("@alice:a", "x")}, Key: testKey()}); len(result.Commit.Events) != 1 {
		t.Errorf("%+v", result.Verdicts)
	}
}
