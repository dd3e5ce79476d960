package store_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/node/store"
)

var _ = onEach("An account that is deactivated", func(db *fixture) {
	It("gets no device from who was about to log in", func(ctx SpecContext) {
		device := store.Device{User: alice, ID: "A", Created: time.Now()}
		Expect(db.CreateUser(ctx, store.User{ID: alice, PasswordHash: "x", Created: time.Now()})).To(Succeed())
		Expect(db.Login(ctx, device, store.HashToken("t"))).To(Succeed())
		Expect(db.Deactivate(ctx, alice, false)).To(Succeed())
		Expect(must(db.Devices(ctx, alice))).To(BeEmpty())
		Expect(db.Login(ctx, device, store.HashToken("t"))).To(MatchError(store.ErrNotFound))
		Expect(db.AddDevice(ctx, device)).To(MatchError(store.ErrNotFound))
		Expect(must(db.Devices(ctx, alice))).To(BeEmpty())
	})
})
