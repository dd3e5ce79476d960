package store_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/node/store"
)

var _ = onEach("E-mail addresses", func(db *fixture) {
	now := time.Now().Truncate(time.Millisecond)
	later := now.Add(time.Hour)
	session := func(sid, address string) store.EmailSession {
		return store.EmailSession{SID: sid, ClientSecret: "secret " + sid, Purpose: "p", Address: address, Token: "token", Attempt: 1, NextLink: "https://x/", Expires: later}
	}
	// proven is a session that has proven its address.
	proven := func(ctx SpecContext, sid, address string) {
		GinkgoHelper()
		Expect(db.BeginEmailSession(ctx, session(sid, address), now)).Error().NotTo(HaveOccurred())
		Expect(db.ProveEmail(ctx, sid, now, later)).To(Succeed())
	}
	holder := func(ctx SpecContext, address string) id.UserID {
		GinkgoHelper()
		user, _, err := db.EmailUser(ctx, address)
		Expect(err).NotTo(HaveOccurred())
		return user
	}
	BeforeEach(func(ctx SpecContext) {
		for _, user := range []id.UserID{alice, dora} {
			Expect(db.CreateUser(ctx, store.User{ID: user, Created: now})).To(Succeed())
		}
	})

	It("are one account's, until it gives them up or ends", func(ctx SpecContext) {
		one, two := store.Email{Address: "a@x", User: alice, Proven: now, Added: now.Add(time.Second)}, store.Email{Address: "b@x", User: alice, Proven: now, Added: now}
		Expect(db.AddEmail(ctx, one)).To(Succeed())
		Expect(db.AddEmail(ctx, two)).To(Succeed())
		again := one
		again.Added = later
		Expect(db.AddEmail(ctx, again)).To(Succeed())
		Expect(db.AddEmail(ctx, store.Email{Address: "a@x", User: dora, Proven: now, Added: now})).To(MatchError(store.ErrEmailInUse))
		Expect(db.AddEmail(ctx, store.Email{Address: "c@x", User: bob, Proven: now, Added: now})).To(MatchError(store.ErrNotFound))
		db.restart()
		Expect(must(db.Emails(ctx, alice))).To(Equal([]store.Email{two, one}))
		Expect(holder(ctx, "a@x")).To(Equal(alice))
		Expect(db.RemoveEmail(ctx, dora, "a@x")).To(MatchError(store.ErrNotFound))
		Expect(db.RemoveEmail(ctx, alice, "a@x")).To(Succeed())
		Expect(holder(ctx, "a@x")).To(BeEmpty())
		Expect(db.Deactivate(ctx, alice, false)).To(Succeed())
		Expect(must(db.Emails(ctx, alice))).To(BeEmpty())
		Expect(db.AddEmail(ctx, one)).To(MatchError(store.ErrNotFound))
	})

	It("get a mail for each attempt, under one session", func(ctx SpecContext) {
		got, send, err := db.BeginEmailSession(ctx, session("1", "a@x"), now)
		Expect(err).NotTo(HaveOccurred())
		Expect(send).To(BeTrue())
		Expect(got).To(Equal(session("1", "a@x")))
		another := session("2", "a@x")
		another.ClientSecret, another.Token, another.Expires = "secret 1", "other", later.Add(time.Minute)
		got, send, err = db.BeginEmailSession(ctx, another, now)
		Expect(err).NotTo(HaveOccurred())
		Expect(send).To(BeFalse())
		Expect(got).To(Equal(session("1", "a@x")))
		another.Attempt = 2
		got, send, err = db.BeginEmailSession(ctx, another, now)
		Expect(err).NotTo(HaveOccurred())
		Expect(send).To(BeTrue())
		Expect([]any{got.SID, got.Token, got.Attempt, got.Expires}).To(Equal([]any{"1", "token", int64(2), another.Expires}))
		Expect(db.EmailNotSent(ctx, "1")).To(Succeed())
		_, send, err = db.BeginEmailSession(ctx, another, now)
		Expect(err).NotTo(HaveOccurred())
		Expect(send).To(BeTrue())
		for _, change := range []func(*store.EmailSession){
			func(e *store.EmailSession) { e.Purpose = "q" }, func(e *store.EmailSession) { e.Address = "b@x" }, func(e *store.EmailSession) { e.ClientSecret = "s" },
		} {
			other := session("1", "a@x")
			change(&other)
			other.SID = other.Purpose + other.Address + other.ClientSecret
			got, send, err = db.BeginEmailSession(ctx, other, now)
			Expect(err).NotTo(HaveOccurred())
			Expect(send).To(BeTrue())
			Expect(got.SID).To(Equal(other.SID))
		}
		Expect(db.EmailSessions(ctx, now)).To(Equal(4))
		Expect(db.EmailSessions(ctx, later)).To(Equal(1))
		_, found, err := db.EmailSession(ctx, "1", another.Expires)
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeFalse())
		Expect(db.ProveEmail(ctx, "1", now, later.Add(time.Hour))).To(Succeed())
		another.Attempt = 3
		got, send, err = db.BeginEmailSession(ctx, another, now) // it is proven: no mail, and it isn't good for longer
		Expect(err).NotTo(HaveOccurred())
		Expect(send).To(BeFalse())
		Expect([]time.Time{got.Proven, got.Expires}).To(Equal([]time.Time{now, later.Add(time.Hour)}))
		Expect(db.ProveEmail(ctx, "1", later, later.Add(24*time.Hour))).To(Succeed())
		got, _, err = db.EmailSession(ctx, "1", now)
		Expect(err).NotTo(HaveOccurred())
		Expect([]time.Time{got.Proven, got.Expires}).To(Equal([]time.Time{now, later.Add(time.Hour)}))
	})

	It("are added by a session once, and only when it has proven them", func(ctx SpecContext) {
		Expect(db.BeginEmailSession(ctx, session("1", "a@x"), now)).Error().NotTo(HaveOccurred())
		Expect(db.AddEmailBySession(ctx, alice, "1", now)).To(MatchError(store.ErrNotFound))
		Expect(db.ProveEmail(ctx, "1", now, later)).To(Succeed())
		Expect(db.AddEmailBySession(ctx, alice, "1", later)).To(MatchError(store.ErrNotFound)) // it has expired
		Expect(db.AddEmailBySession(ctx, alice, "1", now.Add(time.Second))).To(Succeed())
		Expect(must(db.Emails(ctx, alice))).To(Equal([]store.Email{{Address: "a@x", User: alice, Proven: now, Added: now.Add(time.Second)}}))
		Expect(db.AddEmailBySession(ctx, alice, "1", now)).To(MatchError(store.ErrNotFound))
		proven(ctx, "2", "a@x")
		Expect(db.AddEmailBySession(ctx, dora, "2", now)).To(MatchError(store.ErrEmailInUse))
	})

	It("come with a new account, or the account isn't made", func(ctx SpecContext) {
		eve := store.User{ID: "@eve:here.example", Created: now}
		Expect(db.CreateUserBySession(ctx, eve, "none", now)).To(MatchError(store.ErrNotFound))
		proven(ctx, "1", "e@x")
		Expect(db.CreateUserBySession(ctx, store.User{ID: alice, Created: now}, "1", now)).To(MatchError(store.ErrExists))
		Expect(db.CreateUserBySession(ctx, eve, "1", now)).To(Succeed())
		Expect(holder(ctx, "e@x")).To(Equal(eve.ID))
		proven(ctx, "2", "e@x")
		Expect(db.CreateUserBySession(ctx, store.User{ID: "@fay:here.example", Created: now}, "2", now)).To(MatchError(store.ErrEmailInUse))
		_, found, err := db.User(ctx, "@fay:here.example")
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeFalse())
	})

	It("come to a guest who becomes a user, or the guest stays one", func(ctx SpecContext) {
		guest := id.UserID("@guest:here.example")
		Expect(db.CreateUser(ctx, store.User{ID: guest, Guest: true, Created: now})).To(Succeed())
		Expect(db.UpgradeGuest(ctx, guest, "hash", "none", now)).To(MatchError(store.ErrNotFound))
		Expect(db.Restrictions(guest)).To(Equal(store.Restrictions{Guest: true}))
		proven(ctx, "1", "e@x")
		Expect(db.UpgradeGuest(ctx, alice, "hash", "1", now)).To(MatchError(store.ErrNotFound))
		Expect(db.UpgradeGuest(ctx, guest, "hash", "1", now)).To(Succeed())
		Expect(holder(ctx, "e@x")).To(Equal(guest))
		Expect(db.Restrictions(guest)).To(BeZero())
	})

	It("give no password that was confirmed for before it was changed, but where its hash alone is made anew", func(ctx SpecContext) {
		Expect(db.AddEmail(ctx, store.Email{Address: "a@x", User: alice, Proven: now, Added: now})).To(Succeed())
		Expect(db.SetPassword(ctx, alice, "old")).To(Succeed())
		proven(ctx, "1", "a@x")
		proven(ctx, "2", "another@x")
		Expect(db.ReplaceHash(ctx, alice, "not any more", "bad")).To(Succeed())
		Expect(db.ReplaceHash(ctx, alice, "old", "same")).To(Succeed())
		account, _, err := db.User(ctx, alice)
		Expect(err).NotTo(HaveOccurred())
		Expect(account.PasswordHash).To(Equal("same"))
		Expect(db.EmailSessions(ctx, now)).To(Equal(2))
		Expect(db.SetPassword(ctx, alice, "new")).To(Succeed())
		Expect(db.EmailSessions(ctx, now)).To(Equal(1))
		Expect(db.SetPasswordBySession(ctx, "1", "theirs", now)).Error().To(MatchError(store.ErrNotFound))
	})

	It("give their account a new password, once", func(ctx SpecContext) {
		Expect(db.AddEmail(ctx, store.Email{Address: "a@x", User: alice, Proven: now, Added: now})).To(Succeed())
		proven(ctx, "1", "a@x")
		Expect(db.SetLocked(ctx, alice, now)).To(Succeed())
		Expect(db.SetPasswordBySession(ctx, "1", "hash", now)).Error().To(MatchError(store.ErrLocked))
		Expect(db.SetLocked(ctx, alice, time.Time{})).To(Succeed())
		Expect(db.SetPasswordBySession(ctx, "1", "hash", now)).To(Equal(alice))
		account, _, err := db.User(ctx, alice)
		Expect(err).NotTo(HaveOccurred())
		Expect(account.PasswordHash).To(Equal("hash"))
		Expect(db.SetPasswordBySession(ctx, "1", "another", now)).Error().To(MatchError(store.ErrNotFound))
		proven(ctx, "2", "nobody@x")
		Expect(db.SetPasswordBySession(ctx, "2", "hash", now)).Error().To(MatchError(store.ErrNotFound))
	})
})
