package store_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
	"hanse/federation/stateres"
	"hanse/node/store"
)

var _ = onEach("The tail", func(db *fixture) {
	It("and the indexes answer like one, wherever the one ends and the other begins", func(ctx SpecContext) {
		seed := propertySeed()
		fmt.Fprintln(GinkgoWriter, "seed", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		long := 1 + random.IntN(40)
		Expect(db.ShortenTail(ctx, long, 3)).To(Succeed())
		a, other := must(create(db.Store, roomversion.V10)), must(create(db.Store, roomversion.V12))
		a.receive(a.foreign(member(bob, "join", bob)))
		var fork, placed []id.EventID // of alice; what the room's timeline has to show of the loop
		var outliers []*event.Event
		receive := func(e *event.Event) {
			if v := a.receive(e); len(v) == 1 && v[0].Status == room.Accepted {
				placed = append(placed, e.ID())
			}
		}
		for i := range 80 {
			must(other.propose(store.CommitOptions{}, message(alice, "elsewhere")))
			switch random.IntN(4) {
			case 0: // on an old branch: its depth is less than that of events before it
				if len(fork) > 0 {
					receive(a.foreign(message(bob, fmt.Sprint(i)), fork[random.IntN(len(fork))]))
				}
			case 1:
				outlier := a.foreign(state("m.room.member", string(bob), fmt.Sprintf(`{"membership":"join","displayname":"%d"}`, i), bob))
				c := room.Commit{RoomID: a.id(), Rules: a.rules, Events: []room.Committed{{Event: outlier, Outlier: true}}, Resident: true,
					Current: a.machine.Current(), Forward: a.machine.Forward(), Depth: outlier.Depth() - 1}
				must(db.Commit(ctx, c, store.CommitOptions{}))
				outliers = append(outliers, outlier)
			case 2: // one gets its place
				if len(outliers) > 0 {
					receive(outliers[0])
					outliers = outliers[1:]
				}
			default:
				sent := eventIDs(must(a.propose(store.CommitOptions{}, message(alice, fmt.Sprint(i)))))
				fork, placed = append(fork, sent...), append(placed, sent...)
			}
			switch random.IntN(6) {
			case 0:
				Expect(db.Clean(ctx, time.Now())).To(Succeed())
			case 1:
				db.restart() // often before all that was to be moved is
				Expect(db.ShortenTail(ctx, long, 3)).To(Succeed())
				a, other = must(load(db.Store, a.id())), must(load(db.Store, other.id()))
			}
			if i%5 == 0 {
				compareReads(ctx, db, a, random)
				all, _, err := db.Timeline(ctx, a.id(), 0, db.Position(), 10_000, false)
				Expect(err).NotTo(HaveOccurred())
				Expect(ids(all[len(all)-len(placed):])).To(Equal(append([]id.EventID{}, placed...)))
			}
		}
	})

	It("knows a client's transaction wherever it is", func(ctx SpecContext) {
		Expect(db.ShortenTail(ctx, 4, 1)).To(Succeed())
		a := must(create(db.Store, roomversion.V12))
		commit := func(txnID string) (id.EventID, error) {
			draft := must(a.draft(message(alice, txnID+fmt.Sprint(rand.Uint64()))))
			e := must(draft.Sign(a.rules, self, testKey()))
			txn := store.ClientTxn{User: alice, Device: "D", Endpoint: "send", TxnID: txnID, EventID: e.ID()}
			_, err := db.Commit(ctx, commitOf(a, e), store.CommitOptions{ClientTxns: []store.ClientTxn{txn}})
			return e.ID(), err
		}
		restart := func() {
			db.restart()
			Expect(db.ShortenTail(ctx, 4, 1)).To(Succeed())
			Expect(db.PassBatch(ctx)).To(Succeed())
		}
		made := map[string]id.EventID{}
		for _, step := range []func(){
			func() {}, restart, func() { Expect(db.Clean(ctx, time.Now())).To(Succeed()) }, restart,
			func() { Expect(db.ReadUsedTxns(ctx)).To(Succeed()) }, restart,
			func() {}, func() {}, restart, func() {}, func() {}, func() {}, restart, func() {},
		} {
			txnID := fmt.Sprint(len(made))
			made[txnID] = must(commit(txnID))
			step()
			for txnID, e := range made {
				_, err := commit(txnID)
				Expect(err).To(MatchError(store.ErrClientTxnUsed))
				found, ok, err := db.ClientTxn(ctx, alice, "D", "send", txnID)
				Expect(err).NotTo(HaveOccurred())
				Expect(ok).To(BeTrue())
				Expect(found).To(Equal(e))
			}
		}
		Expect(db.Clean(ctx, time.Now())).To(Succeed())
		Expect(db.ReadUsedTxns(ctx)).To(Succeed())
		Expect(db.MayBeUsed(store.ClientTxn{User: alice, Device: "D", Endpoint: "send", TxnID: "0"})).To(BeTrue())
		Expect(db.MayBeUsed(store.ClientTxn{User: alice, Device: "D", Endpoint: "send", TxnID: "new"})).To(BeFalse())
		Expect(db.Clean(ctx, time.Now().Add(13*24*time.Hour))).To(Succeed())
		_, found, err := db.ClientTxn(ctx, alice, "D", "send", "0")
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeTrue())
		Expect(db.Clean(ctx, time.Now().Add(15*24*time.Hour))).To(Succeed())
		for txnID := range made {
			_, found, err = db.ClientTxn(ctx, alice, "D", "send", txnID)
			Expect(err).NotTo(HaveOccurred())
			Expect(found).To(BeFalse())
		}
		var left int
		Expect(beside(ctx, db.dialect).QueryRowContext(ctx, "SELECT (SELECT COUNT(*) FROM client_txns) + (SELECT COUNT(*) FROM client_txn_batches)").Scan(&left)).To(Succeed())
		Expect(left).To(BeZero())
	})

	It("has a client's transaction looked for by its key where nobody has counted the batches", func(ctx SpecContext) {
		if db.dialect.Name == "SQLite" {
			Skip("SQLite goes by the indexes where it has no statistics")
		}
		conn := beside(ctx, db.dialect)
		for _, statement := range []string{
			"INSERT INTO client_txns SELECT 0, decode(md5(i::text), 'hex'), md5(i::text) FROM generate_series(1, 50000) AS i", "ANALYZE client_txns",
		} {
			Expect(conn.ExecContext(ctx, statement)).Error().NotTo(HaveOccurred(), statement)
		}
		rows := must(conn.QueryContext(ctx, "EXPLAIN "+strings.ReplaceAll(store.FindTxn, "$1", `'\x00'::bytea`)))
		defer rows.Close() //nolint:errcheck // a test
		for rows.Next() {
			var step string
			Expect(rows.Scan(&step)).To(Succeed())
			Expect(step).NotTo(ContainSubstring("Seq Scan on client_txns"))
		}
		Expect(rows.Err()).NotTo(HaveOccurred())
	})

	It("is read without all the other events", func(ctx SpecContext) {
		steps := db.plan(ctx, strings.ReplaceAll(store.LoadTail, "$1", "1000"))
		Expect(steps).To(HaveEach(Not(MatchRegexp(`Seq Scan on events|SCAN events`))))
		Expect(len(steps)).To(BeNumerically(">", 1))
	})

	It("hides no new event of a room while it leaves it", func(ctx SpecContext) {
		a := must(create(db.Store, roomversion.V12))
		for range 20 {
			since := db.Position()
			e := a.foreign(message(alice, "new"))
			a.receive(e)
			now := db.Position()
			left := make(chan error, 1)
			go func() { left <- db.Clean(ctx, time.Now()) }()
			for during := true; during; {
				select {
				case err := <-left:
					Expect(err).NotTo(HaveOccurred())
					during = false
				default:
				}
				rows, _, err := db.Timeline(ctx, a.id(), since, now, 10, false)
				Expect(err).NotTo(HaveOccurred())
				Expect(ids(rows)).To(Equal([]id.EventID{e.ID()}))
			}
		}
	})

	It("hides no event while that leaves it, nor does the filter of those that are new", func(ctx SpecContext) {
		a := must(create(db.Store, roomversion.V12))
		Eventually(db.NamedRead, time.Minute, time.Millisecond).Should(BeTrue())
		for range 20 {
			e := a.foreign(message(alice, "new"))
			unknown := a.foreign(message(alice, "not here"))
			a.receive(e)
			asked := []id.EventID{e.ID(), unknown.ID()}
			left := make(chan error, 1)
			go func() { left <- db.Clean(ctx, time.Now()) }()
			for during := true; during; {
				select {
				case err := <-left:
					Expect(err).NotTo(HaveOccurred())
					during = false
				default:
				}
				db.ForgetEvents(asked...)
				Expect(must(db.Known(ctx, asked))).To(Equal(map[id.EventID]bool{e.ID(): true}))
				Expect(must(db.Events(ctx, asked))).To(HaveKey(e.ID()))
			}
		}
	})
})

