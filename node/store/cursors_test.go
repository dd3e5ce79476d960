package store_test

import (
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
	"hanse/node/store"
)

var _ = onEach("What went out", func(db *fixture) {
	It("is not a write for each server, and is known after a restart", func(ctx SpecContext) {
		a := must(create(db.Store, roomversion.V10))
		var servers []id.ServerName
		for i := range 1200 {
			servers = append(servers, id.ServerName(fmt.Sprintf("s%d.example", i)))
		}
		e := a.foreign(message(alice, "to many"))
		commit := commitOf(a, e)
		commit.Send = []room.Send{{Event: e, Servers: servers}}
		Expect(db.Commit(ctx, commit, store.CommitOptions{})).Error().NotTo(HaveOccurred())
		before := db.Stats().Operations
		for _, server := range servers {
			batch := must(db.Next(ctx, server, 50, 100))
			Expect(batch.PDUs).To(HaveLen(1))
			Expect(db.Done(ctx, server, batch)).To(Succeed())
			Expect(must(db.Next(ctx, server, 50, 100)).Empty()).To(BeTrue())
		}
		Expect(db.Stats().Operations-before).To(BeNumerically("<", 600), "operations: one a second and half a thousand servers")
		Expect(must(db.Destinations(ctx))).To(BeEmpty())
		db.restart()
		Expect(must(db.Destinations(ctx))).To(BeEmpty())
	})

	It("is not noted as less than it was, where the notes of two deliveries are written together", func(ctx SpecContext) {
		a := must(create(db.Store, roomversion.V10))
		e := a.foreign(message(alice, "first"))
		commit := commitOf(a, e)
		commit.Send = []room.Send{{Event: e, Servers: []id.ServerName{there}}}
		Expect(db.Commit(ctx, commit, store.CommitOptions{})).Error().NotTo(HaveOccurred())
		Expect(db.QueueEDUs(ctx, store.QueuedEDU{Type: "m.test", Content: []byte("{}"), Destinations: []id.ServerName{there}, Keep: true})).To(Succeed())
		release := db.HoldWriter()
		event := must(db.Next(ctx, there, 50, 0))
		Expect(event.PDUs).To(HaveLen(1))
		Expect(db.Done(ctx, there, event)).To(Succeed())
		edu := must(db.Next(ctx, there, 50, 100))
		Expect(edu.EDUs).To(HaveLen(1))
		done := make(chan error, 1)
		go func() { done <- db.Done(ctx, there, edu) }()
		Eventually(db.Queued).ShouldNot(BeZero())
		Eventually(db.Queued).Should(Equal(2), "the first one's note, which Run writes, is behind")
		release()
		Expect(<-done).To(Succeed())
		Expect(db.Destinations(ctx)).To(BeEmpty())
		db.restart()
		Expect(db.Destinations(ctx)).To(BeEmpty())
	})
})
