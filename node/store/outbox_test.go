package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
	"hanse/federation/sender"
	"hanse/node/store"
)

// Store is what the sender reads from.
var _ sender.Outbox = (*store.Store)(nil)

const (
	there     id.ServerName = "there.example"
	elsewhere id.ServerName = "elsewhere.example"
)

var _ = onEach("The outbox", func(db *fixture) {
	// shared makes a room with bob in it.
	shared := func() *actor {
		GinkgoHelper()
		a := must(create(db.Store, roomversion.V10))
		Expect(a.receive(a.foreign(member(bob, "join", bob)))[0].Status).To(Equal(room.Accepted))
		return a
	}
	// send sends messages and returns them as PDUs.
	send := func(a *actor, n int) []json.RawMessage {
		GinkgoHelper()
		var pdus []json.RawMessage
		for i := range n {
			pdus = append(pdus, must(a.propose(store.CommitOptions{}, message(alice, fmt.Sprint(i))))[0].JSON())
		}
		return pdus
	}
	edu := func(body string, keep bool, servers ...id.ServerName) store.QueuedEDU {
		return store.QueuedEDU{Type: "m.test", Content: []byte(fmt.Sprintf("%q", body)), Destinations: servers, Keep: keep}
	}

	It("gives what waits in order, again until it is done, over restarts", func(ctx SpecContext) {
		a := shared()
		pdus := send(a, 5)
		Expect(must(db.Destinations(ctx))).To(Equal([]id.ServerName{there}))
		first := must(db.Next(ctx, there, 3, 10))
		Expect(first.PDUs).To(Equal(pdus[:3]))
		Expect(must(db.Next(ctx, there, 3, 10))).To(Equal(first))
		db.restart()
		Expect(must(db.Next(ctx, there, 3, 10))).To(Equal(first))
		Expect(db.Done(ctx, there, first)).To(Succeed())
		rest := must(db.Next(ctx, there, 50, 10))
		Expect(rest.PDUs).To(Equal(pdus[3:]))
		Expect(rest.Upto).To(BeNumerically(">", first.Upto))
		Expect(db.Done(ctx, there, rest)).To(Succeed())
		Expect(must(db.Next(ctx, there, 50, 10)).Empty()).To(BeTrue())
		db.restart()
		Expect(must(db.Next(ctx, there, 50, 10)).Empty()).To(BeTrue())
		Expect(must(db.Destinations(ctx))).To(BeEmpty())
		Expect(db.Clean(ctx, time.Now())).To(Succeed())
		db.restart()
		Expect(send(must(load(db.Store, a.id())), 1)).To(Equal(must(db.Next(ctx, there, 50, 10)).PDUs))
	})

	It("holds many large sets of servers in little memory, over restarts", func(ctx SpecContext) {
		held := func() int64 {
			var m runtime.MemStats
			runtime.GC()
			runtime.GC() // what was in pools
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		const sets, servers = 300, 2000
		before := held()
		var edus []store.QueuedEDU
		for i := range sets {
			var names []id.ServerName
			for n := range servers {
				if n != i {
					names = append(names, id.ServerName(fmt.Sprintf("s%d.example", n)))
				}
			}
			edus = append(edus, edu(fmt.Sprint(i), true, names...))
		}
		Expect(db.QueueEDUs(ctx, edus...)).To(Succeed())
		first := edus[0].Destinations[3]
		edus = nil
		Expect(held()-before).To(BeNumerically("<", 5<<20), "bytes")
		db.restart()
		Expect(held()-before).To(BeNumerically("<", 5<<20), "bytes") // 10 and more with 16 bytes a server
		Expect(must(db.Destinations(ctx))).To(HaveLen(servers))
		Expect(must(db.Next(ctx, first, 50, sets)).EDUs).To(HaveLen(sets - 1))
	})

	It("knows where to send again what a cleaning has just found idle", func(ctx SpecContext) {
		a := shared()
		send(a, 1)
		Expect(db.Done(ctx, there, must(db.Next(ctx, there, 50, 10)))).To(Succeed())
		Expect(db.Clean(ctx, time.Now())).To(Succeed())
		pdus := send(a, 1)
		db.restart()
		Expect(must(db.Next(ctx, there, 50, 10)).PDUs).To(Equal(pdus))
	})

	It("gives each server its own, events and EDUs", func(ctx SpecContext) {
		a := shared()
		Expect(db.QueueEDUs(ctx, edu("a", false, elsewhere, there))).To(Succeed())
		pdus := send(a, 1)
		Expect(db.QueueEDUs(ctx, edu("b", true, elsewhere), edu("c", true, elsewhere))).To(Succeed())
		batch := must(db.Next(ctx, there, 50, 100))
		Expect(batch.PDUs).To(Equal(pdus))
		Expect(batch.EDUs).To(HaveLen(1))
		other := must(db.Next(ctx, elsewhere, 50, 2))
		Expect(other.PDUs).To(BeEmpty())
		Expect(other.EDUs).To(HaveLen(2))
		Expect(string(other.EDUs[1].Content)).To(Equal(`"b"`))
		Expect(must(db.Destinations(ctx))).To(Equal([]id.ServerName{elsewhere, there}))
		Expect(db.Done(ctx, there, batch)).To(Succeed())
		Expect(must(db.Destinations(ctx))).To(Equal([]id.ServerName{elsewhere}))
	})

	It("keeps a server's back-off", func(ctx SpecContext) {
		until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
		Expect(db.SaveBackoff(ctx, there, federation.Backoff{Failures: 3, Until: until})).To(Succeed())
		Expect(db.SaveBackoff(ctx, elsewhere, federation.Backoff{Failures: 1})).To(Succeed())
		Expect(db.SaveBackoff(ctx, elsewhere, federation.Backoff{})).To(Succeed())
		db.restart()
		Expect(must(db.Backoff(ctx))).To(Equal(map[id.ServerName]federation.Backoff{there: {Failures: 3, Until: until}}))
	})

	It("moves a server that is far behind to catch-up: the newest of each room, and what must be kept", func(ctx SpecContext) {
		a, b := shared(), shared()
		lost := send(a, 3)
		last := send(b, 2)[1]
		Expect(db.QueueEDUs(ctx, edu("drop", false, there), edu("keep", true, there))).To(Succeed())
		flood(ctx, db, elsewhere, 21_000)
		Expect(must(db.Destinations(ctx))).To(ContainElement(there))
		db.restart()

		batch := must(db.Next(ctx, there, 50, 100))
		Expect(batch.PDUs).To(Equal([]json.RawMessage{lost[2], last}))
		Expect(batch.EDUs).To(HaveLen(1))
		Expect(string(batch.EDUs[0].Content)).To(Equal(`"keep"`))
		Expect(batch.Upto).To(BeNumerically("<", 0))
		Expect(must(db.Next(ctx, there, 50, 100))).To(Equal(batch))
		Expect(must(db.Next(ctx, there, len(batch.PDUs), len(batch.EDUs)))).To(Equal(batch), "as after a failure")
		db.restart()
		Expect(must(db.Next(ctx, there, 50, 100))).To(Equal(batch), "the same under the same mark, so under the same ID")
		smaller := must(db.Next(ctx, there, 1, 1))
		Expect(smaller.PDUs).To(Equal(lost[2:]))
		Expect(smaller.Upto).NotTo(Equal(batch.Upto))
		Expect(db.Done(ctx, there, batch)).NotTo(Succeed(), "it is not the one under way")

		newer := send(must(load(db.Store, b.id())), 1)
		Expect(db.Done(ctx, there, smaller)).To(Succeed())
		rest := must(db.Next(ctx, there, 50, 100))
		Expect(rest.PDUs).To(Equal(newer), "the forward extremities of the other room, as they are now")
		Expect(db.Done(ctx, there, rest)).To(Succeed())
		live := must(db.Next(ctx, there, 50, 100))
		Expect(live.PDUs).To(Equal(newer), "then all that came since it was moved")
		Expect(db.Done(ctx, there, live)).To(Succeed())
		Expect(must(db.Next(ctx, there, 50, 100)).Empty()).To(BeTrue())
		Expect(must(db.Destinations(ctx))).NotTo(ContainElement(there))
	})

	It("keeps what came to a room while a batch of its catch-up was under way", func(ctx SpecContext) {
		a := shared()
		send(a, 1)
		flood(ctx, db, elsewhere, 21_000)
		batch := must(db.Next(ctx, there, 50, 100))
		newer := send(a, 1)
		Expect(batch.PDUs).NotTo(Equal(newer))
		flood(ctx, db, elsewhere, 21_000)
		Expect(db.Done(ctx, there, batch)).To(Succeed())
		Expect(must(db.Next(ctx, there, 50, 100)).PDUs).To(Equal(newer))
	})

	It("keeps EDUs for a server that is behind, also while events alone are asked for", func(ctx SpecContext) {
		Expect(db.QueueEDUs(ctx, edu("keep", true, there))).To(Succeed())
		flood(ctx, db, elsewhere, 21_000)
		Expect(must(db.Next(ctx, there, 1, 0)).Empty()).To(BeTrue())
		Expect(must(db.Next(ctx, there, 0, 1)).EDUs).To(HaveLen(1))
	})

	It("keeps the newest messages to devices for a server that is out for long, and tells it of all devices when it is back", func(ctx SpecContext) {
		db.loggedIn(ctx, alice, "PHONE")
		shared()
		var edus []store.QueuedEDU
		for i := range 1100 {
			change := edu("change", true, there)
			change.Subject = fmt.Sprint(i)
			edus = append(edus, change)
		}
		for i := range 10_500 {
			edus = append(edus, edu(fmt.Sprint(i), true, there))
		}
		Expect(db.QueueEDUs(ctx, edus...)).To(Succeed())
		flood(ctx, db, elsewhere, 10_000)
		Expect(db.Clean(ctx, time.Now())).To(Succeed())
		db.restart()
		batch := must(db.Next(ctx, there, 50, 20_000))
		Expect(batch.EDUs).To(HaveLen(10_001))
		Expect(string(batch.EDUs[0].Content)).To(Equal(`"500"`))
		Expect(string(batch.EDUs[9999].Content)).To(Equal(`"10499"`))
		Expect(batch.EDUs[10_000].Type).To(Equal(federation.EDUDeviceListUpdate))
		Expect(batch.EDUs[10_000].Content).To(ContainSubstring(string(alice)))

		db.restart()
		Expect(must(db.Next(ctx, there, 50, 20_000)).EDUs).To(Equal(batch.EDUs))
		Expect(db.Clean(ctx, time.Now().Add(91*24*time.Hour))).To(Succeed())
		db.restart()
		Expect(must(db.Destinations(ctx))).To(ContainElement(there))
		last := must(db.Next(ctx, there, 50, 100))
		Expect(last.EDUs).To(HaveLen(1), "%v", last.EDUs)
		Expect(last.EDUs[0].Type).To(Equal(federation.EDUDeviceListUpdate))
		Expect(db.Done(ctx, there, last)).To(Succeed())
		Expect(must(db.Next(ctx, there, 50, 100)).Empty()).To(BeTrue())
	})
})

// flood queues so many EDUs for a server and lets it have them, as one that is well does.
func flood(ctx context.Context, db *fixture, server id.ServerName, n int) {
	GinkgoHelper()
	for n > 0 {
		some := make([]store.QueuedEDU, min(n, 1000))
		for i := range some {
			some[i] = store.QueuedEDU{Type: "m.flood", Content: []byte("1"), Destinations: []id.ServerName{server}}
		}
		Expect(db.QueueEDUs(ctx, some...)).To(Succeed())
		n -= len(some)
		batch := must(db.Next(ctx, server, 1, 1000))
		Expect(batch.EDUs).To(HaveLen(len(some)))
		Expect(db.Done(ctx, server, batch)).To(Succeed())
	}
}
