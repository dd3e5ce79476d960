package store_test

import (
	"context"
	"fmt"
	"testing"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
	"hanse/node/store"
	"hanse/testnet/wholestate"
)

// BenchmarkCitedBy measures the first answers to who cites the power levels, which all members of a room cite: it must not
// grow with the room.
func BenchmarkCitedBy(b *testing.B) {
	for _, members := range []int{1000, 20_000} {
		b.Run(fmt.Sprintf("%d members", members), func(b *testing.B) {
			s, stop := openBench(b, durable(b, databases()[0]))
			defer stop()
			a, cited := cite(b, s, members, 1)
			source := s.Source(context.Background(), a.rules).(room.Citer)
			for b.Loop() {
				for _, err := range source.CitedBy(cited) {
					if err != nil {
						b.Fatal(err)
					}
					break
				}
			}
		})
	}
}

// BenchmarkCommitState measures commits of state events that cite nothing and three others: what the index costs.
func BenchmarkCommitState(b *testing.B) {
	for _, cites := range []int{0, 3} {
		b.Run(fmt.Sprintf("%d auth events", cites), func(b *testing.B) {
			s, stop := openBench(b, durable(b, databases()[0]))
			defer stop()
			b.ResetTimer()
			cite(b, s, b.N, cites)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// cite stores state events that cite one, 50 a commit.
func cite(b *testing.B, s *store.Store, events, cites int) (*actor, id.EventID) {
	b.Helper()
	a, err := create(s, roomversion.V10)
	if err != nil {
		b.Fatal(err)
	}
	cited, _ := wholestate.Get(a.machine.Current(), "m.room.join_rules", "")
	joined, _ := wholestate.Get(a.machine.Current(), "m.room.member", string(alice))
	draft := member("@m:there.example", "join", "@m:there.example")
	draft.RoomID, draft.PrevEvents, draft.Depth = a.id(), a.machine.Forward(), 5
	draft.AuthEvents = []id.EventID{cited, joined, "$c"}[:cites]
	signed := make([]*event.Event, events)
	b.StopTimer()
	for i := range signed {
		draft.OriginServerTS = int64(i)
		if signed[i], err = draft.Sign(a.rules, "there.example", testKey()); err != nil {
			b.Fatal(err)
		}
	}
	b.StartTimer()
	for len(signed) > 0 {
		part := signed[:min(50, len(signed))]
		signed = signed[len(part):]
		c := commitOf(a, part[0])
		for _, e := range part[1:] {
			c.Events = append(c.Events, commitOf(a, e).Events...)
		}
		if _, err := s.Commit(context.Background(), c, store.CommitOptions{}); err != nil {
			b.Fatal(err)
		}
	}
	return a, cited
}
