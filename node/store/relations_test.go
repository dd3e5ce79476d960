package store_test

import (
	"encoding/json"
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/node/store"
)

// relating is a message that relates to another event.
func relating(sender id.UserID, relType string, target id.EventID) event.Draft {
	return event.Draft{Type: "m.room.message", Sender: sender, Content: json.RawMessage(fmt.Sprintf(
		`{"body":"x","m.relates_to":{"event_id":%q,"key":"k","rel_type":%q},"msgtype":"m.text"}`, target, relType))}
}

var _ = onEach("what relates to an event", func(db *fixture) {
	var a *actor
	var root id.EventID
	say := func(drafts ...event.Draft) []id.EventID {
		GinkgoHelper()
		return eventIDs(must(a.propose(store.CommitOptions{}, drafts...)))
	}
	BeforeEach(func() {
		a = must(create(db.Store, "12"))
		root = say(message(alice, "root"))[0]
	})

	It("is found by kind, in the order of the room, after a restart too", func(ctx SpecContext) {
		thread := say(relating(alice, store.RelationThread, root), relating(alice, store.RelationThread, root))
		note := say(relating(alice, store.RelationAnnotation, root))[0]
		db.restart()
		Expect(must(db.RelationCounts(ctx, a.id(), []id.EventID{root, note}))).To(Equal([]store.RelationCount{
			{Target: root, Type: store.RelationThread, Sender: alice, Count: 2},
		}), "annotations are not counted")
		page := must(db.RelatedPage(ctx, a.id(), []id.EventID{root}, "", "", store.End(), store.Backward, 2))
		Expect(ids(page)).To(Equal([]id.EventID{note, thread[1]}))
		page = must(db.RelatedPage(ctx, a.id(), []id.EventID{root}, "", "", page[1].Topological(), store.Backward, 2))
		Expect(ids(page)).To(Equal(thread[:1]))
		forth := must(db.RelatedPage(ctx, a.id(), []id.EventID{root}, store.RelationThread, "m.room.message", store.Beginning(), store.Forward, 5))
		Expect(ids(forth)).To(Equal(thread))
		Expect(must(db.RelatedPage(ctx, "!other:x", []id.EventID{root}, "", "", store.End(), store.Backward, 2))).To(BeEmpty())
		Expect(must(db.Annotated(ctx, a.id(), root, alice, "m.room.message", "k"))).To(BeTrue())
		Expect(must(db.Annotated(ctx, a.id(), root, alice, "m.room.message", "other"))).To(BeFalse())
		Expect(must(db.RelatedBy(ctx, a.id(), root, []id.UserID{alice}, []string{store.RelationThread}))).To(BeTrue())
		Expect(must(db.RelatedBy(ctx, a.id(), root, []id.UserID{bob}, nil))).To(BeFalse())
	})

	It("is no more when it is redacted, and the thread's latest is the one before", func(ctx SpecContext) {
		thread := say(relating(alice, store.RelationThread, root), relating(alice, store.RelationThread, root))
		first, _, err := db.Event(ctx, thread[0])
		Expect(err).NotTo(HaveOccurred())
		for left := 1; left >= 0; left-- {
			Expect(db.ApplyRedactions(ctx, []store.Redaction{{Target: thread[left], By: "$by"}})).To(Succeed())
			Expect(must(db.RelatedPage(ctx, a.id(), []id.EventID{root}, "", "", store.End(), store.Backward, 9))).To(HaveLen(left))
			threads := must(db.Threads(ctx, a.id(), store.End(), 9))
			Expect(threads).To(HaveLen(left))
			if left == 1 {
				Expect(threads[0]).To(Equal(store.Thread{Root: root, Latest: first.Topological()}))
			}
		}
	})

	It("is found when the whole event comes after a redacted copy, and lasts", func(ctx SpecContext) {
		say(event.Draft{Type: "m.room.member", StateKey: new(string(bob)), Sender: alice, Content: json.RawMessage(`{"membership":"invite"}`)})
		a.receive(a.foreign(event.Draft{Type: "m.room.member", StateKey: new(string(bob)), Sender: bob, Content: json.RawMessage(`{"membership":"join"}`)}))
		whole := a.foreign(relating(bob, store.RelationThread, root))
		a.receive(whole.Redacted())
		Expect(must(db.RelatedPage(ctx, a.id(), []id.EventID{root}, "", "", store.End(), store.Backward, 9))).To(BeEmpty())
		for range 2 {
			a.receive(whole)
		}
		for range 2 {
			row, _, err := db.Event(ctx, whole.ID())
			Expect(err).NotTo(HaveOccurred())
			Expect(row.Event.JSON()).To(MatchJSON(whole.JSON()))
			Expect(ids(must(db.RelatedPage(ctx, a.id(), []id.EventID{root}, "", "", store.End(), store.Backward, 9)))).To(Equal([]id.EventID{whole.ID()}))
			Expect(must(db.Threads(ctx, a.id(), store.End(), 9))).To(HaveLen(1))
			db.restart()
		}
	})
})
