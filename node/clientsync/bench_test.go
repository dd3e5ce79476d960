package clientsync

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ed25519"

	"hanse/federation/client"
	"hanse/federation/id"
	"hanse/federation/signedjson"
	"hanse/node/ephemeral"
	"hanse/node/rooms"
	"hanse/node/store"
	"hanse/node/store/sqlite"
	"hanse/node/stream"
)

// chat is a server with one room, without its APIs.
type chat struct {
	path   string // of the database
	syncer *Syncer
	store  *store.Store
	rooms  *rooms.Rooms
	room   id.RoomID
	users  []id.UserID // all joined; the first made the room

	momentary *ephemeral.Ephemeral
}

func newChat(tb testing.TB, members int) *chat {
	tb.Helper()
	c := openChat(tb, filepath.Join(tb.TempDir(), "hanse.db"))
	for i := range members {
		c.users = append(c.users, id.UserID(fmt.Sprintf("@user%d:hanse.test", i)))
	}
	var err error
	if c.room, err = c.rooms.Create(context.Background(), rooms.CreateRequest{Creator: c.users[0], Preset: "public_chat"}); err != nil {
		tb.Fatal(err)
	}
	for _, user := range c.users[1:] {
		if err := c.rooms.Join(context.Background(), rooms.JoinRequest{User: user, Room: c.room}); err != nil {
			tb.Fatal(err)
		}
	}
	return c
}

// openChat starts a server on a database, until the test's end.
func openChat(tb testing.TB, path string) *chat {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	storing, stopStore := context.WithCancel(context.Background())
	var works, stores sync.WaitGroup
	s, err := store.Open(ctx, sqlite.Open(path), store.Options{ServerName: "hanse.test"})
	if err != nil {
		tb.Fatal(err)
	}
	stores.Go(func() { _ = s.Run(storing) })
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	key := signedjson.Key{ID: "ed25519:test", Private: private}
	c := &chat{path: path, store: s, rooms: rooms.New(rooms.Config{
		Self: "hanse.test", Key: key, Store: s, Client: client.New(client.Config{Origin: "hanse.test", Key: key}),
	})}
	works.Go(func() { _ = c.rooms.Run(ctx) })
	if c.momentary, err = ephemeral.New(ephemeral.Config{Self: "hanse.test", Store: s, Presence: ephemeral.PresenceBoth}); err != nil {
		tb.Fatal(err)
	}
	works.Go(func() { _ = c.momentary.Run(ctx) })
	places := stream.New(s, c.momentary, nil)
	works.Go(func() { _ = places.Run(ctx) })
	c.syncer = New(s, places, c.rooms, c.momentary)
	tb.Cleanup(func() {
		cancel()
		works.Wait()
		stopStore()
		stores.Wait()
		_ = s.Close()
	})
	return c
}

func (c *chat) say(tb testing.TB, text string) {
	content, _ := json.Marshal(map[string]string{"msgtype": "m.text", "body": text})
	_, err := c.rooms.Send(context.Background(), rooms.SendRequest{Room: c.room, Sender: c.users[0], Type: "m.room.message", Content: content})
	if err != nil {
		tb.Error(err)
	}
}

func (c *chat) sync(tb testing.TB, r Request) *Answer {
	answer, err := c.syncer.Sync(context.Background(), r)
	if err != nil {
		tb.Error(err)
		return &Answer{}
	}
	return answer
}

// BenchmarkIncremental builds the answer that tells of one message.
func BenchmarkIncremental(b *testing.B) {
	c := newChat(b, 50)
	since := c.sync(b, Request{User: c.users[1], Initial: true}).Next
	c.say(b, "hello")
	b.ReportAllocs()
	for b.Loop() {
		answer := c.sync(b, Request{User: c.users[1], Since: since})
		if n := len(answer.Joined[c.room].Timeline.Events); n != 1 {
			b.Fatalf("%d events", n)
		}
	}
}

// BenchmarkNothingNew is what a request costs before it waits.
func BenchmarkNothingNew(b *testing.B) {
	c := newChat(b, 50)
	since := c.sync(b, Request{User: c.users[1], Initial: true}).Next
	b.ReportAllocs()
	for b.Loop() {
		if answer := c.sync(b, Request{User: c.users[1], Since: since}); !answer.Empty() {
			b.Fatal("something is new")
		}
	}
}

// BenchmarkFanOut has 50 users wait in one room while 8 send: an op is a message, committed to disk and delivered to
// all 50.
func BenchmarkFanOut(b *testing.B) {
	c := newChat(b, 50)
	var waiters sync.WaitGroup
	var begun sync.WaitGroup
	begun.Add(len(c.users))
	for _, user := range c.users {
		waiters.Go(func() {
			since := c.sync(b, Request{User: user, Initial: true}).Next
			begun.Done()
			for got := 0; got < b.N && !b.Failed(); {
				answer := c.sync(b, Request{User: user, Since: since, Timeout: 10 * time.Second, Filter: Filter{Room: RoomFilter{
					Timeline: RoomEventFilter{EventFilter: EventFilter{Limit: new(maxTimeline)}},
				}}})
				since = answer.Next
				if room := answer.Joined[c.room]; room != nil {
					got += len(room.Timeline.Events)
				}
			}
		})
	}
	begun.Wait()
	b.ResetTimer()
	var senders sync.WaitGroup
	work := make(chan int)
	for range 8 {
		senders.Go(func() {
			for i := range work {
				c.say(b, fmt.Sprint("message ", i))
			}
		})
	}
	for i := range b.N {
		work <- i
	}
	close(work)
	senders.Wait()
	waiters.Wait()
	b.ReportMetric(float64(b.N*len(c.users))/b.Elapsed().Seconds(), "deliveries/s")
}

// BenchmarkUnreadAnew counts what is unread of a room of which nothing is known: maxUnreadScan messages.
func BenchmarkUnreadAnew(b *testing.B) {
	c := newChat(b, 2)
	var senders sync.WaitGroup
	for range 8 {
		senders.Go(func() {
			for range maxUnreadScan / 8 {
				c.say(b, "hello")
			}
		})
	}
	senders.Wait()
	b.ReportAllocs()
	for b.Loop() {
		c.syncer.unreads = NewCache[unreadKey, *unreadRoom](10)
		if n, err := c.syncer.Total(context.Background(), c.users[1]); err != nil || n != maxUnread {
			b.Fatal(n, err)
		}
	}
}

// BenchmarkManyRooms has a user of 2,000 rooms begin, and be told that they are in one more. Neither may grow by more than the rooms.
func BenchmarkManyRooms(b *testing.B) {
	const count = 2000
	c := newChat(b, 1)
	create := func() {
		_, err := c.rooms.Create(context.Background(), rooms.CreateRequest{Creator: c.users[0], Preset: "public_chat"})
		if err != nil {
			b.Error(err)
		}
	}
	var creators sync.WaitGroup
	for range 8 {
		creators.Go(func() {
			for range count / 8 {
				create()
			}
		})
	}
	creators.Wait()
	since := c.sync(b, Request{User: c.users[0], Initial: true}).Next
	create()
	b.Run("from the start", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if n := len(c.sync(b, Request{User: c.users[0], Initial: true}).Joined); n != count+2 {
				b.Fatalf("%d rooms", n)
			}
		}
	})
	b.Run("one more", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if n := len(c.sync(b, Request{User: c.users[0], Since: since}).Joined); n != 1 {
				b.Fatalf("%d rooms", n)
			}
		}
	})
}
