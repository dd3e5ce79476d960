package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
	"hanse/node/store"
)

const (
	benchWriters = 64
	// benchServers is how many other servers each event goes to.
	benchServers = 20
)

// BenchmarkCommit measures durable local sends, 64 at once in as many rooms, each event for 20 other servers, against
// the same database given the same events as bare rows in groups of the same size: the share is the mark of issue 4. The
// two take turns on the same events, so that what else the machine does meets both.
func BenchmarkCommit(b *testing.B) {
	for _, kind := range databases() {
		b.Run(kind.name, func(b *testing.B) {
			const turns = 8
			dialect := durable(b, kind)
			events, commits := benchCommits(b, dialect)
			s, stop := openBench(b, dialect)
			defer stop()
			bare := newBare(b, durable(b, kind))
			defer bare.close()
			var ours, theirs time.Duration
			for turn := range turns {
				part := make([][]room.Commit, len(commits))
				for i, mine := range commits {
					part[i] = mine[turn*len(mine)/turns : (turn+1)*len(mine)/turns]
				}
				before := s.Stats()
				started := time.Now()
				commitAll(b, s, part)
				ours += time.Since(started)
				after := s.Stats()
				group := float64(after.Operations-before.Operations) / float64(max(after.Transactions-before.Transactions, 1))
				started = time.Now()
				bare.insert(events[turn*len(events)/turns:(turn+1)*len(events)/turns], max(int(group+0.5), 1))
				theirs += time.Since(started)
			}
			stats := s.Stats()
			b.ReportMetric(float64(b.N)/ours.Seconds(), "commits/s")
			b.ReportMetric(float64(stats.Operations)/float64(stats.Transactions), "commits/tx")
			b.ReportMetric(float64(b.N)/theirs.Seconds(), "bare/s")
			b.ReportMetric(100*theirs.Seconds()/ours.Seconds(), "%bare")
		})
	}
}

// BenchmarkCommitAlone measures durable local sends one after the other: the idle latency of a send is one commit.
func BenchmarkCommitAlone(b *testing.B) {
	for _, kind := range databases() {
		b.Run(kind.name, func(b *testing.B) {
			dialect := durable(b, kind)
			events, commits := benchCommits(b, dialect)
			s, stop := openBench(b, dialect)
			defer stop()
			bare := newBare(b, durable(b, kind))
			defer bare.close()
			var ours, theirs time.Duration
			for i, e := range events {
				started := time.Now()
				commitAll(b, s, [][]room.Commit{{commits[i%benchWriters][i/benchWriters]}})
				ours += time.Since(started)
				started = time.Now()
				bare.insert([]*event.Event{e}, 1)
				theirs += time.Since(started)
			}
			b.ReportMetric(float64(b.N)/ours.Seconds(), "commits/s")
			b.ReportMetric(float64(b.N)/theirs.Seconds(), "bare/s")
			b.ReportMetric(100*theirs.Seconds()/ours.Seconds(), "%bare")
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
	for _, mine := range commits {
		wait.Go(func() {
			for _, c := range mine {
				txn := store.ClientTxn{User: alice, Device: "DEVICE", Endpoint: "send/" + string(c.RoomID) + "/m.room.message", TxnID: "m" + string(c.Forward[0][:12]), EventID: c.Forward[0]}
				if _, err := s.Commit(context.Background(), c, store.CommitOptions{ClientTxns: []store.ClientTxn{txn}}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
}

// bare is the database alone: a table of IDs and bytes.
type bare struct {
	b           *testing.B
	write, read *sql.DB
	row         *sql.Stmt
}

func newBare(b *testing.B, dialect store.Dialect) *bare {
	b.Helper()
	ctx := context.Background()
	d := &bare{b: b}
	var err error
	if d.write, d.read, err = dialect.Connect(ctx); err != nil {
		b.Fatal(err)
	}
	_, err = d.write.ExecContext(ctx, "CREATE TABLE bare (event_id "+dialect.Text+" PRIMARY KEY, json "+dialect.Bytes+")")
	d.check(err)
	d.row, err = d.write.PrepareContext(ctx, "INSERT INTO bare (event_id, json) VALUES ($1, $2)")
	d.check(err)
	return d
}

func (d *bare) check(err error) {
	if err != nil {
		d.b.Fatal(err)
	}
}

func (d *bare) close() {
	d.write.Close() //nolint:errcheck // a benchmark
	d.read.Close()  //nolint:errcheck // a benchmark
}

// insert writes events, so many a transaction.
func (d *bare) insert(events []*event.Event, group int) {
	ctx := context.Background()
	for rest := events; len(rest) > 0; {
		part := rest[:min(group, len(rest))]
		rest = rest[len(part):]
		tx, err := d.write.BeginTx(ctx, &sql.TxOptions{})
		d.check(err)
		in := tx.Stmt(d.row)
		for _, e := range part {
			_, err := in.ExecContext(ctx, string(e.ID()), e.JSON())
			d.check(err)
		}
		d.check(tx.Commit())
	}
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
	var size int64
	for b.Loop() {
		b.StopTimer()
		c, events := joinOf(id.RoomID(fmt.Sprintf("!join%d:there.example", time.Now().UnixNano())), members)
		size = 0
		for _, e := range events {
			size += int64(e.Size())
		}
		b.StartTimer()
		if _, err := s.Commit(context.Background(), c, store.CommitOptions{}); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(size)
}
