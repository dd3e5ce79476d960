package rooms_test

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
	"hanse/node/rooms"
)

var _ = Describe("jumping to a date", func() {
	var (
		w          *world
		one, two   *host
		alice, bob id.UserID
		roomID     id.RoomID
		said       []id.EventID
		ctx        = context.Background()
	)
	const apart = int64(4)
	var first int64
	// fill sends messages some milliseconds apart, later than the room's own events, and waits for the time of the last one.
	fill := func(n int) {
		GinkgoHelper()
		said, first = nil, time.Now().UnixMilli()+2
		for i := range n {
			req := message(alice, roomID, fmt.Sprint(i))
			req.TS = first + int64(i)*apart
			eventID, err := one.rooms.Send(ctx, req)
			Expect(err).NotTo(HaveOccurred())
			said = append(said, eventID)
		}
		time.Sleep(time.Until(time.UnixMilli(first + int64(n)*apart)))
	}
	at := func(h *host, user id.UserID, ts int64, forward bool) (id.EventID, error) {
		answer, err := h.rooms.TimestampToEvent(ctx, user, federation.TimestampRequest{RoomID: roomID, TS: ts, Forward: forward})
		return answer.EventID, err
	}
	BeforeEach(func() {
		w = newWorld()
		one, two = w.start("one.test"), w.start("two.test", limited(rooms.Limits{Backfill: 20}))
		alice, bob = one.user("alice"), two.user("bob")
		roomID = one.create(rooms.CreateRequest{})
	})

	It("finds the closest event in either direction", func() {
		fill(40)
		for _, i := range []int{0, 1, 17, 39} {
			Expect(at(one, alice, first+int64(i)*apart, true)).To(Equal(said[i]))
			Expect(at(one, alice, first+int64(i)*apart, false)).To(Equal(said[i]))
			Expect(at(one, alice, first+int64(i)*apart-1, true)).To(Equal(said[i]))
			Expect(at(one, alice, first+int64(i)*apart+1, false)).To(Equal(said[i]))
		}
		_, err := at(one, alice, first+100_000, true)
		Expect(code(err)).To(Equal("M_NOT_FOUND"))
		_, err = at(one, alice, 1, false)
		Expect(code(err)).To(Equal("M_NOT_FOUND"))
		_, err = at(one, one.user("eve"), first, true)
		Expect(code(err)).To(Equal("M_FORBIDDEN"))
	})

	It("finds the first of those sent at the same time, or the last of them when it goes back", func() {
		fill(3)
		for i := range 4 {
			req := message(alice, roomID, fmt.Sprint("of one time ", i))
			req.TS = first + 20*apart
			eventID, err := one.rooms.Send(ctx, req)
			Expect(err).NotTo(HaveOccurred())
			said = append(said, eventID)
		}
		for _, offset := range []int64{0, 1} {
			Expect(at(one, alice, first+20*apart-offset, true)).To(Equal(said[3]))
			Expect(at(one, alice, first+20*apart+offset, false)).To(Equal(said[6]))
		}
	})

	It("finds an event whose clock went wrong", func() {
		fill(10)
		req := message(alice, roomID, "from the past")
		req.TS = first + 3*apart + 2
		odd, err := one.rooms.Send(ctx, req)
		Expect(err).NotTo(HaveOccurred())
		Expect(at(one, alice, first+3*apart+1, true)).To(Equal(odd))
		Expect(at(one, alice, first+3*apart+3, false)).To(Equal(odd))
	})

	It("isn't led astray by those whose clocks are wrong", func() {
		said, first = nil, time.Now().UnixMilli()-500_000
		for i := range 500 {
			req := message(alice, roomID, fmt.Sprint(i))
			req.TS = first + int64(i)*1000
			switch i % 5 {
			case 1, 2:
				req.TS += 1 << 40 // of a far future
			}
			eventID, err := one.rooms.Send(ctx, req)
			Expect(err).NotTo(HaveOccurred())
			said = append(said, eventID)
		}
		for i := 0; i < 500; i += 35 {
			Expect(at(one, alice, first+int64(i)*1000-1, true)).To(Equal(said[i]), "message %d", i)
			Expect(at(one, alice, first+int64(i)*1000+1, false)).To(Equal(said[i]), "message %d", i)
		}
	})

	DescribeTable("finds its way among events of one depth, the greatest there is", func(version roomversion.Version, depth int64) {
		roomID = one.create(rooms.CreateRequest{Version: version})
		two.join(bob, roomID, one.name)
		info, _, err := one.store.Room(ctx, roomID)
		Expect(err).NotTo(HaveOccurred())
		deep := two.forged(bob, roomID, info.Forward, depth, 1)
		verdicts, err := one.rooms.Submit(ctx, two.name, roomID, deep)
		Expect(err).NotTo(HaveOccurred())
		Expect(verdicts[0].Status).To(Equal(room.Accepted))
		fill(260)
		for i := 0; i < 260; i += 37 {
			Expect(at(one, alice, first+int64(i)*apart, true)).To(Equal(said[i]), "message %d", i)
			Expect(at(one, alice, first+int64(i)*apart, false)).To(Equal(said[i]), "message %d", i)
		}
		history, err := one.rooms.Messages(ctx, rooms.MessagesRequest{User: alice, Room: roomID, Backwards: true, Limit: 10})
		Expect(err).NotTo(HaveOccurred())
		Expect(history.Events[0].Event.ID()).To(Equal(said[259]))
	},
		Entry("by today's room versions", roomversion.V10, int64(1<<53-1)),
		Entry("by the first ones", roomversion.V5, int64(1<<53-1)), // their own is 2^63−1, which some servers drop
	)

	It("shows the first that they may see to who came later", func() {
		one.set(alice, roomID, "m.room.history_visibility", "", `{"history_visibility":"joined"}`)
		fill(250)
		dan := one.user("dan")
		one.join(dan, roomID)
		Expect(at(one, dan, first+5*apart, true)).To(Equal(one.current(roomID, "m.room.member", string(dan)).ID()))
	})

	It("asks other servers where history is missing, and fetches it", func() {
		fill(60)
		two.join(bob, roomID, one.name)
		Expect(two.has(said[30])).To(BeFalse())
		Expect(at(two, bob, first+30*apart-1, true)).To(Equal(said[30]))
		Expect(two.has(said[30])).To(BeTrue(), "a client can go on from there")
		w.cut(one)
		Expect(at(two, bob, first+20*apart+1, true)).NotTo(BeEmpty(), "what is there is answered when nobody can be asked")
	})

	It("tells a server only of what it may see", func() {
		one.set(alice, roomID, "m.room.history_visibility", "", `{"history_visibility":"joined"}`)
		fill(10)
		one.set(alice, roomID, "m.room.topic", "", `{"topic":"it is given this, but its users may not see it either"}`)
		two.join(bob, roomID, one.name)
		answer, err := one.rooms.ServerTimestampToEvent(ctx, two.name, federation.TimestampRequest{RoomID: roomID, TS: first + 5*apart, Forward: true})
		Expect(err).NotTo(HaveOccurred())
		Expect(answer.EventID).To(Equal(one.current(roomID, "m.room.member", string(bob)).ID()))
		answer, err = one.rooms.ServerTimestampToEvent(ctx, one.name, federation.TimestampRequest{RoomID: roomID, TS: first + 5*apart, Forward: false})
		Expect(err).NotTo(HaveOccurred())
		Expect(answer.EventID).To(Equal(said[5]))
		_, err = one.rooms.ServerTimestampToEvent(ctx, "stranger.test", federation.TimestampRequest{RoomID: roomID, TS: first, Forward: true})
		Expect(code(err)).To(Equal("M_FORBIDDEN"))
		shown, err := at(two, bob, first+5*apart, true)
		Expect(err).NotTo(HaveOccurred())
		Expect(said).NotTo(ContainElement(shown))
	})
})
