package store_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/node/store"
)

var _ = onEach("the rooms of a user", func(db *fixture) {
	It("have the positions of their newest commits", func(ctx SpecContext) {
		a, b := must(create(db.Store, roomversion.V12)), must(create(db.Store, roomversion.V12))
		first := must(db.RoomPositions(ctx, alice))
		Expect(first).To(And(HaveLen(2), HaveKey(a.id()), HaveKey(b.id())))
		Expect(first[a.id()]).To(BeNumerically("<", first[b.id()]))
		must(a.propose(store.CommitOptions{}, member(dora, "invite", alice)))
		second := must(db.RoomPositions(ctx, alice))
		Expect(second[a.id()]).To(BeNumerically(">", first[b.id()]))
		Expect(second[b.id()]).To(Equal(first[b.id()]))
		Expect(must(db.RoomPositions(ctx, dora))).To(Equal(map[id.RoomID]store.Position{a.id(): second[a.id()]}))
		Expect(must(db.RoomPositions(ctx, "@nobody:here.example"))).To(BeEmpty())
	})
	It("say when something happened in them last", func(ctx SpecContext) {
		a, b := must(create(db.Store, roomversion.V12)), must(create(db.Store, roomversion.V12))
		positions := must(db.RoomPositions(ctx, alice))
		read := must(db.SaveReceipts(ctx, []store.Receipt{{Room: b.id(), Type: "m.read", User: alice, Event: "$1"}, {Room: b.id(), Type: "m.read", User: bob, Event: "$1"}}))
		Expect(must(db.LastNews(ctx, 3))).To(ConsistOf(store.RoomNews{Room: a.id(), Commit: positions[a.id()]},
			store.RoomNews{Room: b.id(), Commit: positions[b.id()], Receipt: read}))
		Expect(must(db.LastNews(ctx, 1))).To(HaveLen(1))
	})
})
