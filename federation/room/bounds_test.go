package room_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
	"hanse/testnet/wholestate"
)

// joined has users of other servers join a founded room.
func joined(t testing.TB, m *room.Machine, store *memory, w *world, users ...id.UserID) {
	t.Helper()
	for _, user := range users {
		d, _ := w.draft(user, "join", "")
		d.PrevEvents = m.Forward()
		e := w.make(d)
		if v := step(t, m, store, room.Accept{Origin: user.Server(), Event: e}).Verdicts[0]; v.Status != room.Accepted {
			t.Fatalf("%s can't join: %+v", user, v)
		}
	}
}

// hanging makes an event whose prev event nobody has ever seen.
func hanging(w *world, sender id.UserID, on id.EventID, n int) *event.Event {
	lost := message(sender, fmt.Sprint("lost ", n))
	lost.PrevEvents = []id.EventID{on}
	d := message(sender, fmt.Sprint("hanging ", n))
	d.PrevEvents = []id.EventID{w.make(lost).ID()}
	return w.make(d)
}

func TestWaitingIsBounded(t *testing.T) {
	m, store := founded(t, roomversion.V10)
	w := others(t, store, roomversion.V10)
	joined(t, m, store, w, "@bob:b", "@carol:c")
	on := m.Forward()[0]
	dropped, staged := 0, 0
	for i := range 600 {
		result := step(t, m, store, room.Receive{Origin: "b", Events: []*event.Event{hanging(w, "@bob:b", on, i)}})
		if result.Verdicts[0].Status == room.Dropped {
			dropped++
		}
		staged += len(result.Commit.Stage)
	}
	if dropped != 100 || m.Waiting() != 500 || staged != 500 || len(store.staged) != 500 {
		t.Errorf("%d dropped, %d waiting, %d staged", dropped, m.Waiting(), staged)
	}
	result := step(t, m, store, room.Receive{Origin: "c", Events: []*event.Event{hanging(w, "@carol:c", on, 1000)}})
	if result.Verdicts[0].Status != room.Waiting || len(result.Fetch) != 1 {
		t.Errorf("another server's event: %+v", result.Verdicts)
	}
	d := message("@bob:b", "fine")
	d.PrevEvents = []id.EventID{on}
	if result = step(t, m, store, room.Receive{Origin: "b", Events: []*event.Event{w.make(d)}}); result.Verdicts[0].Status != room.Accepted {
		t.Errorf("an event that needn't wait: %+v", result.Verdicts)
	}
	// All of it comes back after a restart, in the same bounds.
	m = room.Load("a", store.snapshot())
	step(t, m, store, room.Resume{})
	if m.Waiting() != 501 || len(store.staged) != 501 {
		t.Errorf("after a restart: %d waiting, %d staged", m.Waiting(), len(store.staged))
	}
}

// Events may be large: a server can't have us keep as many of these as of usual ones.
func TestWaitingIsBoundedInBytes(t *testing.T) {
	m, store := founded(t, roomversion.V10)
	w := others(t, store, roomversion.V10)
	joined(t, m, store, w, "@bob:b", "@carol:c")
	on := m.Forward()[0]
	large := func(sender id.UserID, n int) *event.Event {
		d := message(sender, strings.Repeat("x", 60_000))
		d.PrevEvents = hanging(w, sender, on, n).PrevEvents()
		return w.make(d)
	}
	for i := range 300 {
		step(t, m, store, room.Receive{Origin: "b", Events: []*event.Event{large("@bob:b", i)}})
	}
	if m.Waiting() < 100 || m.Waiting() > 150 || len(store.staged) != m.Waiting() {
		t.Errorf("%d events of 60 kB wait, %d are staged", m.Waiting(), len(store.staged))
	}
	if v := step(t, m, store, room.Receive{Origin: "c", Events: []*event.Event{large("@carol:c", 1000)}}).Verdicts[0]; v.Status != room.Waiting {
		t.Errorf("another server's event: %+v", v)
	}
}

