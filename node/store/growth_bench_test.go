package store_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"hanse/federation/room"
	"hanse/node/store"
)

// BenchmarkGrowth measures what an event costs where the database has so many already: processor time, and bytes written to the log and
// to the file. They are a client's, 50 a transaction, in rooms in turn; make them 50,000 at least, so that they are moved to the indexes
// several times.
func BenchmarkGrowth(b *testing.B) {
	const group = 50
	for _, events := range []int{0, 100_000, 500_000, 1_000_000} {
		b.Run(fmt.Sprintf("events=%d", events), func(b *testing.B) {
			dialect := durable(b, databases()[0])
			commits := groupCommits(b, dialect, group)
			grow(b, dialect, events)
			s, stop := openBench(b, dialect)
			defer stop()
			b.ResetTimer()
			began, written := processorTime(b), writtenBytes(b)
			for i, c := range commits {
				var opts store.CommitOptions
				for j, e := range c.Events {
					opts.ClientTxns = append(opts.ClientTxns, store.ClientTxn{User: alice, Device: "DEVICE", Endpoint: "send",
						TxnID: fmt.Sprint(i, j), EventID: e.Event.ID()})
				}
				if _, err := s.Commit(context.Background(), c, opts); err != nil {
					b.Fatal(err)
				}
			}
			if err := s.Clean(context.Background(), time.Now()); err != nil { // what is left is moved, too
				b.Fatal(err)
			}
			b.ReportMetric(float64((processorTime(b)-began).Nanoseconds())/float64(b.N), "cpu-ns/event")
			b.ReportMetric(float64(writtenBytes(b)-written)/float64(b.N), "written-B/event")
		})
	}
}

// groupCommits makes rooms and commits of so many messages in turn in them, b.N messages in all.
func groupCommits(b *testing.B, dialect store.Dialect, group int) []room.Commit {
	b.Helper()
	_, single := benchCommits(b, dialect)
	var commits []room.Commit
	for _, mine := range single {
		for part := range slices.Chunk(mine, group) {
			c := part[len(part)-1] // its forward extremity is the newest
			c.Events, c.Send = nil, nil
			for _, one := range part {
				c.Events, c.Send = append(c.Events, one.Events...), append(c.Send, one.Send...)
			}
			commits = append(commits, c)
		}
	}
	return commits
}

// grow fills the indexes of events as so many would have.
func grow(b *testing.B, dialect store.Dialect, events int) {
	b.Helper()
	ctx := context.Background()
	write, read, err := dialect.Connect(ctx)
	if err != nil {
		b.Fatal(err)
	}
	defer write.Close() //nolint:errcheck // a benchmark
	defer read.Close()  //nolint:errcheck // a benchmark
	const some = 10_000
	const letter = "SUBSTR('-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz', 1 + ABS(RANDOM() % 64), 1)"
	for from := 0; from < events; from += some {
		numbers := fmt.Sprintf("WITH RECURSIVE n (n) AS (SELECT %d UNION ALL SELECT n + 1 FROM n WHERE n < %d) ", from+1, from+some)
		for _, statement := range []string{
			// The first letters are any of those that IDs have, so that new ones are anywhere among these.
			"INSERT INTO event_ids (event_id, number) SELECT '$' || " + strings.Repeat(letter+" || ", 3) + "SUBSTR(HEX(RANDOMBLOB(20)), 1, 40), -n FROM n ORDER BY 1",
			"INSERT INTO timeline (room, position, depth, number) SELECT n % 64, -n, n, -n FROM n ORDER BY 1, 2",
			fmt.Sprintf("INSERT INTO client_txns (batch, txn_key, event_id) SELECT %d, RANDOMBLOB(16), SUBSTR(HEX(RANDOMBLOB(22)), 1, 44) FROM n ORDER BY 2", -1-from>>17),
			fmt.Sprintf("INSERT INTO client_txn_batches (batch, newest) VALUES (%d, %d) ON CONFLICT DO NOTHING", -1-from>>17, time.Now().UnixMilli()),
		} {
			if _, err := write.ExecContext(ctx, strings.Replace(statement, "SELECT", numbers+"SELECT", 1)); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// writtenBytes are the bytes that the process has written so far.
func writtenBytes(b *testing.B) int64 {
	b.Helper()
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		b.Skip(err)
	}
	for line := range strings.Lines(string(text)) {
		if n, ok := strings.CutPrefix(line, "wchar: "); ok {
			written, err := strconv.ParseInt(strings.TrimSpace(n), 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return written
		}
	}
	b.Skip("this system doesn't tell what was written")
	return 0
}
