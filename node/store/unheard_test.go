package store_test

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
	"hanse/node/store"
)

// What Expect remembers must never hide what comes after it, whichever way an event comes to be named.
var _ = onEach("An event that was expected", func(db *fixture) {
	var a *actor
	var expected *event.Event
	// asked tells what is known of the expected event.
	asked := func(ctx context.Context) (known, gap bool, redactions int) {
		GinkgoHelper()
		wanted := []id.EventID{expected.ID()}
		known = must(db.Known(ctx, wanted))[expected.ID()]
		Expect(must(db.Events(ctx, wanted))).To(HaveLen(map[bool]int{true: 1}[known]))
		gap = must(db.Source(ctx, a.rules).Referenced(wanted))[expected.ID()]
		return known, gap, len(must(db.PendingRedactions(ctx, expected.ID())))
	}
	awaitFilter := func() {
		GinkgoHelper()
		Eventually(db.NamedRead, time.Minute, time.Millisecond).Should(BeTrue())
	}
	BeforeEach(func(ctx SpecContext) {
		awaitFilter()
		a = must(create(db.Store, roomversion.V10))
		must(a.propose(store.CommitOptions{}, message(alice, "first")))
		expected = a.foreign(message(alice, "expected"))
		Expect(db.Expect(ctx, []id.EventID{expected.ID()})).To(Succeed())
		known, gap, redactions := asked(ctx)
		Expect([]any{known, gap, redactions}).To(Equal([]any{false, false, 0}))
		Expect(db.MayBeNamed(expected.ID())).To(BeFalse(), "by the filter")
	})
	DescribeTable("is found", func(ctx SpecContext, come func(context.Context), want ...any) {
		again := func(when string) {
			GinkgoHelper()
			known, gap, redactions := asked(ctx)
			Expect([]any{known, gap, redactions}).To(Equal(want), when)
			Expect(db.Expect(ctx, []id.EventID{expected.ID()})).To(Succeed())
			known, gap, redactions = asked(ctx)
			Expect([]any{known, gap, redactions}).To(Equal(want), when+", expected again")
		}
		come(ctx)
		again("at once")
		Expect(db.Clean(ctx, time.Now())).To(Succeed())
		again("in the indexes")
		Expect(db.MayBeNamed(expected.ID())).To(BeTrue(), "by the filter")
		db.restart()
		again("after a start")
		awaitFilter()
		again("by the filter of a start")
		Expect(db.MayBeNamed("$another")).To(BeFalse(), "by the filter")
		db.ForgetNamed()
		again("without the filter")
	},
		Entry("once it has come", func(context.Context) { a.receive(expected) }, true, false, 0),
		Entry("once it has come as an outlier", func(ctx context.Context) {
			c := commitOf(a, expected)
			c.Events[0].Outlier = true
			must(db.Commit(ctx, c, store.CommitOptions{}))
		}, true, false, 0),
		Entry("once it has come as history", func(ctx context.Context) {
			c := commitOf(a, expected)
			c.Events[0].Backfilled = true
			must(db.Commit(ctx, c, store.CommitOptions{}))
		}, true, false, 0),
		Entry("once it is missed", func(ctx context.Context) {
			c := commitOf(a, a.foreign(message(alice, "on top"), expected.ID()))
			c.Events[0].Gap = true
			must(db.Commit(ctx, c, store.CommitOptions{}))
		}, false, true, 0),
		Entry("once it is redacted", func(context.Context) {
			d := event.Draft{Type: "m.room.redaction", Sender: alice, Redacts: expected.ID(), Content: []byte("{}")}
			Expect(a.receive(a.foreign(d))[0].Status).To(Equal(room.Accepted))
		}, false, false, 1),
	)
	It("is found by the commit that brings it again", func(ctx SpecContext) {
		a.receive(expected)
		before := must(db.Events(ctx, []id.EventID{expected.ID()}))[expected.ID()]
		c := commitOf(a, expected)
		c.Events[0].Outlier = true
		must(db.Commit(ctx, c, store.CommitOptions{}))
		Expect(must(db.Events(ctx, []id.EventID{expected.ID()}))[expected.ID()].Position).To(Equal(before.Position))
	})
})

var _ = onEach("A client's transaction that was looked for", func(db *fixture) {
	DescribeTable("is found once it was used", func(ctx SpecContext, alter func(*room.Committed)) {
		a := must(create(db.Store, roomversion.V10))
		txn := store.ClientTxn{User: alice, Device: "A", Endpoint: "send", TxnID: "1"}
		look := func() (id.EventID, bool) {
			GinkgoHelper()
			e, used, err := db.ClientTxn(ctx, txn.User, txn.Device, txn.Endpoint, txn.TxnID)
			Expect(err).NotTo(HaveOccurred())
			return e, used
		}
		for range 2 {
			_, used := look()
			Expect(used).To(BeFalse())
		}
		c := commitOf(a, a.foreign(message(alice, "once")))
		alter(&c.Events[0])
		txn.EventID = c.Events[0].Event.ID()
		must(db.Commit(ctx, c, store.CommitOptions{ClientTxns: []store.ClientTxn{txn}}))
		e, used := look()
		Expect(used).To(BeTrue())
		Expect(e).To(Equal(txn.EventID))
		again := commitOf(a, a.foreign(message(alice, "twice")))
		txn.EventID = again.Events[0].Event.ID()
		_, err := db.Commit(ctx, again, store.CommitOptions{ClientTxns: []store.ClientTxn{txn}})
		Expect(err).To(MatchError(store.ErrClientTxnUsed))
	},
		Entry("for a message", func(*room.Committed) {}),
		Entry("for what isn't among the newest", func(c *room.Committed) { c.Status = room.SoftFailed }),
	)
})
