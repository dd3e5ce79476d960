package room_test

import (
	"fmt"
	"testing"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
)

// FuzzProvide answers the fetches for an event over a gap as the input says: honestly, with parts, with something else. Whatever the
// answers are, the machine stops asking, nothing is left waiting, and the state holds accepted events of the room only.
func FuzzProvide(f *testing.F) {
	f.Add(byte(10), []byte{})
	f.Add(byte(12), []byte{0, 0, 0, 0, 0, 0})
	f.Add(byte(1), []byte{9, 2, 7, 3, 1, 4, 2, 5, 8, 6, 3, 7})
	f.Add(byte(6), []byte{1, 1, 4, 200, 4, 3, 5, 77, 6, 12})
	f.Fuzz(func(t *testing.T, version byte, answers []byte) {
		v := roomversion.All()[int(version)%len(roomversion.All())].Version
		m, store := founded(t, v)
		w := others(t, store, v)
		joined(t, m, store, w, "@bob:b", "@carol:c")
		at := m.Forward()
		var all []*event.Event
		for i, what := range []string{"nick Bob", "message one", "topic two", "nick Robert", "message three", "message four"} {
			d, _ := w.draft("@bob:b", what, "")
			d.PrevEvents = at
			all = append(all, w.make(d))
			at = []id.EventID{all[i].ID()}
		}
		open := step(t, m, store, room.Receive{Origin: "b", Events: all[len(all)-1:]}).Fetch
		for n := 0; len(open) > 0; n++ {
			if n > 100 {
				t.Fatal("it never stops asking")
			}
			in := room.Provide{Fetch: open[0], From: open[0].From[0]}
			open = open[1:]
			deed, part := byte(10), 0
			if len(answers) > 1 {
				deed, part, answers = answers[0], int(answers[1]), answers[2:]
			}
			lie(w, &in, all, deed, part)
			open = append(open, step(t, m, store, in).Fetch...)
		}
		if m.Waiting() != 0 || len(store.staged) != 0 {
			t.Fatalf("%d wait, %d staged", m.Waiting(), len(store.staged))
		}
		for key, e := range m.Current().All() {
			stored := store.events[e]
			if stored.Event == nil || stored.Status == room.Rejected || !stored.Event.Is(key.Type, key.StateKey) || stored.Event.RoomID() != m.RoomID() {
				t.Errorf("the state has %s for %v: %+v", e, key, stored)
			}
		}
	})
}

// lie answers a fetch.
func lie(w *world, in *room.Provide, all []*event.Event, deed byte, part int) {
	f := in.Fetch
	switch f.Kind {
	case room.FetchMissing:
		in.Events = w.between(f.Latest, f.Earliest, 20)
	case room.FetchAuth:
		in.Events = w.authChain([]id.EventID{f.At})
	case room.FetchState:
		if e := w.events[f.At]; e != nil {
			in.State = &room.StateAt{At: f.At}
			for _, s := range w.stateEvents(w.before[f.At]) {
				in.State.State = append(in.State.State, s.ID())
				in.Events = append(in.Events, s)
			}
			in.Events = append(append(in.Events, w.authChain(in.State.State)...), e)
		}
	}
	cut := func(n int) int { return part % (n + 1) }
	switch deed % 11 {
	case 0:
		in.Err = fmt.Errorf("no")
	case 1:
		in.Events = nil
	case 2:
		in.Events = in.Events[:cut(len(in.Events))]
	case 3:
		in.Events = in.Events[cut(len(in.Events)):]
	case 4:
		in.Events = all[cut(len(all)):]
	case 5:
		in.State = nil
	case 6:
		if in.State != nil {
			in.State.State = in.State.State[:cut(len(in.State.State))]
		}
	case 7:
		if in.State != nil {
			in.State.At = all[part%len(all)].ID()
		}
	case 8:
		if in.State != nil {
			in.State.State = append([]id.EventID{"$nothing", all[part%len(all)].ID()}, in.State.State...)
		}
	case 9: // somebody's event on what nobody has
		in.Events = append(in.Events, hanging(w, "@carol:c", all[part%len(all)].ID(), part))
	}
}