// compareReads compares reads of a room with what they should be by all of its rows.
func compareReads(ctx context.Context, db *fixture, a *actor, random *rand.Rand) {
	GinkgoHelper()
	all, more, err := db.Timeline(ctx, a.id(), -1<<62, db.Position(), 10_000, false)
	Expect(err).NotTo(HaveOccurred())
	Expect(more).To(BeFalse())
	rows := must(db.Events(ctx, ids(all)))
	Expect(rows).To(HaveLen(len(all)))
	Expect(slices.IsSortedFunc(all, func(x, y store.EventRow) int { return cmp.Compare(x.Position, y.Position) })).To(BeTrue())
	for range 10 {
		after, upto := store.Position(random.IntN(int(db.Position()))), store.Position(random.IntN(int(db.Position())+1))
		limit, newest := 1+random.IntN(12), random.IntN(2) == 0
		want := slices.DeleteFunc(slices.Clone(all), func(r store.EventRow) bool { return r.Position <= after || r.Position > upto })
		if newest {
			slices.Reverse(want)
		}
		got, more, err := db.Timeline(ctx, a.id(), after, upto, limit, newest)
		Expect(err).NotTo(HaveOccurred())
		Expect(ids(got)).To(Equal(ids(want[:min(limit, len(want))])))
		Expect(more).To(Equal(len(want) > limit))
	}
	for _, dir := range []store.Direction{store.Forward, store.Backward} {
		want, from := slices.Clone(all), store.Beginning()
		slices.SortFunc(want, func(x, y store.EventRow) int {
			if x.Topological().Before(y.Topological()) {
				return -1
			}
			return 1
		})
		if dir == store.Backward {
			slices.Reverse(want)
			from = store.End()
		}
		var got []id.EventID
		for limit := 1 + random.IntN(9); ; {
			page, next, err := db.Page(ctx, a.id(), from, dir, limit, store.Topological{})
			Expect(err).NotTo(HaveOccurred())
			if len(page) == 0 {
				break
			}
			got, from = append(got, ids(page)...), next
		}
		Expect(got).To(Equal(ids(want)))
	}
}

