package room_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
)

// adopted is a room with that many members which we have joined.
func adopted(b *testing.B, members int) (*world, *room.Machine, *memory) {
	b.Helper()
	w, in := large(b, roomversion.V10, members)
	m, store := room.New("a", w.rules), newMemory()
	step(b, m, store, in)
	return w, m, store
}

// BenchmarkReceive is the step of one received message. The size of the room must not matter.
func BenchmarkReceive(b *testing.B) {
	for _, members := range []int{100, 10_000} {
		b.Run(fmt.Sprint(members, "members"), func(b *testing.B) {
			w, m, store := adopted(b, members)
			events := make([]*event.Event, 0, 1000)
			at := m.Forward()
			for i := range cap(events) {
				d := message("@u1:s1", fmt.Sprint("message ", i))
				d.PrevEvents = at
				e := w.make(d)
				events = append(events, e)
				at = []id.EventID{e.ID()}
			}
			snapshot := store.snapshot()
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if i == len(events) {
					b.StopTimer()
					for _, e := range events {
						store.forget(e)
					}
					m, i = room.Load("a", snapshot), 0
					b.StartTimer()
				}
				result, err := m.Step(start, room.Receive{Origin: "s1", Events: events[i : i+1]}, store)
				if err != nil || result.Verdicts[0].Status != room.Accepted {
					b.Fatal(err, result.Verdicts)
				}
				store.apply(result.Commit)
				i++
			}
		})
	}
}

// BenchmarkReceiveByManyPowers is BenchmarkReceive where hundreds of users have a power level of their own.
func BenchmarkReceiveByManyPowers(b *testing.B) {
	w, m, store := adopted(b, 1000)
	users := map[string]int{"@alice:a": 100}
	for i := range 500 {
		users[fmt.Sprintf("@u%d:s%d", i, i%10)] = 50
	}
	content, _ := json.Marshal(map[string]any{"users": users})
	d, _ := w.draft("@bob:b", "power", string(content))
	d.PrevEvents = m.Forward()
	e := w.make(d)
	if v := step(b, m, store, room.Receive{Origin: "b", Events: []*event.Event{e}}).Verdicts[0]; v.Status != room.Accepted {
		b.Fatal(v)
	}
	at := e.ID()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		d := message("@u1:s1", fmt.Sprint("message ", i))
		d.PrevEvents = []id.EventID{at}
		said := w.make(d)
		at = said.ID()
		b.StartTimer()
		step(b, m, store, room.Receive{Origin: "s1", Events: []*event.Event{said}})
	}
}

// BenchmarkPropose is the step of one own message, signature included.
func BenchmarkPropose(b *testing.B) {
	for _, members := range []int{100, 10_000} {
		b.Run(fmt.Sprint(members, "members"), func(b *testing.B) {
			_, m, store := adopted(b, members)
			draft := message("@alice:a", "hello")
			b.ReportAllocs()
			for b.Loop() {
				result, err := m.Step(start, room.Propose{Drafts: []event.Draft{draft}, Key: testKey()}, store)
				if err != nil || len(result.Commit.Events) != 1 {
					b.Fatal(err, result.Verdicts)
				}
				store.apply(result.Commit)
			}
		})
	}
}

// BenchmarkMerge is a topic set on two branches, and their merge by a third event.
func BenchmarkMerge(b *testing.B) {
	for _, members := range []int{100, 10_000} {
		b.Run(fmt.Sprint(members, "members"), func(b *testing.B) {
			w, m, store := adopted(b, members)
			at := m.Forward()
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				var events []*event.Event
				for range 2 {
					i++
					d, _ := w.draft("@bob:b", fmt.Sprint("topic t", i), "")
					d.PrevEvents = at
					events = append(events, w.make(d))
				}
				d := message("@bob:b", "merge")
				d.PrevEvents = []id.EventID{events[0].ID(), events[1].ID()}
				last := w.make(d)
				at = []id.EventID{last.ID()}
				b.StartTimer()
				result, err := m.Step(start, room.Receive{Origin: "b", Events: append(events, last)}, store)
				if err != nil || len(result.Commit.Forward) != 1 {
					b.Fatal(err, result.Verdicts)
				}
				store.apply(result.Commit)
			}
		})
	}
}

// BenchmarkAdopt is the answer to a join taken over, without the check of its signatures.
func BenchmarkAdopt(b *testing.B) {
	for _, members := range []int{100, 10_000} {
		b.Run(fmt.Sprint(members, "members"), func(b *testing.B) {
			w, in := large(b, roomversion.V10, members)
			b.ReportAllocs()
			for b.Loop() {
				result, err := room.New("a", w.rules).Step(start, in, newMemory())
				if err != nil || result.Commit.Current.Len() != members+5 {
					b.Fatal(err)
				}
			}
		})
	}
}
