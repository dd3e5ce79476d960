package rooms_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"testing"
	"time"

	"hanse/federation"
	"hanse/federation/client"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
	"hanse/keys"
	"hanse/node/rooms"
	"hanse/node/store"
	"hanse/node/store/sqlite"
)

// BenchmarkFirst is the first that a server does with a room of 300,000 state events after its start, by processor time and by the
// most memory that the process held during it. Of the state only the usual ten entries have their events stored, the others only IDs.
//
//   - send: a message of our user.
//   - receive: a message of another server's.
//   - answer: a join by way of us, by a server that wants no members.
func BenchmarkFirst(b *testing.B) {
	large := newLargeRoom(b, 300_000)
	ctx := context.Background()
	for _, of := range []struct {
		name string
		run  func(r *rooms.Rooms) error
	}{
		{"send", func(r *rooms.Rooms) error {
			_, err := r.Send(ctx, message(largeAlice, large.roomID, "x"))
			return err
		}},
		{"receive", func(r *rooms.Rooms) error {
			verdicts, err := r.Submit(ctx, largeThere, large.roomID, []*event.Event{large.said})
			if err == nil && verdicts[0].Status != room.Accepted {
				err = errors.New(verdicts[0].Reason)
			}
			return err
		}},
		{"answer", func(r *rooms.Rooms) error {
			made, err := r.MakeJoin(ctx, largeThere, federation.MakeRequest{RoomID: large.roomID, UserID: "@next:there.test", Versions: large.versions})
			if err != nil {
				return err
			}
			answer, err := large.join(ctx, r, made)
			if err != nil {
				return err
			}
			return errors.Join(answer.StateStream(func(json.RawMessage) error { return nil }), answer.AuthChainStream(func(json.RawMessage) error { return nil }))
		}},
	} {
		b.Run(of.name, func(b *testing.B) {
			var cpu time.Duration
			var most int
			for range b.N { // -benchtime 1x: a message is received once
				r, stop := large.start(b)
				debug.FreeOSMemory()
				if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil { // VmHWM begins anew
					b.Fatal(err)
				}
				held, before := memory(b, "VmRSS:"), processorTime(b)
				if err := of.run(r); err != nil {
					b.Fatal(err)
				}
				cpu += processorTime(b) - before
				most = max(most, memory(b, "VmHWM:")-held)
				stop()
			}
			b.ReportMetric(float64(cpu.Microseconds())/1000/float64(b.N), "cpu-ms/op")
			b.ReportMetric(float64(most)/1000, "MB-more")
			b.ReportMetric(0, "ns/op") // most is opening the store
		})
	}
}

const (
	largeAlice id.UserID     = "@alice:bench.test"
	largeThere id.ServerName = "there.test"
)

// largeRoom is a database with a large room, and another server in it.
type largeRoom struct {
	dir        string
	own, there *keys.KeyFile
	roomID     id.RoomID
	rules      *roomversion.Rules
	versions   []roomversion.Version
	said       *event.Event // a message of the other server that is not there yet
}

