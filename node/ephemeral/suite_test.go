package ephemeral_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ed25519"

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/id"
	machine "hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
	"hanse/federation/signedjson"
	"hanse/node/ephemeral"
	"hanse/node/store"
	"hanse/node/store/sqlite"
)

func TestEphemeral(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(2 * time.Minute) // on a loaded machine
	RunSpecs(t, "ephemeral")
}

const (
	self  = id.ServerName("example.org")
	far   = id.ServerName("far.test")
	alice = id.UserID("@alice:example.org")
	bob   = id.UserID("@bob:example.org")
	zoe   = id.UserID("@zoe:far.test")
	carol = id.UserID("@carol:example.org") // in no room
)

// sent is a volatile EDU that went out.
type sent struct {
	to  []id.ServerName
	edu federation.EDU
}

// world is a room with alice and bob of this server and zoe of another.
type world struct {
	*ephemeral.Ephemeral
	config ephemeral.Config
	store  *store.Store
	room   id.RoomID
	events []id.EventID // messages of alice, oldest first
	sent   chan sent
	out    func(table string, out bool) // what is in a table can't be read or written, or can again
}

// database is one that can go out.
func (w *world) database(path string) store.Dialect {
	d := sqlite.OpenUnsynced(path)
	classify := d.Classify
	w.out = func(table string, out bool) {
		GinkgoHelper()
		from, to := "away", table
		if out {
			from, to = to, from
		}
		write, read, err := d.Connect(context.Background())
		Expect(err).NotTo(HaveOccurred())
		_, err = write.Exec("ALTER TABLE " + from + " RENAME TO " + to)
		Expect(err).NotTo(HaveOccurred())
		Expect(write.Close()).To(Succeed())
		Expect(read.Close()).To(Succeed())
	}
	d.Classify = func(err error) store.ErrorClass {
		if strings.Contains(err.Error(), "no such table: ") {
			return store.ConnectionError
		}
		return classify(err)
	}
	return d
}

// nothing is the source of a room that is being made.
type nothing struct{}

func (nothing) Events([]id.EventID) (map[id.EventID]machine.Stored, error) { return nil, nil }
func (nothing) StateAfter(id.EventID) (roomstate.Map, bool, error) {
	return roomstate.Map{}, false, nil
}
func (nothing) Referenced([]id.EventID) (map[id.EventID]bool, error) { return nil, nil }

func newWorld(allowed func(context.Context, id.RoomID, id.ServerName) (bool, error)) *world {
	GinkgoHelper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &world{sent: make(chan sent, 100)}
	s, err := store.Open(ctx, w.database(filepath.Join(GinkgoT().TempDir(), "hanse.db")), store.Options{ServerName: self})
	Expect(err).NotTo(HaveOccurred())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(ctx) }()
	DeferCleanup(func() {
		cancel()
		<-done
		Expect(s.Close()).To(Succeed())
	})
	w.store = s
	w.config = ephemeral.Config{Self: self, Store: s, Allowed: allowed, Send: func(to []id.ServerName, edus ...federation.EDU) {
		for _, edu := range edus {
			w.sent <- sent{to, edu}
		}
	}}
	w.Ephemeral, err = ephemeral.New(w.config)
	Expect(err).NotTo(HaveOccurred())
	w.fill(ctx)
	return w
}

func (w *world) fill(ctx context.Context) {
	GinkgoHelper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	Expect(err).NotTo(HaveOccurred())
	rules, _ := roomversion.Lookup(roomversion.V12)
	state := func(sender id.UserID, typ, key, content string) event.Draft {
		return event.Draft{Sender: sender, Type: typ, StateKey: &key, Content: json.RawMessage(content)}
	}
	drafts := []event.Draft{
		state(alice, "m.room.create", "", `{"room_version":"12"}`),
		state(alice, "m.room.member", string(alice), `{"membership":"join"}`),
		state(alice, "m.room.join_rules", "", `{"join_rule":"public"}`),
		state(bob, "m.room.member", string(bob), `{"membership":"join"}`),
		state(zoe, "m.room.member", string(zoe), `{"membership":"join"}`),
	}
	for range 3 {
		drafts = append(drafts, event.Draft{Sender: alice, Type: "m.room.message", Content: json.RawMessage(`{"body":"hi"}`)})
	}
	m := machine.New(self, rules)
	result, err := m.Step(time.Now(), machine.Propose{Drafts: drafts, Key: signedjson.Key{ID: "ed25519:1", Private: private}}, nothing{})
	Expect(err).NotTo(HaveOccurred())
	for _, v := range result.Verdicts {
		Expect(v.Status).To(Equal(machine.Accepted), v.Reason)
	}
	result.Commit.Send = nil
	_, err = w.store.Commit(ctx, result.Commit, store.CommitOptions{})
	Expect(err).NotTo(HaveOccurred())
	w.room = m.RoomID()
	for _, e := range result.Commit.Events[5:] {
		w.events = append(w.events, e.Event.ID())
	}
}

