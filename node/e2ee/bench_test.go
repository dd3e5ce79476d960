package e2ee_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/e2ee"
	"hanse/node/store"
	"hanse/node/store/sqlite"
)

// content is as long as an encrypted room key.
func content(n int) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"algorithm":"m.olm.v1.curve25519-aes-sha2","n":%d,"ciphertext":%q}`, n, strings.Repeat("A", 300)))
}

// BenchmarkToDevice is messages to one device: received from another server in full transactions, sent by clients of ours,
// and handed out and acknowledged, a hundred at a time. An operation is a message.
func BenchmarkToDevice(b *testing.B) {
	const batch = federation.MaxTransactionEDUs
	b.Run("received", func(b *testing.B) {
		e, _ := open(b, self, alice, net{})
		next := 0
		for b.Loop() {
			if next++; next%batch != 0 {
				continue
			}
			edus := make([]federation.EDU, batch)
			for i := range edus {
				raw, err := json.Marshal(federation.DirectToDevice{
					Sender: zoe, Type: "m.room.encrypted", MessageID: fmt.Sprint(next, i),
					Messages: map[id.UserID]map[string]json.RawMessage{alice: {"ONE": content(i)}},
				})
				if err != nil {
					b.Fatal(err)
				}
				edus[i] = federation.EDU{Type: federation.EDUDirectToDevice, Content: raw}
			}
			if err := e.HandleEDUs(b.Context(), far, edus); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, to := range map[string]id.UserID{"sent to ours": alice, "sent to others": zoe} {
		b.Run(name, func(b *testing.B) {
			e, _ := open(b, self, alice, net{})
			var mu sync.Mutex
			next := 0
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					mu.Lock()
					next++
					n := next
					mu.Unlock()
					err := e.Send(b.Context(), alice, "TWO", "m.room.encrypted", fmt.Sprint(n), e2ee.Messages{to: {"ONE": content(n)}})
					if err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
	b.Run("handed out", func(b *testing.B) {
		_, s := open(b, self, alice, net{})
		fill := func() {
			requests := make([]store.ToDeviceRequest, 5000)
			for i := range requests {
				requests[i] = store.ToDeviceRequest{Seen: store.SeenHash(fmt.Sprint(s.Position(), i)), Messages: []store.ToDevice{{User: alice, Device: "ONE", Message: content(i)}}}
			}
			if _, err := s.SaveToDevice(b.Context(), requests...); err != nil {
				b.Fatal(err)
			}
		}
		waiting := 0
		var since store.Position
		next := 0
		for b.Loop() {
			if next++; next%batch != 0 {
				continue
			}
			if waiting == 0 {
				b.StopTimer()
				fill()
				waiting = 5000
				b.StartTimer()
			}
			if err := s.ToDeviceTaken(b.Context(), alice, "ONE", since); err != nil {
				b.Fatal(err)
			}
			got, err := s.ToDevice(b.Context(), alice, "ONE", since, s.Position(), batch)
			if err != nil || len(got) != batch {
				b.Fatal(len(got), err)
			}
			since, waiting = got[batch-1].Position, waiting-batch
		}
	})
}

// BenchmarkDeviceChange is a change of the keys of a user in 200 rooms, each with users of the same 2,000 servers, and how
// long somebody else's write takes meanwhile.
func BenchmarkDeviceChange(b *testing.B) {
	const rooms, servers = 200, 2000
	path := filepath.Join(b.TempDir(), "hanse.db")
	crowded(b, path, rooms, servers)
	s, err := store.Open(b.Context(), sqlite.Open(path), store.Options{ServerName: self})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(ctx) }()
	b.Cleanup(func() { cancel(); <-done; _ = s.Close() })
	woken := 0
	e, err := e2ee.New(e2ee.Config{Self: self, Store: s, Wake: func(servers ...id.ServerName) { woken += len(servers) }})
	if err != nil {
		b.Fatal(err)
	}
	var longest time.Duration
	stop, others := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(others)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			began := time.Now()
			if err := e.Send(ctx, alice, "TWO", "m.test", fmt.Sprint(n), e2ee.Messages{alice: {"ONE": json.RawMessage(`{}`)}}); err != nil {
				b.Error(err)
			}
			longest = max(longest, time.Since(began))
		}
	}()
	n := 0
	for b.Loop() {
		n++
		keys := json.RawMessage(fmt.Sprintf(`{"user_id":%q,"device_id":"ONE","algorithms":[],"keys":{"n":"%d"},"signatures":{}}`, alice, n))
		if _, err := e.UploadKeys(ctx, alice, "ONE", e2ee.Upload{DeviceKeys: keys}); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	close(stop)
	<-others
	b.ReportMetric(float64(longest.Milliseconds()), "ms-longest-other")
	batch, err := s.Next(ctx, "s0.test", 50, 100)
	if err != nil || len(batch.EDUs) == 0 {
		b.Fatal(len(batch.EDUs), err)
	}
}

// crowded makes a database with rooms of alice's in which users of other servers are, too.
func crowded(b *testing.B, path string, rooms, servers int) {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := store.Open(ctx, sqlite.Open(path), store.Options{ServerName: self})
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(ctx) }()
	for _, device := range []string{"ONE", "TWO"} {
		if err := s.Login(ctx, store.Device{User: alice, ID: device, Created: time.Now()}, store.HashToken(device)); err != nil {
			b.Fatal(err)
		}
	}
	for n := range rooms {
		shareIn(b, s, id.RoomID(fmt.Sprintf("!room%d:%s", n, self)))
	}
	cancel()
	<-done
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // a benchmark
	for n := range servers {
		if _, err := db.Exec("INSERT INTO room_servers (room, server, joined) SELECT room, $1, 1 FROM rooms", fmt.Sprintf("s%d.test", n)); err != nil {
			b.Fatal(err)
		}
	}
}
