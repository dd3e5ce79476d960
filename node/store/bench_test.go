package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
	"hanse/node/store"
)

const (
	benchWriters = 64
	// benchServers is how many other servers each event goes to.
	benchServers = 20
)

// BenchmarkCommit measures durable local sends, 64 at once in as many rooms, each event for 20 other servers, against
// the same database given the same bytes in groups of the same size (bare): the share is the mark of issue 4.
func BenchmarkCommit(b *testing.B) {
	for _, kind := range databases() {
		b.Run(kind.name, func(b *testing.B) {
			dialect := durable(b, kind)
			events, commits := benchCommits(b, dialect)
			s, stop := openBench(b, dialect)
			b.ResetTimer()
			started := time.Now()
			commitAll(b, s, commits)
			took := time.Since(started)
			b.StopTimer()
			stats := s.Stats()
			group := float64(stats.Operations) / float64(stats.Transactions)
			stop()
			bare := bareInserts(b, dialect, events, max(int(group+0.5), 1))
			rate := float64(b.N) / took.Seconds()
			b.ReportMetric(rate, "commits/s")
			b.ReportMetric(group, "commits/tx")
			b.ReportMetric(bare, "bare/s")
			b.ReportMetric(100*rate/bare, "%bare")
		})
	}
}

// durable is a fresh database that waits for the disk.
func durable(b *testing.B, kind database) store.Dialect {
	b.Helper()
	dir := b.TempDir()
	if kind.name == "SQLite" {
		return sqliteFile(dir)
	}
	dialect, err := kind.fresh(context.Background(), dir)
	if err != nil {
		b.Fatal(err)
	}
	return dialect
}

func openBench(b *testing.B, dialect store.Dialect) (s *store.Store, stop func()) {
	b.Helper()
	s, err := store.Open(context.Background(), dialect, store.Options{ServerName: self})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() { s.Run(ctx) }) //nolint:errcheck // always nil
	return s, func() {
		cancel()
		wait.Wait()
		s.Close() //nolint:errcheck // a benchmark
	}
}

// benchCommits makes 64 rooms and b.N messages in turn in them.
func benchCommits(b *testing.B, dialect store.Dialect) ([]*event.Event, [][]room.Commit) {
	b.Helper()
	s, stop := openBench(b, dialect)
	defer stop()
	var servers []id.ServerName
	for i := range benchServers {
		servers = append(servers, id.ServerName(fmt.Sprintf("s%d.example", i)))
	}
	events, commits := make([]*event.Event, b.N), make([][]room.Commit, benchWriters)
	drafts, actors := make([]event.Draft, benchWriters), make([]*actor, benchWriters)
	for i := range benchWriters {
		a, err := create(s, roomversion.V12)
		if err == nil {
			drafts[i], err = a.draft(message(alice, strings.Repeat("It is a message of the usual length. ", 3)))
		}
		if err != nil {
			b.Fatal(err)
		}
		actors[i] = a
	}
	for i := range b.N {
		w := i % benchWriters
		drafts[w].OriginServerTS++
		drafts[w].Depth++
		e, err := drafts[w].Sign(actors[w].rules, self, testKey())
		if err != nil {
			b.Fatal(err)
		}
		drafts[w].PrevEvents = []id.EventID{e.ID()}
		c := commitOf(actors[w], e)
		c.Send = []room.Send{{Event: e, Servers: servers}}
		events[i], commits[w] = e, append(commits[w], c)
	}
	return events, commits
}