func (w *world) handle(origin id.ServerName, typ string, content any) {
	GinkgoHelper()
	raw, ok := content.(string)
	if !ok {
		encoded, err := json.Marshal(content)
		Expect(err).NotTo(HaveOccurred())
		raw = string(encoded)
	}
	Expect(w.HandleEDU(context.Background(), origin, federation.EDU{Type: typ, Content: json.RawMessage(raw)})).To(Succeed())
	w.Flush(context.Background())
}

func (w *world) typists() []id.UserID {
	users, _ := w.Typing(w.room)
	return users
}

// receipts lists a user's receipts as "type thread" → event.
func (w *world) receipts(user id.UserID) map[string]id.EventID {
	GinkgoHelper()
	list, err := w.store.UserReceipts(context.Background(), w.room, user)
	Expect(err).NotTo(HaveOccurred())
	found := map[string]id.EventID{}
	for _, r := range list {
		found[r.Type+" "+r.Thread] = r.Event
	}
	return found
}

var _ = Describe("typing", func() {
	It("goes out to the other servers in the room, and only what is new", func(ctx context.Context) {
		w := newWorld(nil)
		for _, typing := range []bool{true, true, false, false} {
			Expect(w.SetTyping(ctx, w.room, alice, typing, time.Minute)).To(Succeed())
			w.Flush(ctx)
		}
		Expect(w.sent).To(HaveLen(2))
		for _, typing := range []bool{true, false} {
			s := <-w.sent
			Expect(s.to).To(Equal([]id.ServerName{far}))
			Expect(s.edu.Type).To(Equal("m.typing"))
			Expect(s.edu.Content).To(MatchJSON(mustJSON(map[string]any{"room_id": w.room, "user_id": alice, "typing": typing})))
		}
		Expect(w.SetTyping(ctx, w.room, carol, true, time.Minute)).To(MatchError(ContainSubstring("M_FORBIDDEN")))
	})

	It("comes in for the origin's own users who are in the room", func() {
		w := newWorld(nil)
		typing := func(origin id.ServerName, user id.UserID, room id.RoomID, yes bool) {
			w.handle(origin, "m.typing", map[string]any{"room_id": room, "user_id": user, "typing": yes})
		}
		typing(far, alice, w.room, true)
		typing("other.test", zoe, w.room, true)
		typing(far, "@yan:far.test", w.room, true)
		typing(far, zoe, "!other:far.test", true)
		typing(far, "nonsense", w.room, true)
		for _, content := range []string{`[]`, `{}`, `{"room_id":7}`, `null`} {
			w.handle(far, "m.typing", content)
		}
		Expect(w.typists()).To(BeEmpty())
		typing(far, zoe, w.room, true)
		Expect(w.typists()).To(Equal([]id.UserID{zoe}))
		typing(far, zoe, w.room, false)
		Expect(w.typists()).To(BeEmpty())
		Expect(w.sent).To(BeEmpty(), "what comes in must not go out again")
	})

	It("ends by itself, and then the others are told", func(ctx context.Context) {
		w := newWorld(nil)
		watch := w.WatchTyping(10)
		defer watch.Close()
		running, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() { defer close(done); _ = w.Run(running) }()
		Expect(w.SetTyping(ctx, w.room, alice, true, time.Minute)).To(Succeed())
		Expect(<-watch.C).To(Equal(w.room))
		<-w.sent
		Expect(w.SetTyping(ctx, w.room, alice, true, time.Millisecond)).To(Succeed()) // no sooner: of what ended before they were told nobody hears
		var stopped sent
		Eventually(w.sent).Should(Receive(&stopped))
		Expect(stopped.edu.Content).To(MatchJSON(mustJSON(map[string]any{"room_id": w.room, "user_id": alice, "typing": false})))
		Expect(<-watch.C).To(Equal(w.room))
		stop()
		<-done
		Eventually(watch.C).Should(BeClosed())
	}, SpecTimeout(5*time.Minute))
})