var _ = onEach("Citations", func(db *fixture) {
	// citedBy reads what the store knows; complete says that it knows all.
	citedBy := func(a *actor, e id.EventID) (citing []id.EventID, complete bool) {
		GinkgoHelper()
		for c, err := range db.Source(context.Background(), a.rules).(room.Citer).CitedBy(e) {
			if err != nil {
				Expect(err).To(MatchError(stateres.ErrCitationsUnknown))
				return citing, false
			}
			citing = append(citing, c)
		}
		slices.Sort(citing)
		return citing, true
	}

	It("are all known of a room made here", func(ctx SpecContext) {
		a := must(create(db.Store, roomversion.V10))
		for i := range 5 {
			must(a.propose(store.CommitOptions{}, state("m.room.power_levels", "", fmt.Sprintf(`{"users":{"@alice:here.example":100},"ban":%d}`, 50+i), alice)))
			must(a.propose(store.CommitOptions{}, state("m.room.topic", "", fmt.Sprintf(`{"topic":"%d"}`, i), alice), message(alice, "x")))
			a.receive(a.foreign(member(bob, []string{"join", "leave"}[i%2], bob)))
		}
		all, _, err := db.Timeline(ctx, a.id(), 0, db.Position(), 1000, false)
		Expect(err).NotTo(HaveOccurred())
		want := map[id.EventID][]id.EventID{}
		for _, row := range all {
			for _, cited := range row.Event.AuthEvents() {
				if row.Event.IsState() {
					want[cited] = append(want[cited], row.Event.ID())
				}
			}
		}
		for _, row := range all {
			citing, complete := citedBy(a, row.Event.ID())
			if row.Event.Type() == "m.room.create" {
				Expect(complete).To(BeFalse(), "nobody asks for all that cites the create event")
				continue
			}
			Expect(complete).To(BeTrue())
			slices.Sort(want[row.Event.ID()])
			Expect(citing).To(Equal(want[row.Event.ID()]))
		}
	})

	It("of what a large room was joined with are not all known, of what came later they are", func(ctx SpecContext) {
		const members = 400
		c, state := joinOf(id.RoomID(fmt.Sprintf("!join%d:there.example", rand.Uint64())), members)
		must(db.Commit(ctx, c, store.CommitOptions{}))
		a := must(load(db.Store, c.RoomID))
		_, complete := citedBy(a, state[0].ID())
		Expect(complete).To(BeFalse())
		sign := func(d event.Draft) *event.Event {
			return must(d.Sign(a.rules, "there.example", testKey()))
		}
		later := func(e *event.Event) {
			c := commitOf(a, e)
			must(db.Commit(ctx, c, store.CommitOptions{}))
		}
		draft := member("@late:there.example", "join", "@late:there.example")
		draft.RoomID, draft.AuthEvents, draft.PrevEvents, draft.Depth = c.RoomID, []id.EventID{state[0].ID()}, c.Forward, 2
		late := sign(draft)
		later(late)
		draft.Content, draft.AuthEvents, draft.PrevEvents = []byte(`{"membership":"leave"}`), []id.EventID{late.ID()}, []id.EventID{late.ID()}
		leave := sign(draft)
		later(leave)
		citing, complete := citedBy(a, late.ID())
		Expect(complete).To(BeTrue())
		Expect(citing).To(Equal([]id.EventID{leave.ID()}))
		citing, complete = citedBy(a, state[0].ID())
		Expect(complete).To(BeFalse())
		Expect(citing).To(ConsistOf(late.ID(), state[members-1].ID()))
	})
})

