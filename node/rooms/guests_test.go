package rooms_test

import (
	"encoding/json"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/node/rooms"
	"hanse/node/store"
)

var _ = Describe("A guest", func() {
	guest := id.UserID("@guest:one.test")

	It("leaves a room that lets no guests in any more, also if another server says so", func(ctx SpecContext) {
		w := newWorld()
		one, two := w.start("one.test"), w.start("two.test")
		alice, bob := id.UserID("@alice:one.test"), id.UserID("@bob:two.test")
		roomID, err := two.rooms.Create(ctx, rooms.CreateRequest{Creator: bob, Preset: "public_chat", Version: "12"})
		Expect(err).NotTo(HaveOccurred())
		access := func(value string) {
			GinkgoHelper()
			content, err := json.Marshal(map[string]string{"guest_access": value})
			Expect(err).NotTo(HaveOccurred())
			_, err = two.rooms.Send(ctx, rooms.SendRequest{Room: roomID, Sender: bob, Type: "m.room.guest_access", StateKey: new(string), Content: content})
			Expect(err).NotTo(HaveOccurred())
		}
		access("can_join")
		Expect(one.store.CreateUser(ctx, store.User{ID: guest, Guest: true, Created: time.Now()})).To(Succeed())
		joining := rooms.JoinRequest{User: guest, Room: roomID, Via: []id.ServerName{"two.test"}}
		Expect(one.rooms.Join(ctx, joining)).To(MatchError(ContainSubstring("M_GUEST_ACCESS_FORBIDDEN"))) // whether it may isn't known
		Expect(one.rooms.Join(ctx, rooms.JoinRequest{User: alice, Room: roomID, Via: joining.Via})).To(Succeed())
		Expect(one.rooms.Join(ctx, joining)).To(Succeed())
		access("forbidden")
		Eventually(func() string { return one.membership(roomID, guest) }, time.Minute).Should(Equal("leave"))
		Expect(one.membership(roomID, alice)).To(Equal("join"))
		Expect(one.rooms.Join(ctx, joining)).To(MatchError(ContainSubstring("M_GUEST_ACCESS_FORBIDDEN")))
	})

	It("leaves it after a start, if the server stopped before", func(ctx SpecContext) {
		w := newWorld()
		one := w.start("one.test")
		var ids []id.RoomID
		for _, preset := range []string{"private_chat", "public_chat"} { // the former lets guests in
			roomID, err := one.rooms.Create(ctx, rooms.CreateRequest{Creator: guest, Preset: preset, Version: "12"})
			Expect(err).NotTo(HaveOccurred())
			ids = append(ids, roomID)
		}
		Expect(one.store.CreateUser(ctx, store.User{ID: guest, Guest: true, Created: time.Now()})).To(Succeed())
		one.restart()
		Eventually(func() string { return one.membership(ids[1], guest) }, time.Minute).Should(Equal("leave"))
		Expect(one.membership(ids[0], guest)).To(Equal("join"))
	})
})
