package store_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/node/store"
)

var _ = onEach("tokens that end", func(db *fixture) {
	hash := store.HashToken
	tokens := func(n string, expires time.Time) store.Refreshable {
		return store.Refreshable{Access: hash("access " + n), Refresh: hash("refresh " + n), Expires: expires}
	}
	refresh := func(ctx SpecContext, old, next string) bool {
		GinkgoHelper()
		user, device, good, err := db.Refresh(ctx, hash("refresh "+old), false, tokens(next, time.UnixMilli(2000)))
		Expect(err).NotTo(HaveOccurred())
		if good {
			Expect(user).To(Equal(alice))
			Expect(device).To(Equal("D"))
		}
		return good
	}
	known := func(ctx SpecContext, n string) bool {
		GinkgoHelper()
		_, ok, err := db.Access(ctx, hash("access "+n))
		Expect(err).NotTo(HaveOccurred())
		return ok
	}
	BeforeEach(func(ctx SpecContext) {
		Expect(db.CreateUser(ctx, store.User{ID: alice, Created: time.UnixMilli(1)})).To(Succeed())
		Expect(db.Login(ctx, store.Device{User: alice, ID: "D", Created: time.UnixMilli(1)}, hash("access 1"),
			store.Refreshing(tokens("1", time.UnixMilli(1000))))).To(Succeed())
	})

	It("are followed by others, and last until those are used", func(ctx SpecContext) {
		access, _, err := db.Access(ctx, hash("access 1"))
		Expect(err).NotTo(HaveOccurred())
		Expect(access.Expires).To(Equal(time.UnixMilli(1000)))
		Expect(refresh(ctx, "1", "lost")).To(BeTrue())
		Expect(refresh(ctx, "1", "2")).To(BeTrue())
		Expect([]bool{known(ctx, "1"), known(ctx, "lost"), known(ctx, "2")}).To(Equal([]bool{true, false, true}))
		db.restart()
		Expect(db.UseAccess(ctx, hash("access 2"))).To(Succeed())
		Expect(db.UseAccess(ctx, hash("access 2"))).To(Succeed())
		Expect([]bool{known(ctx, "1"), known(ctx, "2")}).To(Equal([]bool{false, true}))
		Expect(refresh(ctx, "1", "x")).To(BeFalse())
		Expect(refresh(ctx, "2", "3")).To(BeTrue())
		Expect(refresh(ctx, "3", "4")).To(BeTrue())
		Expect([]bool{known(ctx, "2"), known(ctx, "3"), known(ctx, "4")}).To(Equal([]bool{false, true, true}), "the use of a refresh token counts too")
		Expect(db.DeleteDevices(ctx, alice, "D")).To(Succeed())
		Expect(refresh(ctx, "4", "x")).To(BeFalse(), "the device is gone")
	})

	It("let somebody log in once, in time", func(ctx SpecContext) {
		Expect(db.AddLoginToken(ctx, hash("a"), alice, time.UnixMilli(1), time.UnixMilli(100))).To(Succeed())
		Expect(db.AddLoginToken(ctx, hash("b"), alice, time.UnixMilli(1), time.UnixMilli(100))).To(Succeed())
		for _, try := range []struct {
			token string
			at    int64
			good  bool
		}{{"a", 100, true}, {"a", 100, false}, {"b", 101, false}, {"c", 1, false}} {
			_, good, err := db.LoginToken(ctx, hash(try.token), time.UnixMilli(try.at))
			Expect(err).NotTo(HaveOccurred())
			Expect(good).To(Equal(try.good), try.token)
			if good {
				login := func() error {
					return db.Login(ctx, store.Device{User: alice, ID: "NEW"}, hash("new"), store.ByLoginToken(hash(try.token)))
				}
				Expect(login()).To(Succeed())
				Expect(login()).To(MatchError(store.ErrNotFound), "it was good for two at once")
			}
		}
	})
})

var _ = onEach("the user directory", func(db *fixture) {
	It("finds users by the beginnings of words, page by page", func(ctx SpecContext) {
		Expect(db.AddUserWords(ctx, alice, []string{"alice", "wonder"})).To(Succeed())
		Expect(db.AddUserWords(ctx, bob, []string{"bob", "alan", "al"})).To(Succeed())
		Expect(db.AddUserWords(ctx, bob, []string{"bob"})).To(Succeed(), "twice")
		all := []store.UserWord{{Word: "al", User: bob}, {Word: "alan", User: bob}, {Word: "alice", User: alice}}
		Expect(must(db.UserWords(ctx, "al", store.UserWord{}, 9))).To(Equal(all))
		Expect(must(db.UserWords(ctx, "al", all[0], 1))).To(Equal(all[1:2]))
		Expect(must(db.UserWords(ctx, "al", all[2], 1))).To(BeEmpty())
		Expect(must(db.UserWords(ctx, "x", store.UserWord{}, 9))).To(BeEmpty())
		Expect(must(db.UserWordsDone(ctx))).To(BeFalse())
		Expect(db.SetUserWordsDone(ctx)).To(Succeed())
		Expect(must(db.UserWordsDone(ctx))).To(BeTrue())
	})

	It("knows who shares a room", func(ctx SpecContext) {
		a := must(create(db.Store, "12"))
		must(a.propose(store.CommitOptions{}, member(dora, "join", dora)))
		room, found, err := db.SharedRoom(ctx, alice, dora)
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeTrue())
		Expect(room).To(Equal(a.id()))
		_, found, err = db.SharedRoom(ctx, alice, bob)
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeFalse())
	})

	It("keeps reports, the newest first", func(ctx SpecContext) {
		for i, reason := range []string{"one", "two"} {
			Expect(db.AddReport(ctx, store.Report{Received: time.UnixMilli(int64(i + 1)), Reporter: alice, UserID: bob, Reason: reason})).To(Succeed())
		}
		Expect(must(db.ReportsOf(ctx, alice, time.UnixMilli(2)))).To(Equal(1))
		Expect(must(db.ReportsOf(ctx, bob, time.UnixMilli(0)))).To(BeZero())
		reports := must(db.Reports(ctx, 9))
		Expect(reports).To(HaveLen(2))
		Expect(reports[0].Reason).To(Equal("two"))
		Expect(reports[0].Number).To(BeNumerically(">", reports[1].Number))
		Expect(db.DeleteReport(ctx, reports[0].Number)).To(Succeed())
		Expect(db.DeleteReport(ctx, reports[0].Number)).To(MatchError(store.ErrNotFound))
		Expect(must(db.ReportsKept(ctx))).To(Equal(1))
		Expect(must(db.Reports(ctx, 9))).To(Equal(reports[1:]))
	})
})
