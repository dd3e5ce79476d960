package store_test

import (
	"encoding/json"
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
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
})

// words is a crude way to split.
func words(e *event.Event) []string {
	if e.Type() != "m.room.message" {
		return nil
	}
	var content struct{ Body string }
	Expect(json.Unmarshal(e.Content(), &content)).To(Succeed())
	return []string{content.Body, "all"}
}

// names are the words of who is in a room.
func names(e *event.Event) (id.UserID, []string) {
	user, _ := e.StateKey()
	return id.UserID(user), []string{id.UserID(user).Localpart()}
}

var _ = onEach("the index of words", func(db *fixture) {
	// note notes everything, in batches of two, and gives the number of batches.
	note := func(ctx SpecContext, most int) (batches int) {
		GinkgoHelper()
		for batches < most {
			b := must(db.Unsearched(ctx, 2))
			if b.Empty() {
				return batches
			}
			Expect(db.AddSearched(ctx, b, words, names)).To(Succeed())
			batches++
		}
		return batches
	}
	find := func(ctx SpecContext, upto store.Position, limit int, rooms []id.RoomID, words ...string) []id.EventID {
		GinkgoHelper()
		var found []id.EventID
		for _, f := range must(db.FindWords(ctx, rooms, words, upto, limit)) {
			found = append(found, f.Event.ID())
		}
		return found
	}

	It("goes on where it was after a restart, and takes history and what got its place late", func(ctx SpecContext) {
		a, b := must(create(db.Store, "12")), must(create(db.Store, "12"))
		one := must(a.propose(store.CommitOptions{}, message(alice, "one")))[0]
		two := must(b.propose(store.CommitOptions{}, message(alice, "two")))[0]
		old := a.foreign(message(alice, "old"))
		late := a.foreign(message(alice, "late"), old.ID())
		outlier := commitOf(a, late)
		outlier.Events[0] = room.Committed{Event: late, Outlier: true}
		must(db.Commit(ctx, outlier, store.CommitOptions{}))
		Expect(note(ctx, 2)).To(Equal(2))
		db.restart()
		b = must(load(db.Store, b.id()))
		note(ctx, 99)
		both := []id.RoomID{a.id(), b.id()}
		Expect(find(ctx, db.Position(), 9, both, "all")).To(Equal([]id.EventID{two.ID(), one.ID()}))

		history := commitOf(a, old)
		history.Events[0].Backfilled = true
		must(db.Commit(ctx, history, store.CommitOptions{}))
		must(db.Commit(ctx, commitOf(a, late), store.CommitOptions{}))
		three := must(b.propose(store.CommitOptions{}, message(alice, "three")))[0]
		note(ctx, 99)
		Expect(note(ctx, 99)).To(BeZero(), "nothing is noted twice")
		Expect(find(ctx, db.Position(), 9, both, "all")).To(Equal([]id.EventID{three.ID(), late.ID(), two.ID(), one.ID(), old.ID()}))
		Expect(find(ctx, db.Position(), 2, both, "all")).To(Equal([]id.EventID{three.ID(), late.ID()}))
		Expect(find(ctx, db.Position(), 9, both[:1], "all", "old")).To(Equal([]id.EventID{old.ID()}))
		Expect(find(ctx, db.Position(), 9, both[1:], "all", "old")).To(BeEmpty())
		Expect(find(ctx, -1, 9, both, "all")).To(Equal([]id.EventID{old.ID()}))
	})
})
