package rooms_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/node/rooms"
	"hanse/node/store"
)

var _ = Describe("A user who was deactivated", func() {
	It("leaves after a start the rooms that were not left before the server stopped", func(ctx SpecContext) {
		w := newWorld()
		one := w.start("one.test")
		ended, other := id.UserID("@ended:one.test"), id.UserID("@other:one.test")
		roomID, err := one.rooms.Create(ctx, rooms.CreateRequest{Creator: ended, Preset: "public_chat", Version: "12"})
		Expect(err).NotTo(HaveOccurred())
		for _, user := range []id.UserID{ended, other} {
			Expect(one.store.CreateUser(ctx, store.User{ID: user, Created: time.Now()})).To(Succeed())
		}
		otherRoom, err := one.rooms.Create(ctx, rooms.CreateRequest{Creator: other, Preset: "public_chat", Version: "12"})
		Expect(err).NotTo(HaveOccurred())
		Expect(one.store.Deactivate(ctx, ended, false)).To(Succeed())
		one.restart()
		Eventually(func() string { return one.membership(roomID, ended) }, time.Minute).Should(Equal("leave"))
		Expect(one.membership(otherRoom, other)).To(Equal("join"))
	})
})
