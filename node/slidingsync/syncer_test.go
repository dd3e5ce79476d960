package slidingsync

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ed25519"

	"hanse/federation/client"
	"hanse/federation/id"
	"hanse/federation/signedjson"
	"hanse/node/clientsync"
	"hanse/node/ephemeral"
	"hanse/node/rooms"
	"hanse/node/store"
	"hanse/node/store/sqlite"
	"hanse/node/stream"
)

// owner made the rooms of a house, and is in all of them.
const owner = id.UserID("@alice:hanse.test")

// house is a server without its APIs.
type house struct {
	*Syncer
	path  string // of the database
	chat  *rooms.Rooms
	rooms []id.RoomID // the owner's, the oldest first
}

// newHouse makes one with some rooms.
func newHouse(tb testing.TB, size int) *house {
	tb.Helper()
	h := openHouse(tb, filepath.Join(tb.TempDir(), "hanse.db"))
	if err := h.store.AddDevice(tb.Context(), store.Device{User: owner, ID: "A", Created: time.Now()}); err != nil {
		tb.Fatal(err)
	}
	for range size {
		room, err := h.chat.Create(tb.Context(), rooms.CreateRequest{Creator: owner, Preset: "public_chat"})
		if err != nil {
			tb.Fatal(err)
		}
		h.rooms = append(h.rooms, room)
	}
	return h
}

// openHouse starts one on a database, until the test's end.
func openHouse(tb testing.TB, path string) *house {
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
	chat := rooms.New(rooms.Config{Self: "hanse.test", Key: key, Store: s, Client: client.New(client.Config{Origin: "hanse.test", Key: key})})
	works.Go(func() { _ = chat.Run(ctx) })
	momentary, err := ephemeral.New(ephemeral.Config{Self: "hanse.test", Store: s})
	if err != nil {
		tb.Fatal(err)
	}
	works.Go(func() { _ = momentary.Run(ctx) })
	tb.Cleanup(func() {
		cancel()
		works.Wait()
		stopStore()
		stores.Wait()
		_ = s.Close()
	})
	places := stream.New(s, momentary, nil)
	works.Go(func() { _ = places.Run(ctx) })
	return &house{New("hanse.test", s, places, momentary, clientsync.New(s, places, chat, momentary)), path, chat, nil}
}

// restarted is the same with a memory that begins now.
func (h *house) restarted(tb testing.TB) *house {
	tb.Helper()
	places := stream.New(h.store, h.ephemeral, nil)
	return &house{New("hanse.test", h.store, places, h.ephemeral, clientsync.New(h.store, places, h.chat, h.ephemeral)), h.path, h.chat, h.rooms}
}

// do sends an event of the owner's; of no state key, a message.
func (h *house) do(tb testing.TB, room id.RoomID, typ string, stateKey *string, content map[string]any) {
	tb.Helper()
	raw, err := json.Marshal(content)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := h.chat.Send(tb.Context(), rooms.SendRequest{Room: room, Sender: owner, Type: typ, StateKey: stateKey, Content: raw}); err != nil {
		tb.Fatal(err)
	}
}

func (h *house) say(tb testing.TB, room id.RoomID) {
	tb.Helper()
	h.do(tb, room, "m.room.message", nil, map[string]any{"msgtype": "m.text", "body": "hello"})
}

func (h *house) request(tb testing.TB, format string, args ...any) *Request {
	tb.Helper()
	r, err := Parse(fmt.Appendf(nil, format, args...), owner)
	if err != nil {
		tb.Fatal(err)
	}
	r.Device = "A"
	return r
}

// at is what a request looks at when a place is the newest.
func (h *house) at(tb testing.TB, now stream.Token, r *Request) *builder {
	tb.Helper()
	reader, err := h.Syncer.rooms.Reader(tb.Context(), owner, "A", now)
	if err != nil {
		tb.Fatal(err)
	}
	return &builder{
		Syncer: h.Syncer, request: r, reader: reader, told: newTold(now), news: newNews(now), now: now, since: now,
		answer: &Answer{Lists: map[string]List{}, Rooms: map[id.RoomID]*Room{}}, wanted: map[id.RoomID]*wanted{},
	}
}

