package store_test

import (
	"bufio"
	"context"
	"database/sql"
	"io"
	"testing"
	"time"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/node/store"
	"hanse/testnet/wholestate"
)

// BenchmarkEachEvent reads the state of a room of 10,000 members to be given to another server, against the same events read by one scan
// of a table. Both take turns, and what counts is processor time.
func BenchmarkEachEvent(b *testing.B) {
	r := newBenchRoom(b, roomversion.V12, 10_000, 0)
	s, stop := openBench(b, r.dialect)
	defer stop()
	ctx := context.Background()
	state, err := s.CurrentState(ctx, r.roomID)
	r.check(err)
	var ids []id.EventID
	for _, eventID := range wholestate.All(state) {
		ids = append(ids, eventID)
	}
	bare := newBare(b, durable(b, databases()[0]))
	defer bare.close()
	stored, err := s.Events(ctx, ids)
	r.check(err)
	var events []*event.Event
	for _, row := range stored {
		events = append(events, row.Event)
	}
	bare.insert(events, len(events))
	var ours, theirs, took time.Duration
	b.ResetTimer()
	for range b.N {
		to := bufio.NewWriterSize(io.Discard, 64<<10)
		began, before := time.Now(), processorTime(b)
		r.check(s.EachEvent(ctx, r.roomID, ids, func(e store.ServedEvent) error { _, err := to.Write(e.JSON); return err }))
		took += time.Since(began)
		between := processorTime(b)
		rows, err := bare.read.QueryContext(ctx, "SELECT json FROM bare ORDER BY rowid")
		r.check(err)
		for rows.Next() {
			var raw sql.RawBytes
			r.check(rows.Scan(&raw))
			_, err := to.Write(raw)
			r.check(err)
		}
		r.check(rows.Err())
		ours, theirs = ours+between-before, theirs+processorTime(b)-between
	}
	n := float64(b.N * len(ids))
	b.ReportMetric(float64(ours.Nanoseconds())/n, "cpu-ns/event")
	b.ReportMetric(float64(theirs.Nanoseconds())/n, "bare-cpu-ns/event")
	b.ReportMetric(100*theirs.Seconds()/ours.Seconds(), "%bare")
	b.ReportMetric(float64(took.Nanoseconds())/n, "ns/event")
}
