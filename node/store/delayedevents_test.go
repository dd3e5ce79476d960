package store_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/node/store"
)

var _ = onEach("Delayed events", func(db *fixture) {
	now := time.Now().Truncate(time.Millisecond)
	event := func(delayID string, in time.Duration) store.DelayedEvent {
		return store.DelayedEvent{
			ID: delayID, User: alice, Room: "!r:x", Type: strange, Content: []byte(`{"a":1}`), Delay: in, RunningSince: now, SendAt: now.Add(in),
		}
	}
	add := func(ctx SpecContext, e store.DelayedEvent, txn string) string {
		GinkgoHelper()
		delayID, _, err := db.AddDelayedEvent(ctx, e, []byte(txn), 3)
		Expect(err).NotTo(HaveOccurred())
		return delayID
	}

	It("are kept as they are, once a transaction, and so many of a user", func(ctx SpecContext) {
		late, state, whole := event("late", time.Hour), event("state", time.Minute), event("whole", time.Second)
		state.StateKey, state.Redacts, state.TS = new(string), "$e", 7
		text := strange
		whole.StateKey = &text
		Expect(add(ctx, late, "1")).To(Equal("late"))
		Expect(add(ctx, state, "2")).To(Equal("state"))
		Expect(add(ctx, event("again", time.Second), "2")).To(Equal("state"))
		Expect(add(ctx, whole, "3")).To(Equal("whole"))
		_, next, err := db.AddDelayedEvent(ctx, event("more", time.Second), []byte("4"), 3)
		Expect(err).To(MatchError(store.ErrFull))
		Expect(next).To(Equal(now.Add(time.Second)))
		his := event("his", 2*time.Second)
		his.User = dora
		Expect(add(ctx, his, "1")).To(Equal("his"))
		for range 2 {
			Expect(must(db.DelayedEventsOf(ctx, alice))).To(Equal([]store.DelayedEvent{whole, state, late}))
			Expect(must(db.NextDelayedEvents(ctx, 2))).To(Equal([]store.DelayedEvent{{ID: "whole", SendAt: whole.SendAt}, {ID: "his", SendAt: his.SendAt}}))
			db.restart()
		}

		Expect(db.MoveDelayedEvent(ctx, "whole", now.Add(time.Minute), now.Add(2*time.Hour))).To(Succeed())
		got, found, err := db.DelayedEvent(ctx, "whole")
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeTrue())
		Expect([]time.Time{got.RunningSince, got.SendAt}).To(Equal([]time.Time{now.Add(time.Minute), now.Add(2 * time.Hour)}))
		Expect(db.DeleteDelayedEvent(ctx, "whole")).To(Succeed())
		Expect(db.DeleteDelayedEvent(ctx, "whole")).To(MatchError(store.ErrNotFound))
		Expect(db.MoveDelayedEvent(ctx, "whole", now, now)).To(MatchError(store.ErrNotFound))
		_, found, err = db.DelayedEvent(ctx, "whole")
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeFalse())
		Expect(add(ctx, event("more", time.Second), "4")).To(Equal("more"))
	})
	It("have none by an ID that nothing can have", func(ctx SpecContext) {
		for _, delayID := range []string{"", "a\x00b", "\xff"} {
			_, found, err := db.DelayedEvent(ctx, delayID)
			Expect(err).NotTo(HaveOccurred())
			Expect(found).To(BeFalse())
		}
	})

	It("are gone with an account", func(ctx SpecContext) {
		for _, user := range []id.UserID{alice, dora} {
			e := event("of "+string(user), time.Hour)
			e.User = user
			Expect(add(ctx, e, "1")).To(Equal(e.ID))
		}
		Expect(db.CreateUser(ctx, store.User{ID: alice, Created: now})).To(Succeed())
		Expect(db.Deactivate(ctx, alice, false)).To(Succeed())
		Expect(must(db.DelayedEventsOf(ctx, alice))).To(BeEmpty())
		Expect(must(db.DelayedEventsOf(ctx, dora))).To(HaveLen(1))
	})
})
