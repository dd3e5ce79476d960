package rooms_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hanse/federation/id"
	"hanse/keys"
	"hanse/node/rooms"
	"hanse/node/store"
	"hanse/node/store/sqlite"
)

// BenchmarkSend measures local sends, durable ones: how many a second for so many senders in so many rooms. "commits/op"
// tells how many of a room's sends shared a commit.
func BenchmarkSend(b *testing.B) {
	for _, c := range []struct{ senders, rooms int }{{1, 1}, {64, 1}, {64, 64}} {
		b.Run(fmt.Sprintf("senders=%d/rooms=%d", c.senders, c.rooms), func(b *testing.B) {
			r, commits := benchRooms(b)
			const alice id.UserID = "@alice:bench.test"
			list := make([]id.RoomID, c.rooms)
			for i := range list {
				roomID, err := r.Create(context.Background(), rooms.CreateRequest{Creator: alice})
				if err != nil {
					b.Fatal(err)
				}
				list[i] = roomID
			}
			commits.Store(0)
			b.ResetTimer()
			var next atomic.Int64
			var senders sync.WaitGroup
			for s := range c.senders {
				senders.Go(func() {
					for next.Add(1) <= int64(b.N) {
						if _, err := r.Send(context.Background(), message(alice, list[s%c.rooms], "x")); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			senders.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sends/s")
			b.ReportMetric(float64(commits.Load())/float64(b.N), "commits/op")
		})
	}
}

func benchRooms(b *testing.B) (*rooms.Rooms, *atomic.Int64) {
	b.Helper()
	dir := b.TempDir()
	own, err := keys.LoadOrCreate(filepath.Join(dir, "key"))
	if err != nil {
		b.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	s, err := store.Open(context.Background(), sqlite.Open(filepath.Join(dir, "db")), store.Options{ServerName: "bench.test", Log: log})
	if err != nil {
		b.Fatal(err)
	}
	commits := new(atomic.Int64)
	r := rooms.New(rooms.Config{
		Self: "bench.test", Key: own.Current, Store: s, Ring: keys.NewRing(keys.RingConfig{Self: "bench.test", Own: own, Log: log}), Log: log,
		Observe: func(int, time.Duration) { commits.Add(1) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	running.Go(func() { _ = r.Run(ctx) })
	b.Cleanup(func() {
		cancel()
		running.Wait()
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return r, commits
}
