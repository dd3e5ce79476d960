package store_test

import (
	"slices"

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

var _ = onEach("A room", func(db *fixture) {
	It("is as it was after a restart, in every room version", func(ctx SpecContext) {
		for _, rules := range roomversion.All() {
			a := must(create(db.Store, rules.Version))
			sent := must(a.propose(store.CommitOptions{}, message(alice, "one"), state("m.room.topic", "", `{"topic":"x"}`, alice)))
			before := must(db.CurrentState(ctx, a.id()))
			db.restart()

			info, found, err := db.Room(ctx, a.id())
			Expect(err).NotTo(HaveOccurred())
			Expect(found).To(BeTrue())
			Expect(info.Rules.Version).To(Equal(rules.Version))
			Expect(info.Forward).To(Equal([]id.EventID{sent[1].ID()}))
			Expect([]int{info.Joined, info.Local}).To(Equal([]int{1, 1}))
			Expect([]bool{info.Created, info.Resident, info.Public}).To(Equal([]bool{true, true, false}))

			snap, found, err := db.LoadRoom(ctx, a.id())
			Expect(err).NotTo(HaveOccurred())
			Expect(found).To(BeTrue())
			Expect(snap.Forward).To(Equal(info.Forward))
			Expect(snap.Depth).To(Equal(sent[1].Depth()))
			Expect(snap.Current.Equal(before)).To(BeTrue())
			Expect(snap.Current.Equal(a.machine.Current())).To(BeTrue())
			Expect(snap.Servers).To(Equal(map[id.ServerName]int{self: 1}))

			for _, e := range sent {
				row, found, err := db.Event(ctx, e.ID())
				Expect(err).NotTo(HaveOccurred())
				Expect(found).To(BeTrue())
				Expect(row.Event.JSON()).To(Equal(e.JSON()))
				Expect(row.RoomID).To(Equal(a.id()))
				Expect(row.Status).To(Equal(room.Accepted))
			}
			after, found, err := db.StateAfter(ctx, sent[1].ID())
			Expect(err).NotTo(HaveOccurred())
			Expect(found).To(BeTrue())
			Expect(after.Equal(before)).To(BeTrue())
			topic, _ := wholestate.Get(after, "m.room.topic", "")
			Expect(topic).To(Equal(sent[1].ID()))
			earlier, _, err := db.StateBefore(ctx, sent[1].ID())
			Expect(err).NotTo(HaveOccurred())
			_, has := wholestate.Get(earlier, "m.room.topic", "")
			Expect(has).To(BeFalse())
			again := must(load(db.Store, a.id()))
			Expect(again.propose(store.CommitOptions{}, message(alice, "two"))).To(HaveLen(1))
		}
		Expect(must(db.Rooms(ctx, "", 100))).To(HaveLen(len(roomversion.All())))
	})

	It("is unknown until it is known", func(ctx SpecContext) {
		_, found, err := db.Room(ctx, "!no:where")
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeFalse())
		_, found, err = db.LoadRoom(ctx, "!no:where")
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeFalse())
		rows, more, err := db.Timeline(ctx, "!no:where", 0, 100, 10, true)
		Expect(rows).To(BeEmpty())
		Expect(more).To(BeFalse())
		Expect(err).NotTo(HaveOccurred())
	})

	It("has a timeline in commit order, limited at either end", func(ctx SpecContext) {
		a := must(create(db.Store, roomversion.V12))
		since := db.Position()
		var sent []id.EventID
		for i := range 10 {
			sent = append(sent, must(a.propose(store.CommitOptions{}, message(alice, string(rune('a'+i)))))[0].ID())
		}
		now := db.Position()
		rows, more, err := db.Timeline(ctx, a.id(), since, now, 20, false)
		Expect(err).NotTo(HaveOccurred())
		Expect(more).To(BeFalse())
		Expect(ids(rows)).To(Equal(sent))
		rows, more, err = db.Timeline(ctx, a.id(), since, now, 3, true)
		Expect(err).NotTo(HaveOccurred())
		Expect(more).To(BeTrue())
		slices.Reverse(rows)
		Expect(ids(rows)).To(Equal(sent[7:]))
		rows, _, err = db.Timeline(ctx, a.id(), rows[0].Position, now, 20, false)
		Expect(err).NotTo(HaveOccurred())
		Expect(ids(rows)).To(Equal(sent[8:]))
	})

	It("pages in order of depth, to the very ends", func(ctx SpecContext) {
		a := must(create(db.Store, roomversion.V10))
		for range 20 {
			must(a.propose(store.CommitOptions{}, message(alice, "x")))
		}
		all, _, err := db.Timeline(ctx, a.id(), 0, db.Position(), 100, false)
		Expect(err).NotTo(HaveOccurred())
		var got []id.EventID
		for at := store.Beginning(); ; {
			rows, next, err := db.Page(ctx, a.id(), at, store.Forward, 7, store.Topological{})
			Expect(err).NotTo(HaveOccurred())
			if len(rows) == 0 {
				Expect(next).To(Equal(at))
				break
			}
			got, at = append(got, ids(rows)...), next
		}
		Expect(got).To(Equal(ids(all)))
		rows, _, err := db.Page(ctx, a.id(), store.End(), store.Backward, 5, all[20].Topological())
		Expect(err).NotTo(HaveOccurred())
		Expect(ids(rows)).To(Equal([]id.EventID{all[22].Event.ID(), all[21].Event.ID(), all[20].Event.ID()}))
	})

	It("remembers what its current state was", func(ctx SpecContext) {
		a := must(create(db.Store, roomversion.V11))
		type moment struct {
			at    store.Position
			state roomstate.Map
		}
		var moments []moment
		for _, topic := range []string{"a", "b", "c"} {
			must(a.propose(store.CommitOptions{}, state("m.room.topic", "", `{"topic":"`+topic+`"}`, alice)))
			must(a.propose(store.CommitOptions{}, message(alice, "x")))
			moments = append(moments, moment{db.Position(), a.machine.Current()})
		}
		db.restart()
		for _, m := range moments {
			Expect(must(db.CurrentStateAt(ctx, a.id(), m.at)).Equal(m.state)).To(BeTrue())
		}
		Expect(must(db.CurrentStateAt(ctx, a.id(), 0)).Len()).To(BeZero())
		events := must(db.StateEvents(ctx, moments[0].state, roomstate.Key{Type: "m.room.topic"}, roomstate.Key{Type: "none"}))
		Expect(events).To(HaveLen(1))
		Expect(string(events[0].Content())).To(Equal(`{"topic":"a"}`))
		Expect(must(db.StateEvents(ctx, moments[0].state))).To(HaveLen(moments[0].state.Len()))
	})

	It("keeps what waits for other events over a restart", func(ctx SpecContext) {
		a := must(create(db.Store, roomversion.V10))
		joined := a.foreign(member(bob, "join", bob))
		Expect(a.receive(joined)[0].Status).To(Equal(room.Accepted))
		missing := a.foreign(message(bob, "not sent"))
		waiting := a.foreign(message(bob, "waits"), missing.ID())
		Expect(a.receive(waiting)[0].Status).To(Equal(room.Waiting))
		db.restart()
		Expect(must(db.RoomsWithStaged(ctx))).To(Equal([]id.RoomID{a.id()}))
		snap, _, err := db.LoadRoom(ctx, a.id())
		Expect(err).NotTo(HaveOccurred())
		Expect(snap.Staged).To(HaveLen(1))
		Expect(snap.Staged[0].JSON()).To(Equal(waiting.JSON()))
		Expect(must(db.Known(ctx, []id.EventID{waiting.ID(), joined.ID()}))).To(Equal(map[id.EventID]bool{joined.ID(): true}))

		again := must(load(db.Store, a.id()))
		verdicts := again.receive(missing)
		Expect(verdicts).To(ContainElement(HaveField("EventID", waiting.ID())))
		snap, _, err = db.LoadRoom(ctx, a.id())
		Expect(err).NotTo(HaveOccurred())
		Expect(snap.Staged).To(BeEmpty())
		Expect(snap.Forward).To(Equal([]id.EventID{waiting.ID()}))
	})
})

