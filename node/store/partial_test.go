package store_test

import (
	"fmt"
	"math"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
	"hanse/node/store"
)

var _ = onEach("A room whose state isn't whole", func(db *fixture) {
	var (
		a    *actor
		join *event.Event
	)
	// timeline is what /sync shows after a position, and what /messages does.
	shown := func(ctx SpecContext, after store.Position) []id.EventID {
		GinkgoHelper()
		rows, _, err := db.Timeline(ctx, a.id(), after, math.MaxInt64, 100, false)
		Expect(err).NotTo(HaveOccurred())
		pages, _, err := db.Page(ctx, a.id(), store.Topological{Depth: math.MaxInt64, Position: math.MaxInt64}, store.Backward, 100, store.Topological{})
		Expect(err).NotTo(HaveOccurred())
		all := ids(pages)
		for _, row := range ids(rows) {
			Expect(all).To(ContainElement(row))
		}
		return ids(rows)
	}
	// commit writes events with a verdict, as a machine would.
	commit := func(ctx SpecContext, change func(*room.Commit), events ...room.Committed) {
		GinkgoHelper()
		c := room.Commit{RoomID: a.id(), Rules: a.rules, Current: a.machine.Current(), Forward: []id.EventID{join.ID()}, Depth: join.Depth(), Resident: true}
		for _, e := range events {
			e.Before, e.After = a.machine.Current(), a.machine.Current()
			c.Events = append(c.Events, e)
		}
		change(&c)
		_, err := db.Commit(ctx, c, store.CommitOptions{})
		Expect(err).NotTo(HaveOccurred())
	}
	// fill writes more events than the tail holds.
	fill := func(ctx SpecContext) {
		GinkgoHelper()
		for range 6 {
			var many []room.Committed
			for range 1000 {
				many = append(many, room.Committed{Event: a.foreign(message(bob, "more"))})
			}
			commit(ctx, func(*room.Commit) {}, many...)
		}
	}
	unsure := func(e *event.Event, status room.Status) room.Committed {
		return room.Committed{Event: e, Status: status, Reason: "by what is known", Unsure: true}
	}
	again := func(e *event.Event, status room.Status) room.Committed {
		return room.Committed{Event: e, Status: status, Reason: "by the whole state", Again: true}
	}
	BeforeEach(func(ctx SpecContext) {
		a = must(create(db.Store, roomversion.V11))
		join = must(a.propose(store.CommitOptions{}, member(alice, "join", alice)))[0]
		commit(ctx, func(c *room.Commit) {
			c.Partial = &room.PartialState{Join: join.ID(), Servers: []id.ServerName{bob.Server(), self}}
		})
	})

	It("has the servers that are said to be in it told of the devices of who joins", func(ctx SpecContext) {
		db.loggedIn(ctx, alice, "ONE")
		must(db.UploadKeys(ctx, store.KeyUpload{User: alice, Device: "ONE", DeviceKeys: []byte(`{}`)}))
		Expect(must(db.Next(ctx, bob.Server(), 50, 100)).EDUs).To(HaveLen(2), "a login and an upload")
		Expect(db.AnnounceJoin(ctx, alice, a.id())).To(Succeed())
		Expect(must(db.Next(ctx, bob.Server(), 50, 100)).EDUs).To(HaveLen(3))
	})

	It("has servers that nobody spoke of told of the devices that have changed meanwhile, when it is whole", func(ctx SpecContext) {
		db.loggedIn(ctx, alice, "ONE")
		commit(ctx, func(c *room.Commit) { c.Whole, c.Servers = true, map[id.ServerName]int{bob.Server(): 1, "far": 2} })
		Expect(must(db.Next(ctx, bob.Server(), 50, 100)).EDUs).To(HaveLen(1), "bob's server was told at once")
		edus := must(db.Next(ctx, "far", 50, 100)).EDUs
		Expect(edus).To(HaveLen(1))
		Expect(string(edus[0].Content)).To(And(ContainSubstring(`"device_id":"ONE"`), ContainSubstring(`"prev_id":[]`)))
	})

	It("has servers that have left it meanwhile told too, if they share another room", func(ctx SpecContext) {
		db.loggedIn(ctx, alice, "ONE")
		other := must(create(db.Store, roomversion.V11))
		_, err := db.Commit(ctx, room.Commit{
			RoomID: other.id(), Rules: other.rules, Current: other.machine.Current(), Resident: true, Servers: map[id.ServerName]int{"far": 1},
			Events: []room.Committed{{Event: other.foreign(message("@carol:far", "hello")), Before: other.machine.Current(), After: other.machine.Current()}},
		}, store.CommitOptions{})
		Expect(err).NotTo(HaveOccurred())
		var left []*event.Event
		for _, user := range []id.UserID{"@carol:far", "@dave:gone", "@erin:liar"} {
			left = append(left, a.foreign(member(user, "leave", user)))
		}
		commit(ctx, func(*room.Commit) {}, unsure(left[0], room.Accepted), unsure(left[1], room.Accepted), unsure(left[2], room.Accepted))
		commit(ctx, func(c *room.Commit) { c.Whole = true }, again(left[0], room.Accepted), again(left[1], room.Accepted), again(left[2], room.Rejected))
		Expect(must(db.Next(ctx, "far", 50, 100)).EDUs).To(HaveLen(1))
		for _, server := range []id.ServerName{"gone", "liar"} {
			Expect(must(db.Next(ctx, server, 50, 100)).EDUs).To(BeEmpty(), server)
		}
	})

	It("knows the clients' transactions of its events, though they are refused or lose their places when it is whole", func(ctx SpecContext) {
		txn := func(i int) store.ClientTxn {
			return store.ClientTxn{User: alice, Device: "ONE", Endpoint: "send", TxnID: fmt.Sprint(i)}
		}
		var said []*event.Event
		for i := range 3 {
			e := a.foreign(message(alice, fmt.Sprint(i)))
			made := txn(i)
			made.EventID = e.ID()
			said = append(said, e)
			c := commitOf(a, e)
			c.Events[0].Unsure = true
			_, err := db.Commit(ctx, c, store.CommitOptions{ClientTxns: []store.ClientTxn{made}})
			Expect(err).NotTo(HaveOccurred())
		}
		commit(ctx, func(c *room.Commit) { c.Whole = true },
			again(said[0], room.Accepted), again(said[1], room.Rejected), room.Committed{Event: said[2], Outlier: true, Again: true})
		for range 3 {
			for i, e := range said {
				t := txn(i)
				known, found, err := db.ClientTxn(ctx, t.User, t.Device, t.Endpoint, t.TxnID)
				Expect(err).NotTo(HaveOccurred())
				Expect(found).To(BeTrue(), "%d", i)
				Expect(known).To(Equal(e.ID()))
			}
			db.restart()
			Expect(db.Clean(ctx, time.Now())).To(Succeed(), "all is moved to the indexes after the first start")
		}
	})

	It("is remembered, with who is in it and what is to be decided again, until it is whole", func(ctx SpecContext) {
		one, two := a.foreign(message(bob, "one")), a.foreign(message(bob, "two"))
		given := unsure(two, room.Rejected)
		given.Given, given.Below, given.LeftOut = true, true, []id.EventID{"$not", "$taken"}
		commit(ctx, func(*room.Commit) {}, unsure(one, room.Accepted), given)
		for range 2 {
			Expect(db.PartialRooms(ctx)).To(Equal([]store.PartialRoom{{RoomID: a.id(), Join: join.ID()}}))
			info, _, err := db.Room(ctx, a.id())
			Expect(err).NotTo(HaveOccurred())
			Expect(info.Partial).To(BeTrue())
			Expect(db.ServersIn(ctx, a.id())).To(Equal(map[id.ServerName]int{self: 1, bob.Server(): 0}))
			Expect(db.JoinedServers(ctx, a.id())).To(Equal(map[id.ServerName]int{self: 1}))
			snap, _, err := db.LoadRoom(ctx, a.id())
			Expect(err).NotTo(HaveOccurred())
			Expect(snap.Partial.Join).To(Equal(join.ID()))
			Expect(snap.Partial.Servers).To(ConsistOf(self, bob.Server()))
			Expect(snap.Partial.Unsure).To(HaveLen(2))
			Expect(snap.Partial.Unsure[0]).To(Equal(room.Unsure{Event: one.ID()}))
			Expect(snap.Partial.Unsure[1].Given).To(BeTrue())
			Expect(snap.Partial.Unsure[1].Below).To(BeTrue())
			Expect(snap.Partial.Unsure[1].LeftOut).To(Equal(given.LeftOut))
			Expect(snap.Partial.Unsure[1].Before.Equal(a.machine.Current())).To(BeTrue())
			partial, since, err := db.Wholeness(ctx, a.id())
			Expect(err).NotTo(HaveOccurred())
			Expect(partial).To(BeTrue())
			Expect(since).To(BeZero())
			db.restart()
		}
		before := db.Position()
		commit(ctx, func(c *room.Commit) { c.Whole = true })
		partial, since, err := db.Wholeness(ctx, a.id())
		Expect(err).NotTo(HaveOccurred())
		Expect(partial).To(BeFalse())
		Expect(since).To(And(BeNumerically(">", before), BeNumerically("<=", db.Position())))
		Expect(db.PartialRooms(ctx)).To(BeEmpty())
		Expect(db.ServersIn(ctx, a.id())).To(Equal(map[id.ServerName]int{self: 1}))
		snap, _, err := db.LoadRoom(ctx, a.id())
		Expect(err).NotTo(HaveOccurred())
		Expect(snap.Partial).To(BeNil())
	})

	for _, indexed := range []bool{false, true} {
		what := "from the newest events"
		if indexed {
			what = "from the indexes"
		}
		It("hides and shows what is judged otherwise when it is whole, "+what, func(ctx SpecContext) {
			first := a.foreign(message(bob, "first"))
			good, bad := a.foreign(message(bob, "good")), a.foreign(message(bob, "bad"))
			redaction := event.Draft{Type: "m.room.redaction", Sender: bob, Content: []byte(`{"redacts":"` + string(first.ID()) + `"}`)}
			redacting := a.foreign(redaction)
			commit(ctx, func(*room.Commit) {}, unsure(first, room.Accepted), unsure(good, room.SoftFailed), unsure(bad, room.Accepted), unsure(redacting, room.Accepted))
			Expect(db.ApplyRedactions(ctx, []store.Redaction{{Target: first.ID(), By: redacting.ID()}})).To(Succeed())
			Expect(shown(ctx, 0)).To(ContainElements(first.ID(), bad.ID(), redacting.ID()))
			Expect(shown(ctx, 0)).NotTo(ContainElement(good.ID()))
			if indexed {
				fill(ctx)
			}
			before := db.Position()
			commit(ctx, func(c *room.Commit) { c.Whole = true },
				again(first, room.Accepted), again(good, room.Accepted), again(bad, room.Rejected), again(redacting, room.SoftFailed))
			check := func() {
				GinkgoHelper()
				Expect(shown(ctx, before)).To(Equal([]id.EventID{good.ID()}), "it is new for clients")
				rows, err := db.Events(ctx, []id.EventID{first.ID(), good.ID(), bad.ID(), redacting.ID()})
				Expect(err).NotTo(HaveOccurred())
				Expect(rows[bad.ID()].Status).To(Equal(room.Rejected))
				Expect(rows[bad.ID()].Reason).To(Equal("by the whole state"))
				Expect(rows[good.ID()].Status).To(Equal(room.Accepted))
				Expect(rows[redacting.ID()].Status).To(Equal(room.SoftFailed))
				Expect(rows[first.ID()].RedactedBy).To(BeEmpty())
				Expect(db.PendingRedactions(ctx, first.ID())).To(BeEmpty())
			}
			check()
			if !indexed {
				Expect(shown(ctx, 0)).NotTo(ContainElements(bad.ID(), redacting.ID()))
			}
			db.restart()
			check()
			_, found, err := db.StateAfter(ctx, good.ID())
			Expect(err).NotTo(HaveOccurred())
			Expect(found).To(BeTrue())
		})
		It("takes their places from events of a room that was left, and gives them others, "+what, func(ctx SpecContext) {
			first, said := a.foreign(message(bob, "first")), a.foreign(message(bob, "said"))
			redacting := a.foreign(event.Draft{Type: "m.room.redaction", Sender: bob, Content: []byte(`{"redacts":"` + string(first.ID()) + `"}`)})
			commit(ctx, func(*room.Commit) {}, unsure(first, room.Accepted), unsure(said, room.Rejected), unsure(redacting, room.Accepted))
			Expect(db.ApplyRedactions(ctx, []store.Redaction{{Target: first.ID(), By: redacting.ID()}})).To(Succeed())
			if indexed {
				fill(ctx)
			}
			displaced := func(e *event.Event) room.Committed { return room.Committed{Event: e, Outlier: true, Again: true} }
			back := a.foreign(message(bob, "above"), redacting.ID())
			before := db.Position()
			commit(ctx, func(c *room.Commit) { c.Whole = true },
				displaced(first), displaced(said), displaced(redacting), room.Committed{Event: back, Gap: true})
			all := []id.EventID{first.ID(), said.ID(), redacting.ID()}
			for range 2 {
				Expect(shown(ctx, before)).To(Equal([]id.EventID{back.ID()}))
				if !indexed {
					Expect(shown(ctx, 0)).NotTo(ContainElements(all))
				}
				rows, err := db.Events(ctx, all)
				Expect(err).NotTo(HaveOccurred())
				for _, e := range all {
					Expect(rows[e].Outlier).To(BeTrue())
					Expect(rows[e].Status).To(Equal(room.Accepted))
					Expect(rows[e].RedactedBy).To(BeEmpty())
					_, found, err := db.StateAfter(ctx, e)
					Expect(err).NotTo(HaveOccurred())
					Expect(found).To(BeFalse())
				}
				Expect(must(db.Source(ctx, a.rules).Referenced(all))).To(HaveKey(redacting.ID()), "history has a hole there")
				db.restart()
			}
			commit(ctx, func(*room.Commit) {}, room.Committed{Event: first, Backfilled: true}, room.Committed{Event: redacting, Backfilled: true}, room.Committed{Event: said})
			for range 2 {
				Expect(shown(ctx, before)).To(Equal([]id.EventID{back.ID(), said.ID()}))
				rows, err := db.Events(ctx, all)
				Expect(err).NotTo(HaveOccurred())
				Expect(rows[first.ID()].Backfilled).To(BeTrue())
				Expect(rows[redacting.ID()].Position).To(BeNumerically("<", 0))
				Expect(must(db.Source(ctx, a.rules).Referenced(all))).To(BeEmpty())
				Expect(db.PendingRedactions(ctx, first.ID())).NotTo(BeEmpty())
				_, found, err := db.StateAfter(ctx, said.ID())
				Expect(err).NotTo(HaveOccurred())
				Expect(found).To(BeTrue())
				db.restart()
			}
		})
	}
})
