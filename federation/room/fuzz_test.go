package room_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
	"hanse/federation/stateres"
	"hanse/testnet/wholestate"
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
		for key, e := range wholestate.All(m.Current()) {
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

// FuzzGraph has a server join a room, with its members or without, and then be given whatever the input says: events on any part of the graph, with
// any auth events, by whatever way; true answers and others; restarts and the whole state in between. Whatever comes, the machine doesn't fail,
// nothing waits in the end, its state is that of its forward extremities, and only accepted events are in it.
func FuzzGraph(f *testing.F) {
	f.Add(byte(0), []byte{})
	r := rand.New(rand.NewPCG(1, 0))
	for version := range byte(len(roomversion.All())) {
		deeds := make([]byte, 600)
		for i := range deeds {
			deeds[i] = byte(r.Uint32())
		}
		f.Add(version, deeds)
	}
	f.Fuzz(func(t *testing.T, version byte, deeds []byte) {
		v := roomversion.All()[int(version)%len(roomversion.All())].Version
		chance := rand.New(&chosen{deeds: deeds})
		l, join, ok := lived(t, v, chance)
		if !ok {
			return
		}
		s := &siege{t: t, life: l, join: join, m: room.New("a", l.w.rules), store: newMemory()}
		s.adopt(chance.IntN(3) > 0)
		for range min(4+len(deeds)/15, 40) {
			s.next()
		}
		for len(s.open) > 0 {
			s.answer()
		}
		s.check()
	})
}

// chosen are numbers that the input chooses, a byte each, and when it has ended others.
type chosen struct {
	deeds []byte
	after rand.PCG
}

func (c *chosen) Uint64() uint64 {
	if len(c.deeds) == 0 {
		return c.after.Uint64()
	}
	next := c.deeds[0]
	c.deeds = c.deeds[1:]
	return uint64(next) * 0x0101010101010101
}

// siege is a machine that others do their worst to.
type siege struct {
	*life
	t     *testing.T
	m     *room.Machine
	store *memory
	join  *event.Event
	open  []room.Fetch
	all   []*event.Event // that were made since the join
	asked int
}

func (s *siege) step(in room.Input) {
	s.t.Helper()
	s.open = append(s.open, step(s.t, s.m, s.store, in).Fetch...)
}

func (s *siege) adopt(partial bool) {
	state := s.w.before[s.join.ID()]
	in := room.Adopt{Event: s.join, Partial: partial}
	if partial {
		state, in.Servers = s.w.without(state, "@alice:a"), []id.ServerName{"b", "s0", "s1", "s2"}
	}
	in.State, in.AuthChain = s.w.stateEvents(state), s.w.wholeState(state, s.join.ID())
	s.step(in)
}

// some are a few events of the room, old ones and new ones.
func (s *siege) some() (list []*event.Event) {
	known := s.w.wholeState(s.w.after[s.join.ID()], s.join.ID())
	known = append(known, s.all...)
	for range 1 + s.rand.IntN(5) {
		list = append(list, known[len(known)-1-s.rand.IntN(len(known))])
	}
	return list
}

// made is an event as an honest server, or another one, would make it.
func (s *siege) made() *event.Event {
	e := s.life.next()
	if s.rand.IntN(3) == 0 {
		d := event.Draft{Type: e.Type(), Sender: e.Sender(), Content: e.Content(), PrevEvents: e.PrevEvents(), AuthEvents: e.AuthEvents()}
		if key, ok := e.StateKey(); ok {
			d.StateKey = &key
		}
		for _, other := range s.some() {
			if s.rand.IntN(2) == 0 {
				d.AuthEvents = append(slices.Clone(d.AuthEvents), other.ID())
			} else {
				d.PrevEvents = append(slices.Clone(d.PrevEvents), other.ID())
			}
		}
		slices.Sort(d.PrevEvents)
		d.PrevEvents, d.Depth = slices.Compact(d.PrevEvents), []int64{0, 1, 7, 1 << 40}[s.rand.IntN(4)]
		e = s.w.make(d)
	}
	s.all = append(s.all, e)
	return e
}

// next is what happens next.
func (s *siege) next() {
	origin := []id.ServerName{"b", "s0", "s1", "s2", "outside"}[s.rand.IntN(5)]
	switch s.rand.IntN(12) {
	default:
		s.step(room.Receive{Origin: origin, Events: []*event.Event{s.made()}})
	case 0:
		for range s.rand.IntN(4) {
			s.made() // and nobody says so
		}
		s.step(room.Receive{Origin: origin, Events: append(s.some(), s.made())})
	case 1:
		s.step(room.Outliers{Events: s.some()})
	case 2:
		s.step(room.Backfill{Origin: origin, Events: s.some()})
	case 3:
		s.step(room.Accept{Origin: origin, Event: s.made()})
	case 4:
		s.step(room.Propose{Drafts: []event.Draft{message("@alice:a", "hello")}, Key: testKey()})
	case 5:
		s.m, s.open = room.Load("a", s.store.snapshot()), nil
		s.step(room.Resume{})
	case 6:
		s.complete()
	case 7, 8:
		if len(s.open) > 0 {
			s.answer()
		}
	}
}

// complete gives the whole state, or something else.
func (s *siege) complete() {
	state := s.w.before[s.join.ID()]
	in := room.Complete{Join: s.join.ID(), Strict: s.rand.IntN(2) == 0, Events: s.w.wholeState(state, s.join.ID()), States: [][]id.EventID{stateIDs(state)}}
	if s.rand.IntN(4) == 0 {
		for _, e := range s.some() {
			in.Events, in.States[0] = append(in.Events, e), append(in.States[0], e.ID())
		}
	}
	s.step(in)
}

// answer answers one of what is asked, truly or not.
func (s *siege) answer() {
	if s.asked++; s.asked > 2000 {
		s.t.Fatal("it never stops asking")
	}
	at := s.rand.IntN(len(s.open))
	in := room.Provide{Fetch: s.open[at], From: s.open[at].From[0]}
	s.open = slices.Delete(s.open, at, at+1)
	deed, all := byte(10), s.all
	if s.rand.IntN(2) == 0 && len(all) > 0 {
		deed = byte(s.rand.IntN(9)) // 9 makes events for ever
	}
	lie(s.w, &in, all, deed, s.rand.IntN(256))
	s.step(in)
}

func (s *siege) check() {
	t, m := s.t, s.m
	if m.Waiting() != 0 || len(s.store.staged) != 0 {
		t.Fatalf("%d wait, %d staged", m.Waiting(), len(s.store.staged))
	}
	var states []roomstate.Map
	for _, e := range m.Forward() {
		if stored := s.store.events[e]; stored.Status != room.Accepted || stored.Outlier {
			t.Errorf("the forward extremity %s: %+v", e, stored)
		}
		states = append(states, s.store.after[e])
	}
	current, err := stateres.Resolve(s.w.rules, states, resolving{s.store})
	if err != nil || !current.Equal(m.Current()) {
		t.Errorf("the state isn't that of the forward extremities (%v)", err)
	}
	for key, e := range wholestate.All(m.Current()) {
		stored := s.store.events[e]
		if stored.Event == nil || stored.Status == room.Rejected || !stored.Event.Is(key.Type, key.StateKey) || stored.Event.RoomID() != m.RoomID() {
			t.Errorf("the state has %s for %v: %+v", e, key, stored)
		}
	}
}

// resolving is a store as state resolution reads it.
type resolving struct{ *memory }

func (r resolving) Events(ids []id.EventID) (map[id.EventID]*event.Event, error) {
	found := make(map[id.EventID]*event.Event)
	for _, e := range ids {
		if stored, ok := r.events[e]; ok {
			found[e] = stored.Event
		}
	}
	return found, nil
}

func (r resolving) Rejected(e id.EventID) bool { return r.events[e].Status == room.Rejected }
