package rooms_test

import (
	"context"
	"encoding/json"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/rooms"
	"hanse/node/store"
)

var _ = Describe("how an event came", func() {
	// came is an event's arrival, which must be of just now.
	came := func(h *host, e id.EventID) store.Arrival {
		GinkgoHelper()
		a, err := h.store.Arrival(context.Background(), e)
		Expect(err).NotTo(HaveOccurred())
		Expect(time.Since(a.At)).To(BeNumerically("<", time.Minute))
		a.At = time.Time{}
		return a
	}

	It("is kept, whichever way it was", func(ctx SpecContext) {
		w := newWorld()
		one, two := w.start("one.test"), w.start("two.test")
		alice, bob := one.user("alice"), two.user("bob")
		roomID := one.create(rooms.CreateRequest{})
		before := one.say(alice, roomID, "before bob came")
		two.join(bob, roomID, one.name)
		joined := two.current(roomID, "m.room.member", string(bob)).ID()
		Expect(came(one, before)).To(Equal(store.Arrival{How: store.Local}))
		Expect(came(two, joined)).To(Equal(store.Arrival{How: store.Join, From: one.name}))
		Expect(came(one, joined)).To(Equal(store.Arrival{How: store.Handshake, From: two.name}))
		// By a transaction.
		said := one.say(alice, roomID, "hello")
		two.sees(said)
		Expect(came(two, said)).To(Equal(store.Arrival{How: store.Transaction, From: one.name}))
		// By asking, since somebody looked back.
		page, err := two.rooms.Messages(ctx, rooms.MessagesRequest{User: bob, Room: roomID, Backwards: true, Limit: 100})
		Expect(err).NotTo(HaveOccurred())
		Expect(page.Events).NotTo(BeEmpty())
		Eventually(func() bool { return two.has(before) }).Should(BeTrue())
		Expect(came(two, before)).To(Equal(store.Arrival{How: store.Backfill, From: one.name}))
		Expect(two.state(roomID).Len()).To(BeNumerically(">", 5))
	})

	It("is by being asked for where another event stands on it, and by the transaction for that one", func() {
		w := newWorld()
		one, two := w.start("one.test", silent), w.start("two.test", limited(rooms.Limits{CatchUpAfter: time.Hour}))
		alice, bob := one.user("alice"), two.user("bob")
		roomID := one.create(rooms.CreateRequest{})
		two.join(bob, roomID, one.name)
		missed := one.say(alice, roomID, "nobody hears this")
		last := one.say(alice, roomID, "nor this")
		row, _, err := one.store.Event(context.Background(), last)
		Expect(err).NotTo(HaveOccurred())
		_, err = one.client.SendTransaction(context.Background(), two.name, "by hand", federation.Transaction{Origin: one.name, PDUs: []json.RawMessage{row.Event.JSON()}})
		Expect(err).NotTo(HaveOccurred())
		two.sees(missed, last)
		Expect(came(two, missed)).To(Equal(store.Arrival{How: store.Fetched, From: one.name}))
		Expect(came(two, last)).To(Equal(store.Arrival{How: store.Transaction, From: one.name}))
	})
})
