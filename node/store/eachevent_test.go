package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/node/store"
)

var _ = onEach("EachEvent", func(db *fixture) {
	It("gives each event once as it may be served, wherever it is stored", func(ctx SpecContext) {
		for _, version := range []roomversion.Version{roomversion.V1, roomversion.V12} {
			a := must(create(db.Store, version))
			var drafts []event.Draft
			for i := range 1800 { // so many that it is asked first where some of them are, and a third of them still
				text := fmt.Sprint(i)
				if i > 900 && i < 1000 { // more than is read together
					text += strings.Repeat(" ", 50_000)
				}
				drafts = append(drafts, message(alice, text))
			}
			said := eventIDs(must(a.propose(store.CommitOptions{}, drafts...)))
			redacting := must(a.propose(store.CommitOptions{}, event.Draft{Type: "m.room.redaction", Sender: alice, Redacts: said[7],
				Content: []byte(`{"redacts":"` + string(said[7]) + `"}`)}))[0]
			Expect(db.ApplyRedactions(ctx, []store.Redaction{{Target: said[7], By: redacting.ID()}})).To(Succeed())
			var sparse []id.EventID
			for i := 0; i < len(said); i += 3 {
				sparse = append(sparse, said[i])
			}
			asked := slices.Concat(said, []id.EventID{"$nobody has it"})
			for range 2 { // the first room is in the tail, the second has gone to the index; again after a start
				for _, ids := range [][]id.EventID{asked, sparse, nil} {
					rows := must(db.Events(ctx, ids))
					given := map[id.EventID]bool{}
					Expect(db.EachEvent(ctx, a.id(), ids, func(e store.ServedEvent) error {
						Expect(given[e.ID]).To(BeFalse())
						given[e.ID] = true
						want := rows[e.ID].Event
						Expect(string(e.JSON)).To(Equal(string(want.JSON())))
						Expect(e.Auth).To(Equal(want.AuthEvents()))
						Expect(e.Depth).To(Equal(want.Depth()))
						_, err := db.Store.Events(ctx, said[:1]) // it may read
						return err
					})).To(Succeed())
					Expect(given).To(HaveLen(len(rows)))
				}
				db.restart()
			}
		}
	})

	It("never waits for itself, however many read at once", func(ctx SpecContext) {
		a := must(create(db.Store, roomversion.V12))
		var drafts []event.Draft
		for i := range 1200 {
			drafts = append(drafts, message(alice, fmt.Sprint(i)))
		}
		said := eventIDs(must(a.propose(store.CommitOptions{}, drafts...)))
		var all errgroup.Group
		for range 20 { // more than there are connections
			all.Go(func() error {
				given := 0
				err := db.EachEvent(ctx, a.id(), said, func(store.ServedEvent) error {
					if given++; given%100 != 0 {
						return nil
					}
					_, _, err := db.StateBefore(ctx, said[given-1])
					return err
				})
				if err == nil && given != len(said) {
					err = fmt.Errorf("%d of %d events", given, len(said))
				}
				return err
			})
		}
		Expect(all.Wait()).To(Succeed())
	})

	It("ends with the first error, and when its context does", func(ctx SpecContext) {
		a := must(create(db.Store, roomversion.V12))
		var drafts []event.Draft
		for i := range 1000 {
			drafts = append(drafts, message(alice, fmt.Sprint(i)))
		}
		said := eventIDs(must(a.propose(store.CommitOptions{}, drafts...)))
		enough, given := errors.New("enough"), 0
		Expect(db.EachEvent(ctx, a.id(), said, func(store.ServedEvent) error {
			given++
			return enough
		})).To(MatchError(enough))
		Expect(given).To(Equal(1))
		ending, end := context.WithCancel(ctx)
		Expect(db.EachEvent(ending, a.id(), said, func(store.ServedEvent) error {
			end()
			return nil
		})).To(MatchError(context.Canceled))
	})
})
