package room_test

import (
	"fmt"
	"testing"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
	"hanse/testnet/wholestate"
)

// large is a room of server b with that many members, spread over 100 servers, and the answer to a join of @alice:a.
func large(t testing.TB, v roomversion.Version, members int) (*world, room.Adopt) {
	w := newWorld(t, v)
	at := []id.EventID{}
	add := func(user id.UserID, what, content string) {
		d, err := w.draft(user, what, content)
		if err != nil {
			t.Fatal(err)
		}
		d.PrevEvents = at
		at = []id.EventID{w.make(d).ID()}
	}
	add("@bob:b", "create", "")
	add("@bob:b", "join", "")
	if !w.rules.PrivilegedCreators {
		add("@bob:b", "power", `{"users":{"@bob:b":100}}`)
	}
	add("@bob:b", "rules public", "")
	for i := range members {
		add(id.UserID(fmt.Sprintf("@u%d:s%d", i, i%100)), "join", "")
	}
	d, _ := w.draft("@alice:a", "join", "")
	d.PrevEvents = at
	join := w.make(d)
	state := w.before[join.ID()]
	in := room.Adopt{Event: join, State: w.stateEvents(state)}
	for _, e := range in.State {
		at = append(at, e.ID())
	}
	in.AuthChain = w.authChain(append(at, join.ID()))
	return w, in
}

func TestAdoptLarge(t *testing.T) {
	w, in := large(t, roomversion.V10, 1000)
	m, store := room.New("a", w.rules), newMemory()
	result := step(t, m, store, in)
	if v := result.Verdicts; len(v) != 1 || v[0].Status != room.Accepted {
		t.Fatalf("%+v", v)
	}
	if m.Current().Len() != 1005 || len(m.Servers()) != 102 || m.Servers()[0] != "s0" || !m.Resident() {
		t.Errorf("%d events of state, servers %v", m.Current().Len(), m.Servers())
	}
	// A message reads a handful of events, whatever the size of the room.
	m = room.Load("a", store.snapshot())
	store.reads = 0
	result = step(t, m, store, room.Propose{Drafts: []event.Draft{message("@alice:a", "hello")}, Key: testKey()})
	if len(result.Send[0].Servers) != 101 || store.reads > 10 {
		t.Errorf("sent to %d servers, %d events read", len(result.Send[0].Servers), store.reads)
	}
}

// FuzzAdopt takes over hostile answers to send_join. Each pair of bytes is a thing done to the true answer.
func FuzzAdopt(f *testing.F) {
	f.Add(byte(10), []byte{})
	f.Add(byte(1), []byte{0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7})
	f.Add(byte(12), []byte{0, 0, 7, 1, 6, 2, 5, 3, 4, 4, 3, 5, 2, 6, 1, 7, 0, 8})
	f.Add(byte(9), []byte{1, 0, 1, 1, 1, 2, 1, 3, 1, 4})
	f.Fuzz(func(t *testing.T, version byte, deeds []byte) {
		rules := roomversion.All()[int(version)%len(roomversion.All())]
		w, in := large(t, rules.Version, 4)
		for i := 0; i+1 < len(deeds) && i < 40; i += 2 {
			tamper(w, &in, deeds[i], int(deeds[i+1]))
		}
		m, store := room.New("a", rules), newMemory()
		result, err := m.Step(start, in, store)
		if err != nil {
			t.Fatal(err)
		}
		last := result.Verdicts[len(result.Verdicts)-1]
		if last.EventID != in.Event.ID() {
			t.Fatalf("the last verdict isn't about our event: %+v", last)
		}
		if last.Status != room.Accepted {
			if !result.Commit.Empty() || last.Reason == "" || m.Resident() || len(m.Forward()) != 0 || m.RoomID() != "" {
				t.Fatalf("refused, but: %+v", result)
			}
			return
		}
		store.apply(result.Commit)
		checkRoom(t, m, store, in.Event)
	})
}

// tamper does something to an answer to send_join.
func tamper(w *world, in *room.Adopt, deed byte, at int) {
	drop := func(list []*event.Event) []*event.Event {
		if len(list) == 0 {
			return list
		}
		i := at % len(list)
		return append(list[:i:i], list[i+1:]...)
	}
	forge := func(sender id.UserID, what, content string) *event.Event {
		d, err := w.draft(sender, what, content)
		if err != nil {
			w.t.Fatal(err)
		}
		d.PrevEvents = []id.EventID{in.Event.ID()}
		return w.make(d)
	}
	switch deed % 9 {
	case 0:
		in.State = drop(in.State)
	case 1:
		in.AuthChain = drop(in.AuthChain)
	case 2: // twice
		in.State = append(in.State, in.State...)
	case 3: // no state
		in.State = append(in.State, forge("@bob:b", "message hello", ""))
	case 4: // against the rules
		in.State = append(in.State, forge("@eve:e", "power", `{"users":{"@eve:e":100}}`))
	case 5: // a second event with the same key
		in.State = append(in.State, forge("@bob:b", "rules invite", ""), forge("@bob:b", "ban @alice:a", ""))
	case 6: // another room
		other := newWorld(w.t, w.rules.Version)
		d, _ := other.draft("@eve:e", "create", "")
		d.OriginServerTS = int64(at)
		in.State = append(in.State, other.make(d))
	case 7: // a second create event
		d, _ := w.draft("@bob:b", "create", "")
		d.OriginServerTS = int64(at)
		keep := w.room
		in.AuthChain = append(in.AuthChain, w.make(d))
		w.room = keep
	case 8: // our join on other auth events
		d, _ := w.draft("@alice:a", "join", "")
		d.PrevEvents = in.Event.PrevEvents()
		d.AuthEvents = in.Event.AuthEvents()[:at%(len(in.Event.AuthEvents())+1)]
		in.Event = w.make(d)
	}
}

// checkRoom holds a machine and its store against what must be so after an Adopt.
func checkRoom(t *testing.T, m *room.Machine, store *memory, join *event.Event) {
	t.Helper()
	if at, _ := wholestate.Get(m.Current(), "m.room.member", "@alice:a"); at != join.ID() {
		t.Errorf("our membership is %s", at)
	}
	if _, ok := wholestate.Get(m.Current(), "m.room.create", ""); !ok || !m.Resident() || len(m.Forward()) != 1 {
		t.Errorf("no room")
	}
	for key, e := range wholestate.All(m.Current()) {
		stored, ok := store.events[e]
		if !ok || stored.Status != room.Accepted || stored.Event.RoomID() != m.RoomID() || !stored.Event.Is(key.Type, key.StateKey) {
			t.Errorf("the state has %s for %v: %+v", e, key, stored)
			continue
		}
		for _, a := range stored.Event.AuthEvents() {
			if auth, ok := store.events[a]; !ok || auth.Status != room.Accepted {
				t.Errorf("auth event %s of %s isn't accepted", a, e)
			}
		}
	}
}
