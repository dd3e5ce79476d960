package room_test

import (
	"testing"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
)

// A state that came in parts is not read again when it is complete, unless what was known of it in memory is gone.
func TestStateInPartsIsNotReadAgain(t *testing.T) {
	w, whole := large(t, roomversion.V10, 1000)
	join := whole.Event
	before := w.before[join.ID()]
	few := w.without(before, "@alice:a")
	same := func(m *room.Machine, _ *memory) *room.Machine { return m }
	for name, between := range map[string]func(m *room.Machine, store *memory) *room.Machine{
		"":       same,
		"given":  same, // otherwise than in parts: memory has a bound for those alone that are being got
		"forgot": func(m *room.Machine, _ *memory) *room.Machine { m.Forget(); return m },
		"loaded": func(_ *room.Machine, store *memory) *room.Machine { return room.Load("a", store.snapshot()) },
	} {
		m, store := room.New("a", w.rules), newMemory()
		chain, events := w.wholeState(few, join.ID()), w.wholeState(before, join.ID())
		if name == "given" {
			chain, events = events, nil
		}
		step(t, m, store, room.Adopt{Event: join, State: w.stateEvents(few), AuthChain: chain, Partial: true, Servers: []id.ServerName{"b"}})
		for len(events) > 0 {
			n := min(300, len(events))
			step(t, m, store, room.Outliers{Events: append([]*event.Event(nil), events[:n]...)})
			events = events[n:]
		}
		m = between(m, store)
		store.reads = 0
		result := step(t, m, store, room.Complete{Join: join.ID(), States: [][]id.EventID{stateIDs(before)}, Strict: true})
		if v, _ := result.Verdict(join.ID()); v.Status != room.Accepted || !result.Commit.Whole {
			t.Fatalf("%s: %+v", name, v)
		}
		if read := store.reads > 30; read != (name != "") {
			t.Errorf("%s: %d events read", name, store.reads)
		}
		if !m.Current().Equal(w.after[join.ID()]) || len(m.Servers()) != 102 || len(result.Commit.Members) < 1000 {
			t.Errorf("%s: %d events of state, %d servers, %d members told", name, m.Current().Len(), len(m.Servers()), len(result.Commit.Members))
		}
	}
}