func commitAll(b *testing.B, s *store.Store, commits [][]room.Commit) {
	var wait sync.WaitGroup
	var txns atomic.Int64
	for _, mine := range commits {
		wait.Go(func() {
			for _, c := range mine {
				txn := store.ClientTxn{User: alice, Device: "D", Endpoint: "send", TxnID: fmt.Sprint(txns.Add(1)), EventID: c.Forward[0]}
				if _, err := s.Commit(context.Background(), c, store.CommitOptions{ClientTxns: []store.ClientTxn{txn}}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
}

// bareInserts gives the database the same bytes, so many rows a transaction, and returns rows/s.
func bareInserts(b *testing.B, dialect store.Dialect, events []*event.Event, group int) float64 {
	b.Helper()
	ctx := context.Background()
	write, read, err := dialect.Connect(ctx)
	if err != nil {
		b.Fatal(err)
	}
	defer write.Close() //nolint:errcheck // a benchmark
	defer read.Close()  //nolint:errcheck // a benchmark
	check := func(_ any, err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	check(write.ExecContext(ctx, "CREATE TABLE bare (event_id "+dialect.Text+" PRIMARY KEY, json "+dialect.Bytes+")"))
	insert, err := write.PrepareContext(ctx, "INSERT INTO bare (event_id, json) VALUES ($1, $2)")
	check(nil, err)
	started := time.Now()
	for rest := events; len(rest) > 0; {
		part := rest[:min(group, len(rest))]
		rest = rest[len(part):]
		tx, err := write.BeginTx(ctx, &sql.TxOptions{})
		check(nil, err)
		in := tx.Stmt(insert)
		for _, e := range part {
			check(in.ExecContext(ctx, string(e.ID()), e.JSON()))
		}
		check(nil, tx.Commit())
	}
	return float64(len(events)) / time.Since(started).Seconds()
}

// BenchmarkDelivery measures how fast the outbox hands events to 20 servers, and notes that they went out.
func BenchmarkDelivery(b *testing.B) {
	dialect := durable(b, databases()[0])
	_, commits := benchCommits(b, dialect)
	s, stop := openBench(b, dialect)
	defer stop()
	commitAll(b, s, commits)
	b.ResetTimer()
	var wait sync.WaitGroup
	var delivered atomic.Int64
	for i := range benchServers {
		wait.Go(func() {
			server := id.ServerName(fmt.Sprintf("s%d.example", i))
			for {
				batch, err := s.Next(context.Background(), server, 50, 100)
				if err == nil && !batch.Empty() {
					err = s.Done(context.Background(), server, batch)
				}
				if err != nil {
					b.Error(err)
				}
				if err != nil || batch.Empty() {
					return
				}
				delivered.Add(int64(len(batch.PDUs)))
			}
		})
	}
	wait.Wait()
	b.ReportMetric(float64(delivered.Load())/b.Elapsed().Seconds(), "deliveries/s")
}

// BenchmarkJoin measures the commit of a join of a room with 10,000 members: events, state, memberships.
func BenchmarkJoin(b *testing.B) {
	const members = 10_000
	s, stop := openBench(b, durable(b, databases()[0]))
	defer stop()
	rules := rulesOf(roomversion.V10)
	var size int64
	for b.Loop() {
		b.StopTimer()
		r := id.RoomID(fmt.Sprintf("!join%d:there.example", time.Now().UnixNano()))
		c := room.Commit{RoomID: r, Rules: rules, Depth: 1, Resident: true, Servers: map[id.ServerName]int{"there.example": members}}
		entries := map[roomstate.Key]id.EventID{}
		size = 0
		for i := range members {
			user := id.UserID(fmt.Sprintf("@user%d:there.example", i))
			draft := member(user, "join", user)
			draft.RoomID, draft.PrevEvents, draft.AuthEvents = r, []id.EventID{"$a"}, []id.EventID{"$b"}
			e, err := draft.Sign(rules, "there.example", testKey())
			if err != nil {
				b.Fatal(err)
			}
			size += int64(e.Size())
			key := roomstate.Key{Type: "m.room.member", StateKey: string(user)}
			entries[key] = e.ID()
			c.Events = append(c.Events, room.Committed{Event: e, Outlier: true})
			c.Changes = append(c.Changes, room.StateChange{Key: key, New: e.ID()})
		}
		c.Current = roomstate.Build(maps.All(entries))
		last := &c.Events[members-1]
		last.Outlier, last.Before, last.After = false, c.Current, c.Current
		c.Forward = []id.EventID{last.Event.ID()}
		b.StartTimer()
		if _, err := s.Commit(context.Background(), c, store.CommitOptions{}); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(size)
}
