package store_test

import (
	"encoding/json"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/node/store"
)

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