func newLargeRoom(b *testing.B, entries int) *largeRoom {
	l := &largeRoom{dir: b.TempDir(), versions: []roomversion.Version{roomversion.V12}}
	l.rules, _ = roomversion.Lookup(roomversion.V12)
	check := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	var err error
	l.own, err = keys.LoadOrCreate(filepath.Join(l.dir, "own"))
	check(err)
	l.there, err = keys.LoadOrCreate(filepath.Join(l.dir, "there"))
	check(err)
	r, stop := l.start(b)
	ctx := context.Background()
	l.roomID, err = r.Create(ctx, rooms.CreateRequest{Creator: largeAlice, Preset: "public_chat", Version: roomversion.V12})
	check(err)
	const bob id.UserID = "@bob:there.test"
	made, err := r.MakeJoin(ctx, largeThere, federation.MakeRequest{RoomID: l.roomID, UserID: bob, Versions: l.versions})
	check(err)
	_, err = l.join(ctx, r, made)
	check(err)
	stop()

	s := l.open(b)
	committing, end := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(committing) })
	small, _, err := s.LoadRoom(ctx, l.roomID)
	check(err)
	state := map[roomstate.Key]id.EventID{}
	for _, key := range []roomstate.Key{
		{Type: "m.room.create"}, {Type: "m.room.power_levels"}, {Type: "m.room.join_rules"}, {Type: "m.room.history_visibility"},
		{Type: "m.room.guest_access"}, {Type: "m.room.member", StateKey: string(largeAlice)}, {Type: "m.room.member", StateKey: string(bob)},
	} {
		events, err := s.StateEvents(ctx, small.Current, key)
		check(err)
		for _, e := range events {
			state[key] = e.ID()
		}
	}
	said := func(text string, prev id.EventID) *event.Event {
		e, err := event.Draft{
			RoomID: l.roomID, Type: "m.room.message", Sender: bob, Content: json.RawMessage(`{"msgtype":"m.text","body":"` + text + `"}`),
			PrevEvents: []id.EventID{prev}, Depth: small.Depth + 1, OriginServerTS: time.Now().UnixMilli(),
			AuthEvents: []id.EventID{state[roomstate.Key{Type: "m.room.power_levels"}], state[roomstate.Key{Type: "m.room.member", StateKey: string(bob)}]},
		}.Sign(l.rules, largeThere, l.there.Current)
		check(err)
		return e
	}
	first := said("first", small.Forward[0])
	current := roomstate.Build(func(yield func(roomstate.Key, id.EventID) bool) {
		for key, eventID := range state {
			if !yield(key, eventID) {
				return
			}
		}
		for i := range entries - len(state) {
			if !yield(roomstate.Key{Type: "m.room.member", StateKey: fmt.Sprintf("@user%d:there.test", i)}, id.EventID(fmt.Sprintf("$%043d", i))) {
				return
			}
		}
	})
	_, err = s.Commit(ctx, room.Commit{
		RoomID: l.roomID, Rules: l.rules, Events: []room.Committed{{Event: first, Status: room.Accepted, Before: current, After: current}},
		Forward: []id.EventID{first.ID()}, Depth: first.Depth(), Current: current, Resident: true,
	}, store.CommitOptions{})
	check(err)
	l.said = said("second", first.ID())
	end()
	running.Wait()
	check(s.Close())
	return l
}

// join makes a join of a template, and hands it in.
func (l *largeRoom) join(ctx context.Context, r *rooms.Rooms, made federation.MakeResponse) (federation.SendJoinResponse, error) {
	draft, err := event.ParseDraft(l.rules, made.Event)
	if err != nil {
		return federation.SendJoinResponse{}, err
	}
	e, err := draft.Sign(l.rules, largeThere, l.there.Current)
	if err != nil {
		return federation.SendJoinResponse{}, err
	}
	return r.SendJoin(ctx, largeThere, federation.SendRequest{RoomID: l.roomID, EventID: e.ID(), Event: e.JSON(), OmitMembers: true})
}

func (l *largeRoom) open(b *testing.B) *store.Store {
	b.Helper()
	s, err := store.Open(context.Background(), sqlite.Open(filepath.Join(l.dir, "db")), store.Options{ServerName: "bench.test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// start opens the database.
func (l *largeRoom) start(b *testing.B) (r *rooms.Rooms, stop func()) {
	b.Helper()
	s := l.open(b)
	log := slog.New(slog.DiscardHandler)
	r = rooms.New(rooms.Config{
		Self: "bench.test", Key: l.own.Current, Store: s, Log: log,
		Client: client.New(client.Config{Origin: "bench.test", Key: l.own.Current, Resolver: road{newWorld(), "bench.test"}, Log: log}),
		Ring:   keys.NewRing(keys.RingConfig{Self: "bench.test", Own: l.own, Fetcher: l, Log: log}),
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	running.Go(func() { _ = r.Run(ctx) })
	return r, func() {
		cancel()
		running.Wait()
		if err := s.Close(); err != nil {
			b.Error(err)
		}
		runtime.KeepAlive(r)
	}
}

// ServerKeys and NotaryQuery make it a keys.Fetcher.
func (l *largeRoom) ServerKeys(context.Context, id.ServerName) (json.RawMessage, error) {
	return l.there.ServerKeys(largeThere, time.Now().Add(time.Hour))
}

func (l *largeRoom) NotaryQuery(context.Context, id.ServerName, keys.NotaryRequest) ([]json.RawMessage, error) {
	return nil, errors.New("there is no notary")
}

// memory is a line of the process's status, in kB.
func memory(b *testing.B, line string) (kB int) {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := bytes.Cut(status, []byte(line))
	if _, err := fmt.Fscan(bytes.NewReader(rest), &kB); err != nil {
		b.Fatal(err)
	}
	return kB
}

// processorTime is what the process has used so far.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