var _ = onEach("History", func(db *fixture) {
	// chain makes a room with a chain of bob's messages of which we get only the last: a gap.
	chain := func(n int) (*actor, []*event.Event) {
		GinkgoHelper()
		a := must(create(db.Store, roomversion.V10))
		Expect(a.receive(a.foreign(member(bob, "join", bob)))[0].Status).To(Equal(room.Accepted))
		var events []*event.Event
		draft := must(a.draft(message(bob, "x")))
		for range n {
			e := must(draft.Sign(a.rules, bob.Server(), testKey()))
			events = append(events, e)
			draft.PrevEvents, draft.Depth, draft.OriginServerTS = []id.EventID{e.ID()}, e.Depth()+1, e.OriginServerTS()+1
		}
		return a, events
	}

	// committed makes the commit that stores an event on top of the current state.
	committed := func(a *actor, e *event.Event, gap, backfilled bool) room.Commit {
		c := commitOf(a, e)
		c.Events[0].Gap, c.Events[0].Backfilled = gap, backfilled
		return c
	}

	It("has gaps until they are filled, and fills come before all else", func(ctx SpecContext) {
		a, events := chain(3)
		src := db.Source(ctx, a.rules)
		must(db.Commit(ctx, committed(a, events[2], true, false), store.CommitOptions{}))
		live := db.Position()
		Expect(must(db.BackwardExtremities(ctx, a.id(), 10))).To(Equal([]store.Gap{
			{Missing: events[1].ID(), Child: events[2].ID(), Depth: events[2].Depth()},
		}))
		Expect(must(src.Referenced([]id.EventID{events[0].ID(), events[1].ID()}))).To(Equal(map[id.EventID]bool{events[1].ID(): true}))

		must(db.Commit(ctx, committed(a, events[1], true, true), store.CommitOptions{}))
		Expect(must(db.BackwardExtremities(ctx, a.id(), 10))).To(HaveLen(1))
		must(db.Commit(ctx, committed(a, events[0], false, true), store.CommitOptions{}))
		Expect(must(db.BackwardExtremities(ctx, a.id(), 10))).To(BeEmpty())

		rows := must(db.Events(ctx, eventIDs(events)))
		Expect(rows[events[1].ID()].Position).To(BeNumerically("<", 0))
		Expect(rows[events[0].ID()].Position).To(BeNumerically("<", rows[events[1].ID()].Position))
		newer, _, err := db.Timeline(ctx, a.id(), live, db.Position(), 10, false)
		Expect(err).NotTo(HaveOccurred())
		Expect(newer).To(BeEmpty(), "history is nothing new")
		page, _, err := db.Page(ctx, a.id(), store.End(), store.Backward, 3, store.Topological{})
		Expect(err).NotTo(HaveOccurred())
		Expect(ids(page)).To(Equal([]id.EventID{events[2].ID(), events[1].ID(), events[0].ID()}))
	})

	It("has gaps below what is refused where an accepted event stands on it", func(ctx SpecContext) {
		a, events := chain(4)
		refused := committed(a, events[2], true, false)
		refused.Events[0].Status, refused.Events[0].Deep, refused.Events[0].Given = room.SoftFailed, true, true
		must(db.Commit(ctx, refused, store.CommitOptions{}))
		Expect(must(db.BackwardExtremities(ctx, a.id(), 10))).To(BeEmpty())

		above := committed(a, events[3], false, false)
		above.Lacking = []room.Lack{{Event: events[1].ID(), Child: events[2].ID(), Depth: events[2].Depth()}}
		must(db.Commit(ctx, above, store.CommitOptions{}))
		db.restart()
		src := db.Source(ctx, a.rules)
		stored := must(src.Events(eventIDs(events[2:3])))[events[2].ID()]
		Expect([]bool{stored.Deep, stored.Given}).To(Equal([]bool{true, true}))
		Expect(must(db.BackwardExtremities(ctx, a.id(), 10))).To(Equal([]store.Gap{
			{Missing: events[1].ID(), Child: events[2].ID(), Depth: events[2].Depth()},
		}))
		Expect(must(src.Referenced(eventIDs(events[:2])))).To(Equal(map[id.EventID]bool{events[1].ID(): true}))
		must(db.Commit(ctx, committed(a, events[1], false, false), store.CommitOptions{}))
		Expect(must(db.BackwardExtremities(ctx, a.id(), 10))).To(BeEmpty())

		both := commitOf(a, events[0])
		both.Lacking = []room.Lack{{Event: events[0].ID(), Child: events[2].ID(), Depth: events[2].Depth()}}
		must(db.Commit(ctx, both, store.CommitOptions{}))
		Expect(must(db.BackwardExtremities(ctx, a.id(), 10))).To(BeEmpty(), "it came with the same commit")
	})

	It("is walked for backfill and for missing events", func(ctx SpecContext) {
		a, events := chain(6)
		for _, e := range events {
			must(db.Commit(ctx, committed(a, e, false, false), store.CommitOptions{}))
		}
		all := eventIDs(events)
		back := must(db.History(ctx, a.id(), all[5:], 3))
		Expect(ids(back)).To(Equal([]id.EventID{all[5], all[4], all[3]}))
		Expect(ids(must(db.MissingEvents(ctx, a.id(), all[5:], all[:2], 0, 10)))).To(Equal(all[2:5]))
		Expect(ids(must(db.MissingEvents(ctx, a.id(), all[5:], all[:2], 0, 2)))).To(Equal(all[3:5]))
		Expect(ids(must(db.MissingEvents(ctx, a.id(), all[5:], nil, events[3].Depth(), 10)))).To(Equal(all[3:5]))
		Expect(must(db.MissingEvents(ctx, "!other:x", all[5:], nil, 0, 10))).To(BeEmpty())
	})

	It("lets an outlier get its place, and keep it", func(ctx SpecContext) {
		a, events := chain(2)
		outlier := committed(a, events[0], false, false)
		outlier.Events[0] = room.Committed{Event: events[0], Outlier: true}
		must(db.Commit(ctx, outlier, store.CommitOptions{}))
		row, _, err := db.Event(ctx, events[0].ID())
		Expect(err).NotTo(HaveOccurred())
		Expect(row.Outlier).To(BeTrue())
		_, found, err := db.StateAfter(ctx, events[0].ID())
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeFalse())

		must(db.Commit(ctx, committed(a, events[0], false, false), store.CommitOptions{}))
		placed, _, err := db.Event(ctx, events[0].ID())
		Expect(err).NotTo(HaveOccurred())
		Expect(placed.Outlier).To(BeFalse())
		Expect(placed.Position).To(BeNumerically(">", 0))
		must(db.Commit(ctx, outlier, store.CommitOptions{}))
		db.restart()
		again, _, err := db.Event(ctx, events[0].ID())
		Expect(err).NotTo(HaveOccurred())
		Expect(again.Position).To(Equal(placed.Position))
	})

	It("keeps why an event was not accepted, and hides it", func(ctx SpecContext) {
		a, _ := chain(0)
		refused := a.foreign(state("m.room.topic", "", `{"topic":"no"}`, bob))
		Expect(a.receive(refused)[0].Status).To(Equal(room.Rejected))
		db.restart()
		row, _, err := db.Event(ctx, refused.ID())
		Expect(err).NotTo(HaveOccurred())
		Expect(row.Status).To(Equal(room.Rejected))
		Expect(row.Rejection.Rule).NotTo(BeEmpty())
		rows, _, err := db.Timeline(ctx, a.id(), 0, db.Position(), 100, false)
		Expect(err).NotTo(HaveOccurred())
		Expect(ids(rows)).NotTo(ContainElement(refused.ID()))
	})

	It("redacts what is served and keeps what was received", func(ctx SpecContext) {
		a, _ := chain(0)
		target := must(a.propose(store.CommitOptions{}, message(alice, "secret")))[0]
		redaction := event.Draft{Type: "m.room.redaction", Sender: alice, Redacts: target.ID(), Content: []byte("{}")}
		by := must(a.propose(store.CommitOptions{}, redaction))[0]
		Expect(must(db.PendingRedactions(ctx, target.ID()))).To(Equal([]id.EventID{by.ID()}))
		Expect(db.ApplyRedactions(ctx, []store.Redaction{{Target: target.ID(), By: by.ID()}, {Target: "$unknown", By: by.ID()}})).To(Succeed())
		for range 2 {
			row, _, err := db.Event(ctx, target.ID())
			Expect(err).NotTo(HaveOccurred())
			Expect(row.RedactedBy).To(Equal(by.ID()))
			Expect(string(row.Event.Content())).To(Equal("{}"))
			Expect(row.Event.ID()).To(Equal(target.ID()))
			original := must(db.Source(ctx, a.rules).Events([]id.EventID{target.ID()}))
			Expect(original[target.ID()].Event.JSON()).To(Equal(target.JSON()))
			db.restart()
		}
	})
})
