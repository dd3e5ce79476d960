package store_test

import (
	"encoding/json"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/node/store"
)

var _ = onEach("What is unread", func(db *fixture) {
	It("is kept by user and room", func(ctx SpecContext) {
		a := must(create(db.Store, roomversion.V10))
		_, found, err := db.Unread(ctx, alice, a.id())
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeFalse())
		one := store.Unread{User: alice, Room: a.id(), Upto: 5, Rules: 3, Content: []byte{0, 1}}
		unknown := store.Unread{User: alice, Room: "!x:y", Upto: 5, Content: []byte{}}
		Expect(db.SaveUnread(ctx, []store.Unread{one, unknown, {User: dora, Room: a.id(), Upto: 9, Content: []byte{}}})).To(Succeed())
		one.Upto, one.Content = 7, []byte{0, 2}
		Expect(db.SaveUnread(ctx, []store.Unread{one})).To(Succeed())
		db.restart()
		got, found, err := db.Unread(ctx, alice, a.id())
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeTrue())
		Expect(got).To(Equal(one))
		_, found, err = db.Unread(ctx, alice, "!x:y")
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeFalse())
	})

	It("begins when the user came last", func(ctx SpecContext) {
		a := must(create(db.Store, roomversion.V10))
		Expect(must(db.StayBegan(ctx, a.id(), dora))).To(BeZero())
		join := func() store.Position {
			must(a.propose(store.CommitOptions{}, member(dora, "join", dora)))
			return db.Position()
		}
		first := join()
		began := must(db.StayBegan(ctx, a.id(), dora))
		Expect(began).To(And(BeNumerically(">", 0), BeNumerically("<=", first)))
		must(a.propose(store.CommitOptions{}, state("m.room.member", string(dora), `{"membership":"join","displayname":"Dora"}`, dora)))
		Expect(must(db.StayBegan(ctx, a.id(), dora))).To(Equal(began), "a new name is no new stay")
		must(a.propose(store.CommitOptions{}, member(dora, "leave", dora)))
		left := db.Position()
		join()
		Expect(must(db.StayBegan(ctx, a.id(), dora))).To(BeNumerically(">", left))
		Expect(must(db.StayBegan(ctx, "!x:y", dora))).To(BeZero())
	})
})

var _ = onEach("Pushers", func(db *fixture) {
	It("are kept, moved on, and end with their device", func(ctx SpecContext) {
		now := time.UnixMilli(time.Now().UnixMilli())
		Expect(db.Login(ctx, store.Device{User: alice, ID: "PHONE", Created: now}, store.HashToken("secret"))).To(Succeed())
		p := store.Pusher{User: alice, AppID: strange, PushKey: strange, Device: "PHONE", Data: json.RawMessage(`{"a":1}`), Updated: now}
		Expect(db.SetPusher(ctx, p, false)).To(BeEmpty())
		other := p
		other.User, other.Device = dora, "ELSE"
		Expect(db.SetPusher(ctx, other, true)).To(BeEmpty())
		got := must(db.Pushers(ctx, alice))
		Expect(got).To(HaveLen(1))
		p.Upto = got[0].Upto
		Expect(got[0]).To(Equal(p))
		Expect(must(db.AllPushers(ctx))).To(HaveLen(2))

		p.Upto += 10
		Expect(db.Pushed(ctx, []store.Pusher{p, {User: bob, AppID: "none"}})).To(Succeed())
		p.Data = json.RawMessage(`{"a":2}`)
		Expect(db.SetPusher(ctx, p, true)).To(BeEmpty())
		p.Upto -= 5
		Expect(db.Pushed(ctx, []store.Pusher{p})).To(Succeed(), "never back")
		p.Upto += 5
		Expect(must(db.Pushers(ctx, alice))).To(Equal([]store.Pusher{p}))

		Expect(db.SetPusher(ctx, p, false)).To(Equal([]id.UserID{dora}))
		Expect(must(db.Pushers(ctx, dora))).To(BeEmpty(), "somebody else has the app")
		Expect(db.DeleteDevices(ctx, alice, "PHONE")).To(Succeed())
		Expect(must(db.AllPushers(ctx))).To(BeEmpty())
		Expect(db.DeletePusher(ctx, alice, strange, strange)).To(Succeed())
	})
})