var _ = Describe("receipts", func() {
	It("go out with their room, type and thread, private ones not", func(ctx context.Context) {
		w := newWorld(nil)
		Expect(w.SetReceipt(ctx, w.room, alice, ephemeral.Read, w.events[0], "main")).To(Succeed())
		Expect(w.SetReceipt(ctx, w.room, alice, ephemeral.ReadPrivate, w.events[2], "")).To(Succeed())
		Expect(w.receipts(alice)).To(Equal(map[string]id.EventID{"m.read main": w.events[0], "m.read.private ": w.events[2]}))
		w.Flush(ctx)
		var out sent
		Expect(w.sent).To(Receive(&out))
		Expect(w.sent).To(BeEmpty())
		Expect(out.to).To(Equal([]id.ServerName{far}))
		var edu federation.ReceiptEDU
		Expect(json.Unmarshal(out.edu.Content, &edu)).To(Succeed())
		Expect(edu[string(w.room)]).To(HaveLen(1))
		receipt := edu[string(w.room)]["m.read"][string(alice)]
		Expect(receipt.EventIDs).To(Equal([]id.EventID{w.events[0]}))
		Expect(receipt.Data.ThreadID).To(Equal("main"))
		Expect(receipt.Data.TS).To(BeNumerically("~", time.Now().UnixMilli(), 60_000))
		Expect(w.SetReceipt(ctx, w.room, carol, ephemeral.Read, w.events[0], "")).To(MatchError(ContainSubstring("M_FORBIDDEN")))
	})

	It("that were set before the database went out go out when it is back", func(ctx context.Context) {
		w := newWorld(nil)
		Expect(w.SetReceipt(ctx, w.room, alice, ephemeral.Read, w.events[0], "")).To(Succeed())
		w.out("partial_servers", true)
		w.Flush(ctx)
		Expect(w.sent).To(BeEmpty())
		w.out("partial_servers", false)
		w.Flush(ctx)
		Expect(w.sent).To(HaveLen(1))
	})

	for _, table := range []string{"members", "receipts"} {
		It("of other servers that come while the database is out are stored when it is back: "+table, func(ctx context.Context) {
			w := newWorld(nil)
			say := func(e id.EventID) {
				GinkgoHelper()
				content := fmt.Sprintf(`{%q:{"m.read":{%q:{"event_ids":[%q],"data":{"ts":1}}}}}`, w.room, zoe, e)
				Expect(w.HandleEDU(ctx, far, federation.EDU{Type: federation.EDUReceipt, Content: json.RawMessage(content)})).To(Succeed())
			}
			say(w.events[0])
			w.out(table, true)
			w.Flush(ctx)
			say(w.events[1])
			w.Flush(ctx)
			w.out(table, false)
			w.Flush(ctx)
			Expect(w.receipts(zoe)).To(Equal(map[string]id.EventID{"m.read ": w.events[1]}))
		})
	}

	It("of a thread say nothing of an event that was read with none named", func(ctx context.Context) {
		w := newWorld(nil)
		Expect(w.SetReceipt(ctx, w.room, alice, ephemeral.Read, w.events[0], "main")).To(Succeed())
		Expect(w.SetReceipt(ctx, w.room, alice, ephemeral.Read, w.events[1], "")).To(Succeed())
		w.Flush(ctx)
		for len(w.sent) > 0 {
			<-w.sent
		}
		Expect(w.SetReceipt(ctx, w.room, alice, ephemeral.Read, w.events[1], "main")).To(Succeed())
		Expect(w.SetReceipt(ctx, w.room, alice, ephemeral.ReadPrivate, w.events[1], "main")).To(Succeed())
		Expect(w.receipts(alice)).To(Equal(map[string]id.EventID{
			"m.read main": w.events[0], "m.read ": w.events[1], "m.read.private main": w.events[1],
		}))
		w.Flush(ctx)
		Expect(w.sent).To(BeEmpty())

		say := func(e id.EventID, data string) {
			w.handle(far, "m.receipt", fmt.Sprintf(`{%q:{"m.read":{%q:{"event_ids":[%q],"data":%s}}}}`, w.room, zoe, e, data))
		}
		say(w.events[1], `{"ts":1}`)
		say(w.events[1], `{"ts":2,"thread_id":"main"}`)
		Expect(w.receipts(zoe)).To(Equal(map[string]id.EventID{"m.read ": w.events[1]}))
		say(w.events[2], `{"ts":3,"thread_id":"main"}`)
		Expect(w.receipts(zoe)).To(Equal(map[string]id.EventID{"m.read ": w.events[1], "m.read main": w.events[2]}))
	})

	It("never go back", func(ctx context.Context) {
		w := newWorld(nil)
		for _, e := range []id.EventID{w.events[1], w.events[0], w.events[1]} {
			Expect(w.SetReceipt(ctx, w.room, alice, ephemeral.Read, e, "")).To(Succeed())
		}
		Expect(w.receipts(alice)).To(Equal(map[string]id.EventID{"m.read ": w.events[1]}))
		w.Flush(ctx)
		Expect(w.sent).To(HaveLen(1))
	})

	It("and typing go out together, threads apart, and nothing of it is queued", func(ctx context.Context) {
		w := newWorld(nil)
		for _, user := range []id.UserID{alice, bob} {
			for _, e := range w.events {
				Expect(w.SetReceipt(ctx, w.room, user, ephemeral.Read, e, "")).To(Succeed())
			}
			Expect(w.SetTyping(ctx, w.room, user, true, 0)).To(Succeed())
		}
		Expect(w.SetTyping(ctx, w.room, bob, false, 0)).To(Succeed()) // nobody has heard of it
		Expect(w.SetReceipt(ctx, w.room, alice, ephemeral.Read, w.events[0], "main")).To(Succeed())
		w.Flush(ctx)
		Expect(w.sent).To(HaveLen(3))
		Expect((<-w.sent).edu.Content).To(MatchJSON(mustJSON(map[string]any{"room_id": w.room, "user_id": alice, "typing": true})))
		got := map[string]id.EventID{}
		for range 2 {
			var edu federation.ReceiptEDU
			Expect(json.Unmarshal((<-w.sent).edu.Content, &edu)).To(Succeed())
			for user, r := range edu[string(w.room)]["m.read"] {
				got[user+" "+r.Data.ThreadID] = r.EventIDs[0]
			}
		}
		Expect(got).To(Equal(map[string]id.EventID{
			string(alice) + " ": w.events[2], string(alice) + " main": w.events[0], string(bob) + " ": w.events[2],
		}))
		batch, err := w.store.Next(ctx, far, 50, 100)
		Expect(err).NotTo(HaveOccurred())
		Expect(batch.Empty()).To(BeTrue())
		w.Flush(ctx)
		Expect(w.sent).To(BeEmpty())
	})

	It("that were set last go out again after a start, the newest of each thread", func(ctx context.Context) {
		w := newWorld(nil)
		longAgo := time.Now().Add(-2 * time.Minute).UnixMilli()
		_, err := w.store.SaveReceipts(ctx, []store.Receipt{
			{Room: w.room, Type: ephemeral.Read, User: bob, Event: w.events[0], TS: longAgo},                  // went out long ago
			{Room: w.room, Type: ephemeral.Read, User: carol, Event: w.events[0], TS: time.Now().UnixMilli()}, // has left
		})
		Expect(err).NotTo(HaveOccurred())
		for _, e := range w.events[:2] {
			Expect(w.SetReceipt(ctx, w.room, alice, ephemeral.Read, e, "")).To(Succeed())
		}
		Expect(w.SetReceipt(ctx, w.room, alice, ephemeral.Read, w.events[0], "main")).To(Succeed())
		Expect(w.SetReceipt(ctx, w.room, alice, ephemeral.ReadPrivate, w.events[2], "")).To(Succeed())
		_, err = w.store.SaveReceipts(ctx, []store.Receipt{{Room: w.room, Type: ephemeral.Read, User: zoe, Event: w.events[2], TS: time.Now().UnixMilli()}})
		Expect(err).NotTo(HaveOccurred())
		writes := w.store.Stats().Operations

		again, err := ephemeral.New(w.config)
		Expect(err).NotTo(HaveOccurred())
		Expect(again.SetReceipt(ctx, w.room, alice, ephemeral.Read, w.events[2], "main")).To(Succeed()) // set while it starts
		running, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() { defer close(done); _ = again.Run(running) }()
		got := map[string]id.EventID{}
		for range 2 {
			var out sent
			Eventually(w.sent).Should(Receive(&out))
			var edu federation.ReceiptEDU
			Expect(json.Unmarshal(out.edu.Content, &edu)).To(Succeed())
			for user, r := range edu[string(w.room)]["m.read"] {
				got[user+" "+r.Data.ThreadID] = r.EventIDs[0]
			}
		}
		stop()
		<-done
		Expect(w.sent).To(BeEmpty())
		Expect(got).To(Equal(map[string]id.EventID{string(alice) + " ": w.events[1], string(alice) + " main": w.events[2]}))
		Expect(w.store.Stats().Operations).To(Equal(writes+1), "the one that was set")
	})

	It("of others are written together", func() {
		w := newWorld(nil)
		before := w.store.Stats().Operations
		for _, e := range append(w.events, w.events...) {
			Expect(w.HandleEDU(context.Background(), far, federation.EDU{Type: "m.receipt", Content: json.RawMessage(mustJSON(map[string]any{
				string(w.room): map[string]any{"m.read": map[string]any{string(zoe): map[string]any{"event_ids": []any{e}, "data": map[string]any{"ts": 5}}}},
			}))})).To(Succeed())
		}
		w.Flush(context.Background())
		Expect(w.receipts(zoe)).To(Equal(map[string]id.EventID{"m.read ": w.events[2]}))
		Expect(w.store.Stats().Operations).To(Equal(before + 1))
	})

	It("move the read marker forward", func(ctx context.Context) {
		w := newWorld(nil)
		marker := func() string {
			data, _, err := w.store.AccountData(ctx, alice, w.room, "m.fully_read")
			Expect(err).NotTo(HaveOccurred())
			return string(data.Content)
		}
		for _, e := range []id.EventID{w.events[0], w.events[2], w.events[1]} {
			Expect(w.SetFullyRead(ctx, w.room, alice, e)).To(Succeed())
		}
		Expect(marker()).To(MatchJSON(mustJSON(map[string]any{"event_id": w.events[2]})))
		Expect(w.SetFullyRead(ctx, w.room, carol, w.events[0])).To(MatchError(ContainSubstring("M_FORBIDDEN")))
		w.Flush(ctx)
		Expect(w.sent).To(BeEmpty())
	})

	It("tell who has as much account data as there may be that there is no place for the read marker", func(ctx context.Context) {
		w := newWorld(nil)
		for _, typ := range []string{"a", "b", "c", "d"} { // 1 KiB is left
			_, err := w.store.SetAccountData(ctx, alice, "", typ, json.RawMessage(`{"a":"`+strings.Repeat("x", 8<<20-264)+`"}`))
			Expect(err).NotTo(HaveOccurred())
		}
		w.events[0] = id.EventID("$" + strings.Repeat("x", 2000)) // weighed as others are that aren't small
		Expect(w.SetFullyRead(ctx, w.room, alice, w.events[0])).To(MatchError(ContainSubstring("M_TOO_LARGE")))
	})

	It("come in for the origin's own users who are in the room", func() {
		w := newWorld(nil)
		receipt := func(origin id.ServerName, room id.RoomID, user id.UserID, event any) {
			w.handle(origin, "m.receipt", map[string]any{string(room): map[string]any{
				"m.read":         map[string]any{string(user): map[string]any{"event_ids": []any{event}, "data": map[string]any{"ts": 5}}},
				"m.read.private": map[string]any{string(user): map[string]any{"event_ids": []any{event}, "data": map[string]any{"ts": 5}}},
			}})
		}
		receipt("other.test", w.room, zoe, w.events[0])
		receipt(far, w.room, alice, w.events[0])
		receipt(far, w.room, "@yan:far.test", w.events[0])
		receipt(far, "!other:far.test", zoe, w.events[0])
		receipt(far, w.room, zoe, "nonsense")
		receipt(far, w.room, zoe, 7)
		for _, content := range []string{`[]`, `{}`, `null`, `{"!x:y":7}`, `{"nonsense":{"m.read":{}}}`} {
			w.handle(far, "m.receipt", content)
		}
		w.handle(far, "m.nonsense", `{}`)
		Expect(w.receipts(zoe)).To(BeEmpty())
		Expect(w.receipts(alice)).To(BeEmpty())
		receipt(far, w.room, zoe, w.events[1])
		receipt(far, w.room, zoe, w.events[0])
		Expect(w.receipts(zoe)).To(Equal(map[string]id.EventID{"m.read ": w.events[1]}))
		receipt(far, w.room, zoe, "$we-do-not-have-it:far.test")
		Expect(w.receipts(zoe)).To(HaveKeyWithValue("m.read ", id.EventID("$we-do-not-have-it:far.test")))
	})

	It("of servers that the room denies are ignored, as is their typing", func() {
		w := newWorld(func(_ context.Context, _ id.RoomID, server id.ServerName) (bool, error) { return server != far, nil })
		w.handle(far, "m.typing", map[string]any{"room_id": w.room, "user_id": zoe, "typing": true})
		w.handle(far, "m.receipt", map[string]any{string(w.room): map[string]any{
			"m.read": map[string]any{string(zoe): map[string]any{"event_ids": []any{w.events[0]}, "data": map[string]any{"ts": 5}}},
		}})
		Expect(w.typists()).To(BeEmpty())
		Expect(w.receipts(zoe)).To(BeEmpty())
	})
})

func mustJSON(v any) string {
	GinkgoHelper()
	raw, err := json.Marshal(v)
	Expect(err).NotTo(HaveOccurred())
	return string(raw)
}