// Nor by redacted copies, which weigh little, that whole ones follow. Who gives a whole copy first of what another server gave redacted isn't
// held to that one's bounds.
func TestWholeCopiesOfWaitingAreBounded(t *testing.T) {
	m, store := founded(t, roomversion.V10)
	w := others(t, store, roomversion.V10)
	joined(t, m, store, w, "@bob:b", "@carol:c")
	on := m.Forward()[0]
	above := func(sender id.UserID, n int) (lost, large *event.Event) {
		d := message(sender, fmt.Sprint("lost ", n))
		d.PrevEvents = []id.EventID{on}
		lost = w.make(d)
		d = message(sender, strings.Repeat("x", 60_000))
		d.PrevEvents = []id.EventID{lost.ID()}
		return lost, w.make(d)
	}
	receive := func(origin id.ServerName, e *event.Event) room.Status {
		return step(t, m, store, room.Receive{Origin: origin, Events: []*event.Event{e}}).Verdicts[0].Status
	}
	lost, carols := above("@carol:c", 1000)
	receive("b", carols.Redacted())
	for i := range 300 {
		_, large := above("@bob:b", i)
		receive("b", large.Redacted())
		receive("b", large)
	}
	if _, large := above("@bob:b", 300); receive("b", large) != room.Dropped {
		t.Errorf("%d events wait, and one more of 60 kB", m.Waiting())
	}
	if status := receive("c", carols); status != room.Waiting {
		t.Errorf("another server's whole copy: %v", status)
	}
	receive("c", lost)
	if e := store.events[carols.ID()]; e.Event == nil || e.Status != room.Accepted || !e.Event.ContentHashMatches() {
		t.Errorf("it became %+v", e)
	}
}

// A server that always has one more event below the last one, or a state that isn't one, is given up after a bounded number of requests,
// and what it made wait goes.
func TestFetchesAreBounded(t *testing.T) {
	m, store := founded(t, roomversion.V10)
	w := others(t, store, roomversion.V10)
	joined(t, m, store, w, "@bob:b")
	var chain []*event.Event
	at := m.Forward()[0]
	for i := range 400 {
		d := message("@bob:b", fmt.Sprint(i))
		d.PrevEvents = []id.EventID{at}
		chain = append(chain, w.make(d))
		at = chain[i].ID()
	}
	chain = chain[1:] // the lowest one it keeps to itself
	open := step(t, m, store, room.Receive{Origin: "b", Events: chain[len(chain)-1:]}).Fetch
	fetches, next := 0, len(chain)-2
	for len(open) > 0 {
		if len(open) > 1 {
			t.Fatalf("%d fetches at a time for one server", len(open))
		}
		in := room.Provide{Fetch: open[0], From: "b"}
		if open[0].Kind == room.FetchMissing {
			in.Events = chain[next : next+1]
			next--
		}
		open = step(t, m, store, in).Fetch
		fetches++
	}
	if fetches > 60 || m.Waiting() != 0 || len(store.staged) != 0 {
		t.Errorf("%d fetches; %d still wait, %d staged", fetches, m.Waiting(), len(store.staged))
	}
}

// What a server from outside the room brings of others is no forward extremity, however much of it there is.
func TestStraysAreBounded(t *testing.T) {
	m, store := founded(t, roomversion.V10)
	w := others(t, store, roomversion.V10)
	joined(t, m, store, w, "@bob:b", "@carol:c")
	late := message("@bob:b", "")
	late.PrevEvents = w.events[m.Forward()[0]].PrevEvents()
	forward := m.Forward()
	var events []*event.Event
	for i := range 1100 {
		late.OriginServerTS = int64(i)
		e := w.make(late)
		events = append(events, e)
		if v := step(t, m, store, room.Receive{Origin: "outside", Events: []*event.Event{e}}).Verdicts[0]; v.Status != room.Accepted {
			t.Fatalf("event %d: %+v", i, v)
		}
	}
	if !slices.Equal(m.Forward(), forward) {
		t.Errorf("%d forward extremities", len(m.Forward()))
	}
	step(t, m, store, room.Receive{Origin: "c", Events: events[:1]})
	if !slices.Contains(m.Forward(), events[0].ID()) {
		t.Error("a server of the room has sent it, and it is no forward extremity")
	}
}

