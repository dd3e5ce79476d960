package store_test

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
	"hanse/node/store"
)

// What is kept of a room must be what the database says, whatever has changed.
var _ = onEach("What is known of a room", func(db *fixture) {
	var a *actor
	// known is what memory says: asked twice, so that the second time nothing is read.
	known := func(ctx context.Context) store.RoomInfo {
		GinkgoHelper()
		var info store.RoomInfo
		for range 2 {
			var found bool
			var err error
			info, found, err = db.Room(ctx, a.id())
			Expect(err).NotTo(HaveOccurred())
			Expect(found).To(BeTrue())
		}
		return info
	}
	BeforeEach(func() { a = must(create(db.Store, roomversion.V10)) })
	DescribeTable("is true after", func(ctx SpecContext, change func(context.Context)) {
		before := known(ctx)
		state := must(db.CurrentState(ctx, a.id()))
		change(ctx)
		info := known(ctx)
		Expect(info).NotTo(Equal(before))
		Expect([]store.RoomInfo{info}).To(Equal(must(db.Rooms(ctx, "", 10))), "the list is read")
		now := must(db.CurrentState(ctx, a.id()))
		Expect(now.Equal(must(db.CurrentStateAt(ctx, a.id(), db.Position())))).To(BeTrue(), "the state's history is read")
		Expect(now.Equal(a.machine.Current())).To(BeTrue())
		Expect(now.Equal(state)).To(Equal(len(info.Forward) == len(before.Forward) && a.machine.Current().Equal(state)))
	},
		Entry("a message", func(context.Context) { must(a.propose(store.CommitOptions{}, message(alice, "one"))) }),
		Entry("a new state", func(context.Context) {
			must(a.propose(store.CommitOptions{}, state("m.room.topic", "", `{"topic":"x"}`, alice)))
		}),
		Entry("a join", func(context.Context) {
			must(a.propose(store.CommitOptions{}, state("m.room.join_rules", "", `{"join_rule":"public"}`, alice)))
			must(a.propose(store.CommitOptions{}, state("m.room.member", string(dora), `{"membership":"join"}`, dora)))
		}),
		Entry("our last member left", func(context.Context) {
			must(a.propose(store.CommitOptions{}, state("m.room.member", string(alice), `{"membership":"leave"}`, alice)))
		}),
		Entry("it was published", func(ctx context.Context) { Expect(db.Publish(ctx, a.id(), true)).To(Succeed()) }),
		Entry("it was published with a commit", func(context.Context) {
			public := true
			must(a.propose(store.CommitOptions{Publish: &public}, message(alice, "one")))
		}),
		Entry("its members went missing", func(ctx context.Context) { must(db.Commit(ctx, partialCommit(a), store.CommitOptions{})) }),
	)
	It("is true after its members have come", func(ctx SpecContext) {
		must(db.Commit(ctx, partialCommit(a), store.CommitOptions{}))
		Expect(known(ctx).Partial).To(BeTrue())
		c := partialCommit(a)
		c.Partial, c.Whole = nil, true
		must(db.Commit(ctx, c, store.CommitOptions{}))
		Expect(known(ctx).Partial).To(BeFalse())
	})
	It("is not kept when a commit ends while it is read", func(ctx SpecContext) {
		db.restart()
		info := known(ctx)
		db.restart()
		store.FillLate(db.Store, info, func() {
			a = must(load(db.Store, a.id()))
			must(a.propose(store.CommitOptions{}, message(alice, "one")))
		})
		Expect(known(ctx).Forward).NotTo(Equal(info.Forward))
	})
})

// partialCommit says that a room's state isn't whole, and nothing else.
func partialCommit(a *actor) room.Commit {
	return room.Commit{
		RoomID: a.id(), Rules: a.rules, Current: a.machine.Current(), Forward: a.machine.Forward(), Depth: 1, Resident: true,
		Partial: &room.PartialState{Join: "$join", Servers: []id.ServerName{"there.example"}},
	}
}
