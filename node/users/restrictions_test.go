package users

import (
	"context"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/node/store"
	"hanse/node/store/sqlite"
)

var _ = Describe("restrictions", func() {
	It("end what waits when a user is locked, and nobody else's", func(ctx context.Context) {
		u, _ := newUsers(cheap())
		alice, bob := register(u, "alice"), register(u, "bob")
		first, done := u.UntilLocked(ctx, alice)
		defer done()
		bobs, bobDone := u.UntilLocked(ctx, bob)
		ended, endedDone := u.UntilLocked(ctx, alice)
		endedDone()
		Expect(context.Cause(ended)).To(MatchError(context.Canceled))
		Expect(first.Err()).NotTo(HaveOccurred())
		Expect(u.Suspend(ctx, alice, true)).To(Succeed())
		Expect(first.Err()).NotTo(HaveOccurred())
		Expect(u.Lock(ctx, alice, true)).To(Succeed())
		Expect(context.Cause(first)).To(MatchError(ErrLocked))
		Expect(context.Cause(ended)).To(MatchError(context.Canceled))
		Expect(bobs.Err()).NotTo(HaveOccurred())
		late, lateDone := u.UntilLocked(ctx, alice)
		defer lateDone()
		Expect(context.Cause(late)).To(MatchError(ErrLocked))
		done()
		lateDone()
		bobDone()
		Expect(u.waiting.byUser).To(BeEmpty())
		Expect(u.Lock(ctx, "@nobody:example.org", true)).To(MatchError(ContainSubstring("M_NOT_FOUND")))
		Expect(u.Lock(ctx, "@a:elsewhere.org", true)).To(MatchError(ContainSubstring("M_NOT_FOUND")))
	})

	It("let nobody log in elsewhere as a user who is locked", func(ctx context.Context) {
		u, _ := newUsers(cheap())
		alice := register(u, "alice")
		token, _, err := u.NewOpenIDToken(ctx, alice)
		Expect(err).NotTo(HaveOccurred())
		Expect(u.Suspend(ctx, alice, true)).To(Succeed())
		Expect(u.OpenIDUser(ctx, token)).To(Equal(alice))
		Expect(u.Lock(ctx, alice, true)).To(Succeed())
		_, err = u.OpenIDUser(ctx, token)
		Expect(err).To(MatchError(ContainSubstring("M_UNKNOWN_TOKEN")))
		Expect(u.Lock(ctx, alice, false)).To(Succeed())
		Expect(u.OpenIDUser(ctx, token)).To(Equal(alice))
	})

	It("hold after a restart", func(ctx context.Context) {
		file := filepath.Join(GinkgoT().TempDir(), "hanse.db")
		with := func(do func(*Users)) {
			s, err := store.Open(ctx, sqlite.Open(file), store.Options{ServerName: self})
			Expect(err).NotTo(HaveOccurred())
			running, cancel := context.WithCancel(ctx)
			done := make(chan struct{})
			go func() { defer close(done); _ = s.Run(running) }()
			u, err := New(Config{Self: self, Store: s, Passwords: cheap()})
			Expect(err).NotTo(HaveOccurred())
			do(u)
			cancel()
			<-done
			Expect(s.Close()).To(Succeed())
		}
		with(func(u *Users) {
			Expect(u.Lock(ctx, register(u, "alice"), true)).To(Succeed())
			Expect(u.Suspend(ctx, register(u, "bob"), true)).To(Succeed())
		})
		with(func(u *Users) {
			Expect(u.Restrictions("@alice:example.org")).To(Equal(store.Restrictions{Locked: true}))
			Expect(u.Restrictions("@bob:example.org")).To(Equal(store.Restrictions{Suspended: true}))
			_, err := u.Login(ctx, "@alice:example.org", LoginDevice{})
			Expect(err).To(MatchError(ErrLocked))
			Expect(u.Lock(ctx, "@alice:example.org", false)).To(Succeed())
			Expect(u.Suspend(ctx, "@bob:example.org", false)).To(Succeed())
		})
		with(func(u *Users) {
			Expect(u.Restrictions("@alice:example.org")).To(BeZero())
			Expect(u.Restrictions("@bob:example.org")).To(BeZero())
			_, err := u.Login(ctx, "@alice:example.org", LoginDevice{})
			Expect(err).NotTo(HaveOccurred())
		})
	})
})
