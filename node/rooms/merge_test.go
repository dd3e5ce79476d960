package rooms_test

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/authrules"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
	"hanse/node/rooms"
	"hanse/testnet/wholestate"
)

// forged are n messages of a user of the server, each on top of the given events, made without the room's knowledge.
func (h *host) forged(user id.UserID, roomID id.RoomID, prev []id.EventID, depth int64, n int) []*event.Event {
	GinkgoHelper()
	info, _, err := h.store.Room(context.Background(), roomID)
	Expect(err).NotTo(HaveOccurred())
	var events []*event.Event
	for i := range n {
		d := event.Draft{
			RoomID: roomID, Type: "m.room.message", Sender: user, Content: json.RawMessage(fmt.Sprintf(`{"body":"%d"}`, i)),
			PrevEvents: prev, Depth: depth, OriginServerTS: time.Now().UnixMilli(),
		}
		for _, k := range authrules.Selection(info.Rules, d.Type, nil, user, d.Content) {
			if a, ok := wholestate.Get(h.state(roomID), k.Type, k.StateKey); ok {
				d.AuthEvents = append(d.AuthEvents, a)
			}
		}
		e, err := d.Sign(info.Rules, h.name, h.key.Current)
		Expect(err).NotTo(HaveOccurred())
		events = append(events, e)
	}
	return events
}

var _ = Describe("many forward extremities", func() {
	DescribeTable("are merged though nobody speaks", func(version roomversion.Version) {
		ctx := context.Background()
		w := newWorld()
		one, two := w.start("one.test"), w.start("two.test")
		roomID := one.create(rooms.CreateRequest{Version: version})
		two.join(two.user("bob"), roomID, one.name)
		agree(roomID, one, two)
		info, _, err := one.store.Room(ctx, roomID)
		Expect(err).NotTo(HaveOccurred())
		for _, e := range two.forged(two.user("bob"), roomID, info.Forward, info.Depth+1, 40) {
			verdicts, err := one.rooms.Submit(ctx, two.name, roomID, []*event.Event{e})
			Expect(err).NotTo(HaveOccurred())
			Expect(verdicts[0].Status).To(Equal(room.Accepted))
		}
		Eventually(func() int {
			info, _, err := one.store.Room(ctx, roomID)
			Expect(err).NotTo(HaveOccurred())
			return len(info.Forward)
		}).Should(BeNumerically("<=", room.MaxPrevEvents))
		Eventually(func() int64 { return one.rooms.Stats().Merged }).Should(BeNumerically(">", 0))
		Consistently(func() bool { return two.has(newest(one, roomID)) }).WithTimeout(50*time.Millisecond).Should(BeFalse(), "nobody is told")
		two.sees(one.say(one.user("alice"), roomID, "hello")) // they find it below what is said next
		two.sees(newest(one, roomID))
	}, Entry("version 2", roomversion.Version("2")), Entry("version 12", roomversion.Version("12")))

	It("stay where nobody of ours may send", func() {
		ctx := context.Background()
		w := newWorld()
		one, two := w.start("one.test"), w.start("two.test")
		roomID := two.create(rooms.CreateRequest{Creator: two.user("bob"), PowerLevelOverride: json.RawMessage(`{"events_default": 50}`)})
		one.join(one.user("alice"), roomID, two.name)
		agree(roomID, one, two)
		info, _, err := one.store.Room(ctx, roomID)
		Expect(err).NotTo(HaveOccurred())
		_, err = one.rooms.Submit(ctx, two.name, roomID, two.forged(two.user("bob"), roomID, info.Forward, info.Depth+1, 20))
		Expect(err).NotTo(HaveOccurred())
		Consistently(func() int64 { return one.rooms.Stats().Merged }).WithTimeout(100 * time.Millisecond).Should(BeZero())
		one.sees(two.say(two.user("bob"), roomID, "the room goes on"))
	})
})

// newest is a forward extremity of the room.
func newest(h *host, roomID id.RoomID) id.EventID {
	info, _, err := h.store.Room(context.Background(), roomID)
	Expect(err).NotTo(HaveOccurred())
	return info.Forward[0]
}

var _ = Describe("a state reset", func() {
	It("is counted when a merge takes back what was in force", func() {
		w := newWorld()
		one, two := w.start("one.test"), w.start("two.test")
		alice, bob := one.user("alice"), two.user("bob")
		roomID := one.create(rooms.CreateRequest{Version: "10", PowerLevelOverride: json.RawMessage(fmt.Sprintf(`{"users": {%q: 100, %q: 50}}`, alice, bob))})
		two.join(bob, roomID, one.name)
		agree(roomID, one, two)
		two.set(bob, roomID, "m.room.topic", "", `{"topic":"before"}`)
		agree(roomID, one, two)
		Expect(two.rooms.Stats().Resets).To(BeZero(), "a room that is whole has none")

		w.cut(two)
		two.set(bob, roomID, "m.room.topic", "", `{"topic":"said while alone"}`)
		one.set(alice, roomID, "m.room.power_levels", "", fmt.Sprintf(`{"users": {%q: 100}}`, alice))
		w.heal(two)
		two.sees(one.say(alice, roomID, "are you there?"))
		Eventually(func() int64 { return two.rooms.Stats().Resets }).Should(BeNumerically(">", 0))
		if topic := two.current(roomID, "m.room.topic", ""); topic != nil { // what bob may no longer set is gone, all of it
			Expect(string(topic.Content())).NotTo(ContainSubstring("alone"))
		}
	})
})