// A late or foreign answer does nothing.
func TestStrayAnswers(t *testing.T) {
	m, store := founded(t, roomversion.V10)
	w := others(t, store, roomversion.V10)
	joined(t, m, store, w, "@bob:b")
	d := message("@bob:b", "x")
	d.PrevEvents = m.Forward()
	e := w.make(d)
	result := step(t, m, store, room.Provide{Fetch: room.Fetch{Ticket: 7, From: []id.ServerName{"b"}}, From: "b", Events: []*event.Event{e}})
	if !result.Commit.Empty() || len(result.Verdicts) != 0 {
		t.Errorf("%+v", result)
	}
	lost := hanging(w, "@bob:b", m.Forward()[0], 1)
	f := step(t, m, store, room.Receive{Origin: "b", Events: []*event.Event{lost}}).Fetch[0]
	other := newWorld(t, roomversion.V10)
	foreign, _ := other.draft("@bob:b", "create", "")
	foreign.OriginServerTS = 5
	create := other.make(foreign)
	result = step(t, m, store, room.Provide{Fetch: f, From: "b", Events: []*event.Event{create}})
	if len(result.Commit.Events) != 0 {
		t.Errorf("%+v", result.Commit)
	}
}

// A server may fork the room as often as it likes, and each branch costs every resolution of the state. What goes beyond the bound isn't
// merged, and takes nothing with it that others have set, even where it stands on that.
func TestForwardExtremitiesOfAServerAreBounded(t *testing.T) {
	const bound = 2000
	m, store := founded(t, roomversion.V10)
	w := others(t, store, roomversion.V10)
	joined(t, m, store, w, "@bob:b", "@carol:c")
	d, _ := w.draft("@alice:a", "power", `{"users":{"@alice:a":100,"@bob:b":50,"@carol:c":50}}`)
	d.PrevEvents = m.Forward()
	step(t, m, store, room.Receive{Origin: "a", Events: []*event.Event{w.make(d)}})
	base := m.Forward()[0]
	receive := func(events ...*event.Event) {
		for _, v := range step(t, m, store, room.Receive{Origin: events[0].Sender().Server(), Events: events}).Verdicts {
			if v.Status != room.Accepted {
				t.Fatalf("%+v", v)
			}
		}
	}
	depth := int64(100) // a server may say what it likes
	set := func(sender id.UserID, key string, on ...id.EventID) *event.Event {
		depth++
		e := w.make(event.Draft{Sender: sender, Type: "org.example.x", StateKey: &key, Content: []byte(`{}`), PrevEvents: on, Depth: depth})
		receive(e)
		return e
	}
	isSet := func(key string, want bool) {
		t.Helper()
		if _, ok := wholestate.Get(m.Current(), "org.example.x", key); ok != want {
			t.Errorf("%s is set: %v", key, ok)
		}
	}
	first := set("@carol:c", "carol", base)
	var bobs []*event.Event
	for i := range bound {
		d := message("@bob:b", fmt.Sprint(i))
		d.PrevEvents, d.Depth = []id.EventID{base}, 200
		bobs = append(bobs, w.make(d))
	}
	receive(bobs...)
	if n := len(m.Forward()); n != bound+1 {
		t.Fatalf("%d forward extremities", n)
	}
	over := set("@bob:b", "over", first.ID())
	beyond := set("@bob:b", "beyond", base)
	if n := len(m.Forward()); n != bound+1 {
		t.Errorf("%d forward extremities", n)
	}
	isSet("carol", true)
	isSet("over", true) // it took the place of another one
	isSet("beyond", false)
	set("@carol:c", "other", base)
	isSet("other", true)
	// Who brings branches together may have what was left out among them.
	set("@carol:c", "merged", beyond.ID(), over.ID())
	for _, key := range []string{"carol", "over", "beyond", "other", "merged"} {
		isSet(key, true)
	}
	if n := len(m.Forward()); n != bound+2 {
		t.Errorf("%d forward extremities", n)
	}
}
