package rooms_test

import (
	"context"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/node/rooms"
)

var _ = Describe("A room that is joined again by way of a server that hasn't heard of the leave", func() {
	ctx := context.Background()
	var (
		one, mute  *host
		alice, bob id.UserID
	)
	BeforeEach(func() {
		w := newWorld()
		one, mute = w.start("one.test"), w.start("mute.test", silent)
		alice, bob = one.user("alice"), mute.user("bob")
	})
	joins := func(roomID id.RoomID) {
		mute.join(bob, roomID, one.name)
		Eventually(func() bool {
			info, _, err := mute.store.Room(ctx, roomID)
			return err == nil && !info.Partial
		}).WithTimeout(time.Minute).Should(BeTrue())
	}
	again := func(roomID id.RoomID) error {
		return mute.rooms.Join(ctx, rooms.JoinRequest{User: bob, Room: roomID, Via: []id.ServerName{one.name}})
	}
	// leaves has bob leave; his server tells nobody until the event is handed to another one.
	leaves := func(roomID id.RoomID) (tell func()) {
		Expect(mute.rooms.Leave(ctx, bob, roomID, "")).To(Succeed())
		left := mute.current(roomID, "m.room.member", string(bob))
		return func() {
			_, err := one.rooms.Submit(ctx, mute.name, roomID, []*event.Event{left})
			Expect(err).NotTo(HaveOccurred())
			one.sees(left.ID())
		}
	}

	// rejoins has bob join again, and waits until the room is whole, with the leave to be resolved with the join as others will.
	rejoins := func(roomID id.RoomID) {
		left := mute.current(roomID, "m.room.member", string(bob))
		Expect(again(roomID)).To(Succeed())
		Expect(mute.membership(roomID, bob)).To(Equal("join"))
		Eventually(func() bool { return mute.isPartial(roomID) }).WithTimeout(time.Minute).Should(BeFalse())
		info, _, err := mute.store.Room(ctx, roomID)
		Expect(err).NotTo(HaveOccurred())
		Expect(info.Forward).To(ContainElement(left.ID()))
		Expect(mute.membership(roomID, bob)).To(Equal("join"))
	}

	It("is joined where the rules let the user in", func() {
		roomID := one.create(rooms.CreateRequest{Preset: "public_chat"})
		joins(roomID)
		mute.set(bob, roomID, "m.room.member", string(bob), `{"membership":"join","displayname":"Bob, whom nobody hears"}`)
		tell := leaves(roomID)
		Expect(again(roomID)).To(Succeed())
		Expect(mute.membership(roomID, bob)).To(Equal("join"))
		tell()
		Expect(one.membership(roomID, bob)).To(Equal("join"))
		Expect(one.state(roomID).Equal(mute.state(roomID))).To(BeTrue())
		// What is said next stands on the leave too.
		said := mute.say(bob, roomID, "I am back")
		row, _, err := mute.store.Event(ctx, said)
		Expect(err).NotTo(HaveOccurred())
		Expect(row.Event.PrevEvents()).To(HaveLen(2))
	})

	It("is not where the user would have to be invited", func() {
		roomID := one.create(rooms.CreateRequest{Preset: "private_chat", Invite: []id.UserID{bob}})
		joins(roomID)
		tell := leaves(roomID)
		Expect(one.membership(roomID, bob)).To(Equal("join"))
		Expect(code(again(roomID))).To(Equal("M_FORBIDDEN"))
		Expect(mute.membership(roomID, bob)).To(Equal("leave"))
		tell()
		Expect(one.membership(roomID, bob)).To(Equal("leave"), "they would never hear of each other again")
		Expect(one.rooms.Invite(ctx, rooms.MembershipRequest{Room: roomID, Sender: alice, Target: bob})).To(Succeed())
		Expect(again(roomID)).To(Succeed())
		agree(roomID, one, mute)
	})

	It("does without the state before the first join where nobody has that any more", func() {
		roomID := one.create(rooms.CreateRequest{Preset: "public_chat"})
		release, asked := one.hold()
		mute.join(bob, roomID, one.name)
		Eventually(asked.Load).WithTimeout(time.Minute).ShouldNot(BeZero())
		leaves(roomID)
		one.tamper(func(path string, answer []byte) []byte {
			if strings.Contains(path, "/state_ids/") {
				return nil
			}
			return answer
		})
		mute.restart() // nothing is under way any more
		release()
		rejoins(roomID)
	})

	It("gets the state before the first join too, where that was left before it was whole", func() {
		roomID := one.create(rooms.CreateRequest{Preset: "public_chat"})
		release, asked := one.hold()
		mute.join(bob, roomID, one.name)
		Eventually(asked.Load).WithTimeout(time.Minute).ShouldNot(BeZero())
		leaves(roomID)
		Expect(mute.isPartial(roomID)).To(BeTrue())
		mute.restart() // nothing is under way any more
		release()
		rejoins(roomID)
	})
})
