package rooms_test

import (
	"context"
	"encoding/json"
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/node/rooms"
)

var _ = Describe("a restricted room", func() {
	var (
		w                 *world
		one, two, three   *host
		alice, bob, carol id.UserID
		club, roomID      id.RoomID
		ctx               = context.Background()
	)
	BeforeEach(func() {
		w = newWorld()
		one, two, three = w.start("one.test"), w.start("two.test"), w.start("three.test")
		alice, bob, carol = one.user("alice"), two.user("bob"), three.user("carol")
		club = one.create(rooms.CreateRequest{})
		roomID = one.create(rooms.CreateRequest{
			Version: "10",
			InitialState: []rooms.StateEvent{{Type: "m.room.join_rules", Content: json.RawMessage(fmt.Sprintf(
				`{"join_rule":"restricted","allow":[{"type":"m.room_membership","room_id":%q},{"type":"unknown"}]}`, club))}},
		})
	})

	It("lets users of ours in who are in the other room, and only those", func() {
		dan := one.user("dan")
		err := one.rooms.Join(ctx, rooms.JoinRequest{User: dan, Room: roomID})
		Expect(code(err)).To(Equal("M_FORBIDDEN"))
		one.join(dan, club)
		one.join(dan, roomID)
		Expect(string(one.current(roomID, "m.room.member", string(dan)).Content())).To(ContainSubstring(string(alice)))
	})

	It("lets users of others in who are in the other room, and only those", func() {
		request := rooms.JoinRequest{User: bob, Room: roomID, Via: []id.ServerName{one.name}}
		Expect(code(two.rooms.Join(ctx, request))).To(Equal("M_FORBIDDEN"))
		two.join(bob, club, one.name)
		two.join(bob, roomID, one.name)
		agree(roomID, one, two)
		joined := two.current(roomID, "m.room.member", string(bob))
		Expect(joined.Signatures()).To(HaveKey(one.name))
		one.sees(two.say(bob, roomID, "in"))
	})

	It("asks the next server when one can't judge or can't let in", func() {
		// Three is in the room by an invite, but not in the club.
		Expect(one.rooms.Invite(ctx, rooms.MembershipRequest{Room: roomID, Sender: alice, Target: carol})).To(Succeed())
		three.join(carol, roomID)
		two.join(bob, club, one.name)
		two.join(bob, roomID, three.name, one.name)
		agree(roomID, one, two, three)
	})

	It("goes to another server for a user that its own users may not invite", func() {
		Expect(one.rooms.Invite(ctx, rooms.MembershipRequest{Room: roomID, Sender: alice, Target: bob})).To(Succeed())
		two.join(bob, roomID)
		two.join(bob, club, one.name)
		dora := two.user("dora")
		two.join(dora, club)
		Eventually(func() string { return one.membership(club, dora) }).Should(Equal("join"))
		two.join(dora, roomID) // two is in the room, but bob may not invite
		agree(roomID, one, two)
		Expect(two.current(roomID, "m.room.member", string(dora)).Signatures()).To(HaveKey(one.name))
		emil := two.user("emil")
		two.join(emil, club)
		Eventually(func() string { return one.membership(club, emil) }).Should(Equal("join"))
		two.join(emil, roomID, "gone.test") // it knows better than a link that is old
	})
})