func (b *builder) listedIn(tb testing.TB, list string) []id.RoomID {
	tb.Helper()
	if err := b.choose(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return b.answer.Lists[list].Windows[0].Rooms
}

// TestTheOrderOutlivesWhatIsRemembered: what happened before the memory of changes begins is found in the tables.
func TestTheOrderOutlivesWhatIsRemembered(t *testing.T) {
	h := newHouse(t, 3)
	list := h.request(t, `{"lists":{"a":{"ranges":[[0,0]],"filters":{"room_name_like":""}}}}`)
	if got := h.at(t, h.stream.Now(), list).listedIn(t, "a")[0]; got != h.rooms[2] {
		t.Fatalf("%s is first", got)
	}
	h.say(t, h.rooms[0])
	later := h.restarted(t)
	users, _ := h.users.Get(owner)
	later.users.Put(owner, users)
	if got := later.at(t, later.stream.Now(), list).listedIn(t, "a")[0]; got != h.rooms[0] {
		t.Errorf("%s is first, not the one where something was said", got)
	}
}

// TestAnOlderRequestSpoilsNoNewerOne: of two that are answered at a time, one may be of a moment before the other.
func TestAnOlderRequestSpoilsNoNewerOne(t *testing.T) {
	h := newHouse(t, 1)
	all := h.request(t, `{"lists":{"a":{"ranges":[[0,9]]}}}`)
	named := h.request(t, `{"lists":{"a":{"ranges":[[0,9]],"filters":{"room_name_like":"hall"}}}}`)
	before := h.stream.Now()
	h.at(t, before, all).listedIn(t, "a")
	nobody := ""
	h.do(t, h.rooms[0], "m.room.name", &nobody, map[string]any{"name": "Hall"})
	now := h.stream.Now()
	h.at(t, now, all).listedIn(t, "a")
	h.at(t, before, named).listedIn(t, "a")
	if got := h.at(t, now, named).listedIn(t, "a"); len(got) != 1 {
		t.Error("the room isn't found by its name")
	}
}

// TestARoomIsFoundByItsNewNameWhereAnotherOneWasJoined: the rooms are read anew then, and what is known of those that there were is kept.
func TestARoomIsFoundByItsNewNameWhereAnotherOneWasJoined(t *testing.T) {
	h := newHouse(t, 1)
	named := h.request(t, `{"lists":{"a":{"ranges":[[0,9]],"filters":{"room_name_like":"hall"}}}}`)
	if got := h.at(t, h.stream.Now(), named).listedIn(t, "a"); len(got) != 0 {
		t.Fatal("a room without a name is found by one")
	}
	nobody := ""
	h.do(t, h.rooms[0], "m.room.name", &nobody, map[string]any{"name": "Hall"})
	if _, err := h.chat.Create(t.Context(), rooms.CreateRequest{Creator: owner, Preset: "public_chat"}); err != nil {
		t.Fatal(err)
	}
	if got := h.at(t, h.stream.Now(), named).listedIn(t, "a"); len(got) != 1 {
		t.Error("the room isn't found by its name")
	}
}

// TestLargeAnswersAreMadeAFewAtATime: whoever waits for a word in a room that they know doesn't wait behind them.
func TestLargeAnswersAreMadeAFewAtATime(t *testing.T) {
	h := newHouse(t, fewRooms+1)
	small, large := h.request(t, `{"lists":{"a":{"ranges":[[0,%d]]}}}`, fewRooms-1), h.request(t, `{"lists":{"a":{"ranges":[[0,%d]]}}}`, fewRooms)
	for range cap(h.large) {
		h.large <- struct{}{}
	}
	answer, err := h.Sync(t.Context(), small)
	if err != nil || len(answer.Rooms) != fewRooms {
		t.Fatalf("%v, %v", answer, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Sync(ctx, large); !errors.Is(err, context.Canceled) {
		t.Errorf("a large one is made: %v", err)
	}
	<-h.large
	if answer, err = h.Sync(t.Context(), large); err != nil || len(answer.Rooms) != fewRooms+1 {
		t.Errorf("%v, %v", answer, err)
	}
	if len(h.large) != cap(h.large)-1 {
		t.Error("it keeps its place")
	}
}

// TestOneUsersLargeAnswersAreMadeOneByOne: who asks many times at once keeps nobody else waiting.
func TestOneUsersLargeAnswersAreMadeOneByOne(t *testing.T) {
	h := newHouse(t, fewRooms+1)
	b := h.at(t, h.stream.Now(), h.request(t, `{"lists":{"a":{"ranges":[[0,%d]]}}}`, fewRooms))
	b.listedIn(t, "a")
	leave, err := b.enter(t.Context())
	if err != nil || len(h.large) != 1 {
		t.Fatalf("%v, %d are in the making", err, len(h.large))
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.enter(ended); !errors.Is(err, context.Canceled) || len(h.large) != 1 {
		t.Errorf("another one is made at once: %v, %d", err, len(h.large))
	}
	leave()
	if len(h.large)+len(b.user.large) != 0 {
		t.Error("it keeps its place")
	}
}

// BenchmarkWake is what it costs to tell one who has many rooms, and waits, that something was said in one of them.
func BenchmarkWake(b *testing.B) {
	for _, n := range []int{50, 5000} {
		b.Run(fmt.Sprint(n, " rooms"), func(b *testing.B) {
			h := newHouse(b, n)
			ask := func(pos string) string {
				r := h.request(b, `{"lists":{"all":{"ranges":[[0,20]],"timeline_limit":1,"required_state":[["m.room.name",""]],
					"filters":{"not_room_types":["m.space"]}}},"extensions":{"e2ee":{"enabled":true},"to_device":{"enabled":true},
					"account_data":{"enabled":true},"receipts":{"enabled":true},"typing":{"enabled":true}}}`)
				r.Pos = pos
				answer, err := h.Sync(b.Context(), r)
				if err != nil {
					b.Fatal(err)
				}
				return answer.Pos
			}
			pos := ask("")
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				h.say(b, h.rooms[n/2])
				b.StartTimer()
				pos = ask(pos)
			}
		})
	}
}
