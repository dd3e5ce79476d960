package store_test

import (
	"context"
	"encoding/json"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
	"hanse/node/store"
)

var _ = onEach("What application services are told", func(db *fixture) {
	// live are the IDs of all live events after a position, read some at a time.
	live := func(ctx context.Context, after store.Position, some int) (ids []id.EventID) {
		GinkgoHelper()
		for upto := db.Position(); after < upto; {
			events, reached, err := db.LiveEvents(ctx, after, upto, some)
			Expect(err).NotTo(HaveOccurred())
			for _, e := range events {
				Expect(e.Position).To(BeNumerically(">", after))
				Expect(e.Position).To(BeNumerically("<=", reached))
				after = e.Position
				ids = append(ids, e.Event.ID())
			}
			after = reached
		}
		return ids
	}

	It("is what came, of all rooms, in order", func(ctx SpecContext) {
		a, b := must(create(db.Store, roomversion.V10)), must(create(db.Store, roomversion.V10))
		from := db.Position()
		var sent []id.EventID
		for i := range 6 {
			to := a
			if i%2 == 1 {
				to = b
			}
			sent = append(sent, must(to.propose(store.CommitOptions{}, message(alice, "x")))[0].ID())
		}
		// An event that was known before it got its place, and one that is refused.
		known := a.foreign(message(alice, "known"))
		must(db.Commit(ctx, room.Commit{
			RoomID: a.id(), Rules: a.rules, Current: a.machine.Current(), Forward: a.machine.Forward(), Resident: true,
			Events: []room.Committed{{Event: known, Outlier: true}},
		}, store.CommitOptions{}))
		sent = append(sent, must(b.propose(store.CommitOptions{}, message(alice, "between")))[0].ID())
		Expect(a.receive(a.foreign(state("m.room.topic", "", `{"topic":"no"}`, bob)))[0].Status).To(Equal(room.Rejected))
		Expect(a.receive(known)[0].Status).To(Equal(room.Accepted))
		sent = append(sent, known.ID(), must(b.propose(store.CommitOptions{}, message(alice, "last")))[0].ID())

		for _, some := range []int{1, 2, 100} {
			Expect(live(ctx, from, some)).To(Equal(sent))
		}
		Expect(must(db.CountLiveEvents(ctx, from, 100))).To(Equal(len(sent) - 1))
		Expect(must(db.CountLiveEvents(ctx, from, 3))).To(Equal(3))
		db.restart() // what was in memory is in the tables
		for _, some := range []int{1, 2, 100} {
			Expect(live(ctx, from, some)).To(Equal(sent))
		}
	})

	It("is also what comes after events that are refused where they got their places", func(ctx SpecContext) {
		a := must(create(db.Store, roomversion.V10))
		from := db.Position()
		known := []*event.Event{
			a.foreign(state("m.room.topic", "", `{"topic":"no"}`, bob)), a.foreign(state("m.room.topic", "", `{"topic":"nor this"}`, bob)),
			a.foreign(message(alice, "known")),
		}
		outliers := room.Commit{RoomID: a.id(), Rules: a.rules, Current: a.machine.Current(), Forward: a.machine.Forward(), Resident: true}
		for _, e := range known {
			outliers.Events = append(outliers.Events, room.Committed{Event: e, Outlier: true})
		}
		must(db.Commit(ctx, outliers, store.CommitOptions{}))
		for i, want := range []room.Status{room.Rejected, room.Rejected, room.Accepted} {
			Expect(a.receive(known[i])[0].Status).To(Equal(want))
		}
		for range 2 {
			for _, some := range []int{1, 2, 3, 100} {
				Expect(live(ctx, from, some)).To(Equal([]id.EventID{known[2].ID()}), "%d at a time", some)
			}
			db.restart()
		}
	})

	It("is also the invites to other servers' rooms, with what came along", func(ctx SpecContext) {
		a := must(create(db.Store, roomversion.V10)) // lends its events
		draft := must(a.draft(member(dora, "invite", alice)))
		draft.RoomID = "!elsewhere:there.example"
		invite := must(draft.Sign(a.rules, bob.Server(), testKey()))
		stripped := []json.RawMessage{[]byte(`{"type":"m.room.name"}`)}
		from := db.Position()
		at := must(db.SaveOutOfRoom(ctx, store.OutOfRoom{RoomID: draft.RoomID, Rules: a.rules, Event: invite, User: dora, Stripped: stripped}))
		events, reached, err := db.LiveEvents(ctx, from, db.Position(), 10)
		Expect(err).NotTo(HaveOccurred())
		Expect(reached).To(Equal(db.Position()))
		Expect(events).To(HaveLen(1))
		Expect(events[0].Event.ID()).To(Equal(invite.ID()))
		Expect(events[0].OutOfRoom).To(BeTrue())
		Expect(events[0].Stripped).To(Equal(stripped))
		Expect(events[0].Position).To(Equal(at))
	})

	It("depends on who was in a room then", func(ctx SpecContext) {
		a := must(create(db.Store, roomversion.V10))
		before := db.Position()
		must(a.propose(store.CommitOptions{}, member(dora, "join", dora)))
		in := db.Position()
		must(a.propose(store.CommitOptions{}, member(dora, "leave", dora)))
		Expect(must(db.MembershipAt(ctx, a.id(), dora, before))).To(BeEmpty())
		Expect(must(db.MembershipAt(ctx, a.id(), dora, in))).To(Equal("join"))
		Expect(must(db.MembershipAt(ctx, a.id(), dora, db.Position()))).To(Equal("leave"))
		Expect(must(db.MembershipAt(ctx, "!unknown:x", dora, in))).To(BeEmpty())
	})

	It("is remembered", func(ctx SpecContext) {
		must(create(db.Store, roomversion.V10))
		open := func(names ...string) ([]store.ServiceCursor, []string) {
			GinkgoHelper()
			cursors, forgotten, err := db.OpenServices(ctx, names)
			Expect(err).NotTo(HaveOccurred())
			return cursors, forgotten
		}
		now := db.Position()
		cursors, forgotten := open("irc", "slack")
		Expect(forgotten).To(BeEmpty())
		Expect(cursors).To(Equal([]store.ServiceCursor{{Service: "irc", Upto: now}, {Service: "slack", Upto: now}}))

		moved := store.ServiceCursor{Service: "irc", Upto: now + 1, Transaction: []byte(`{"events":[]}`), TransactionUpto: now + 2}
		Expect(db.SaveService(ctx, moved)).To(Succeed())
		db.restart()
		cursors, forgotten = open("irc")
		Expect(cursors).To(Equal([]store.ServiceCursor{moved}))
		Expect(forgotten).To(Equal([]string{"slack"}))

		moved.Transaction, moved.TransactionUpto = nil, 0
		Expect(db.SaveService(ctx, moved)).To(Succeed())
		cursors, forgotten = open("irc")
		Expect(cursors).To(Equal([]store.ServiceCursor{moved}))
		Expect(forgotten).To(BeEmpty())
	})

	It("has rooms published of its networks", func(ctx SpecContext) {
		a, b := must(create(db.Store, roomversion.V10)), must(create(db.Store, roomversion.V10))
		Expect(db.Publish(ctx, a.id(), true)).To(Succeed())
		for range 2 {
			Expect(db.PublishInNetwork(ctx, "irc", "libera", b.id(), true)).To(Succeed())
		}
		named := func(rooms []store.PublishedRoom, err error) (names []id.RoomID) {
			GinkgoHelper()
			Expect(err).NotTo(HaveOccurred())
			for _, r := range rooms {
				names = append(names, r.RoomID)
			}
			return names
		}
		Expect(named(db.PublishedRooms(ctx))).To(ConsistOf(a.id()))
		Expect(named(db.NetworkRooms(ctx, "irc", "libera"))).To(ConsistOf(b.id()))
		Expect(named(db.NetworkRooms(ctx, "irc", "other"))).To(BeEmpty())
		Expect(named(db.AllPublishedRooms(ctx))).To(ConsistOf(a.id(), b.id()))
		Expect(db.PublishInNetwork(ctx, "irc", "libera", "!unknown:x", true)).To(MatchError(store.ErrNotFound))
		Expect(db.PublishInNetwork(ctx, "irc", "libera", b.id(), false)).To(Succeed())
		Expect(named(db.NetworkRooms(ctx, "irc", "libera"))).To(BeEmpty())
	})
})