// joinOf is the commit of a join of a room with so many members, who joined one after the other.
func joinOf(r id.RoomID, members int) (room.Commit, []*event.Event) {
	rules := rulesOf(roomversion.V10)
	c := room.Commit{RoomID: r, Rules: rules, Depth: 1, Resident: true, Servers: map[id.ServerName]int{"there.example": members}}
	entries := map[roomstate.Key]id.EventID{}
	var events []*event.Event
	for i := range members {
		user := id.UserID(fmt.Sprintf("@user%d:there.example", i))
		draft := member(user, "join", user)
		draft.RoomID, draft.PrevEvents, draft.AuthEvents = r, []id.EventID{"$a"}, []id.EventID{"$b", "$c"}
		if len(events) > 0 {
			draft.AuthEvents = []id.EventID{events[0].ID(), "$b"}
		}
		e, err := draft.Sign(rules, "there.example", testKey())
		if err != nil {
			panic(err)
		}
		events = append(events, e)
		key := roomstate.Key{Type: "m.room.member", StateKey: string(user)}
		entries[key] = e.ID()
		c.Events = append(c.Events, room.Committed{Event: e, Outlier: true})
		c.Changes = append(c.Changes, room.StateChange{Key: key, New: e.ID()})
	}
	c.Current = roomstate.Build(maps.All(entries))
	last := &c.Events[members-1]
	last.Outlier, last.Before, last.After = false, c.Current, c.Current
	c.Forward = []id.EventID{last.Event.ID()}
	return c, events
}
