package store_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
	"hanse/node/store"
	"hanse/testnet/wholestate"
)

var _ = onEach("What is told of events", func(db *fixture) {
	came := func(how store.How, from id.ServerName) store.Arrival {
		return store.Arrival{How: how, From: from, At: time.UnixMilli(1_700_000_000_123)}
	}

	It("is how they came, over restarts, for staged ones too", func(ctx SpecContext) {
		a := must(create(db.Store, roomversion.V11))
		e := a.foreign(member(bob, "join", bob))
		_, _, err := a.step(room.Accept{Origin: there, Event: e}, store.CommitOptions{Arrivals: map[id.EventID]store.Arrival{e.ID(): came(store.Handshake, there)}})
		Expect(err).NotTo(HaveOccurred())
		waits := a.foreign(message(bob, "on what nobody has"), "$nobody")
		_, _, err = a.step(room.Receive{Origin: there, Events: []*event.Event{waits}}, store.CommitOptions{Arrivals: map[id.EventID]store.Arrival{waits.ID(): came(store.Transaction, there)}})
		Expect(err).NotTo(HaveOccurred())
		db.restart()
		Expect(must(db.Arrival(ctx, e.ID()))).To(Equal(came(store.Handshake, there)))
		Expect(must(db.Arrival(ctx, "$nobody"))).To(BeZero())
		staged, found, err := db.Staged(ctx, waits.ID())
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeTrue())
		Expect(staged.Event.JSON()).To(Equal(waits.JSON()))
		Expect(staged.RoomID).To(Equal(a.id()))
		Expect(staged.Arrival).To(Equal(came(store.Transaction, there)))
		Expect(must(db.StagedArrivals(ctx, a.id()))).To(Equal(map[id.EventID]store.Arrival{waits.ID(): came(store.Transaction, there)}))
		Expect(must(db.Undecided(ctx))).To(Equal(map[id.RoomID]int{a.id(): 1}))
		_, found, err = db.Staged(ctx, e.ID())
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeFalse())
	})

	It("is what took a state event's place, and when", func(ctx SpecContext) {
		a := must(create(db.Store, roomversion.V11))
		topic := func(text string) id.EventID {
			return must(a.propose(store.CommitOptions{}, state("m.room.topic", "", `{"topic":"`+text+`"}`, alice)))[0].ID()
		}
		var topics []id.EventID
		for _, text := range []string{"one", "two", "three"} {
			topics = append(topics, topic(text))
			for range 5 {
				must(a.propose(store.CommitOptions{}, state("m.room.name", "", `{"name":"`+text+`"}`, alice)))
			}
		}
		key := roomstate.Key{Type: "m.room.topic"}
		for i, e := range topics[:2] {
			row, _, err := db.Event(ctx, e)
			Expect(err).NotTo(HaveOccurred())
			_, after, found, err := db.Superseded(ctx, a.id(), row.Position, key, e)
			Expect(err).NotTo(HaveOccurred())
			Expect(found).To(BeTrue())
			next, _ := wholestate.Get(after, key.Type, "")
			Expect(next).To(Equal(topics[i+1]))
		}
		row, _, err := db.Event(ctx, topics[2])
		Expect(err).NotTo(HaveOccurred())
		_, _, found, err := db.Superseded(ctx, a.id(), row.Position, key, topics[2])
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeFalse())
	})

	It("is to whom they went, also when all have them", func(ctx SpecContext) {
		a := must(create(db.Store, roomversion.V11))
		Expect(a.receive(a.foreign(member(bob, "join", bob)))[0].Status).To(Equal(room.Accepted))
		sent := must(a.propose(store.CommitOptions{}, message(alice, "hello")))[0]
		shipments := must(db.Shipments(ctx, sent.ID()))
		Expect(shipments).To(HaveLen(1))
		Expect(shipments[0].Server).To(Equal(there))
		Expect(shipments[0].Done).To(BeFalse())
		Expect(must(db.Backlog(ctx, there)).PDUs).To(Equal(1))
		Expect(db.OldestOutbox()).To(BeNumerically(">", 0))
		// Enough that the log is cut.
		for range 300 {
			must(a.propose(store.CommitOptions{}, message(alice, "and more")))
		}
		for {
			batch := must(db.Next(ctx, there, 50, 50))
			if batch.Empty() {
				break
			}
			Expect(db.Done(ctx, there, batch)).To(Succeed())
		}
		again := must(db.Shipments(ctx, sent.ID()))
		Expect(again).To(HaveLen(1))
		Expect(again[0].Done).To(BeTrue())
		Expect(again[0].Position).To(Equal(shipments[0].Position))
		Expect(must(db.Backlog(ctx, there))).To(BeZero())
		Expect(db.OldestOutbox()).To(BeZero())
		Expect(must(db.Shipments(ctx, "$nobody"))).To(BeEmpty())
	})

	It("are the counts of their room, its gaps and its servers", func(ctx SpecContext) {
		a := must(create(db.Store, roomversion.V11))
		Expect(a.receive(a.foreign(member(bob, "join", bob)))[0].Status).To(Equal(room.Accepted))
		Expect(a.receive(a.foreign(state("m.room.name", "", `{"name":"mine"}`, bob)))[0].Status).To(Equal(room.Rejected))
		counts := must(db.CountRoom(ctx, a.id()))
		Expect(counts).To(Equal(store.RoomCounts{Events: 5, Rejected: 1}))
		Expect(must(db.CountRoom(ctx, "!nobody:x"))).To(BeZero())
		Expect(must(db.SharedServers(ctx, 10))).To(Equal(map[id.ServerName]int{there: 1}))
		Expect(must(db.RoomsWith(ctx, there))).To(Equal([]id.RoomID{a.id()}))
		Expect(must(db.RoomsWith(ctx, elsewhere))).To(BeEmpty())
		Expect(must(db.Gaps(ctx))).To(BeEmpty())
		Expect(must(db.Children(ctx, "$nobody", 5))).To(BeEmpty())
	})
})
