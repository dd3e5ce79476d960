package clientsync

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"hanse/federation/id"
	"hanse/node/push"
	"hanse/node/rooms"
	"hanse/node/store"
	"hanse/node/stream"
)

// said is an event of the model.
type said struct {
	eventID id.EventID
	sender  id.UserID
	thread  string
	body    string
	notice  bool
	mention id.UserID
	gone    bool
	related bool
	cited   bool // what relates to it would lose its thread with it
}

// ledger is what a user has not read, counted anew each time from everything that happened.
type ledger struct {
	user    id.UserID
	from    int            // the stay began before this event
	read    map[string]int // how many events are read, by thread
	muted   bool
	word    bool // "cake" is highlighted
	ignored id.UserID
}

func (l *ledger) count(all []*said) map[string]Unread {
	counts := map[string]Unread{}
	for i, e := range all {
		switch {
		case i < l.from, i < max(l.read[""], l.read[e.thread]), e.sender == l.user, e.gone, e.notice, e.sender == l.ignored:
			continue
		}
		highlight := e.mention == l.user || l.word && e.body == "cake"
		if l.muted && !highlight {
			continue
		}
		c := counts[e.thread]
		c.Notifications++
		if highlight {
			c.Highlights++
		}
		counts[e.thread] = c
	}
	return counts
}

var seedFlag = flag.Uint64("seed", 1, "of what users do; 0: by the clock, so that no change is refused for what it didn't do")

// TestCountsAreWhatHappened has users say, read, redact, leave, come back and change their rules at random, and the server
// be started anew: whatever the order, what is counted is what a count from the beginning gives.
func TestCountsAreWhatHappened(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	c := newChat(t, 4)
	c.syncer.saveAfter = 7
	ctx := context.Background()
	var all []*said
	users := map[id.UserID]*ledger{}
	for _, user := range c.users {
		users[user] = &ledger{user: user, read: map[string]int{}}
	}
	say := func(e *said, content map[string]any) {
		raw, _ := json.Marshal(content)
		var err error
		if e.eventID, err = c.rooms.Send(ctx, rooms.SendRequest{Room: c.room, Sender: e.sender, Type: "m.room.message", Content: raw}); err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
		l := users[e.sender]
		l.read[e.thread] = len(all) // who answers has read
	}
	message := func(sender id.UserID) {
		e := &said{sender: sender, thread: "main", body: []string{"cake", "bread"}[random.IntN(2)], notice: random.IntN(6) == 0}
		content := map[string]any{"msgtype": "m.text", "body": e.body}
		if e.notice {
			content["msgtype"] = "m.notice"
		} else if random.IntN(4) == 0 {
			e.mention = c.users[random.IntN(len(c.users))]
			content["m.mentions"] = map[string]any{"user_ids": []id.UserID{e.mention}}
		}
		if target := anyOf(random, all); target != nil && random.IntN(3) == 0 && (!target.related || target.thread != "main") && !target.gone {
			rel := map[string]any{"event_id": target.eventID, "rel_type": "m.thread"}
			switch {
			case random.IntN(3) == 0:
				rel["rel_type"], e.thread = "m.reference", target.thread
			case target.thread != "main":
				rel["event_id"], e.thread = target.thread, target.thread
			default:
				e.thread = string(target.eventID)
			}
			content["m.relates_to"] = rel
			if rel["rel_type"] == "m.reference" && e.thread != "main" {
				target = firstOf(all, e.thread) // an event that is in the thread itself
				rel["event_id"] = target.eventID
			}
			target.cited, e.related = true, true
		}
		say(e, content)
	}
	account := func(l *ledger, typ string, content any) {
		raw, _ := json.Marshal(content)
		if _, err := c.store.SetAccountData(ctx, l.user, "", typ, raw); err != nil {
			t.Fatal(err)
		}
	}
	rules := func(l *ledger) {
		set, words := push.DefaultRules(l.user), "cake"
		var err error
		if l.muted {
			set, err = set.Put(push.KindRoom, string(c.room), push.Change{Actions: json.RawMessage(`[]`)}, "", "")
		}
		if l.word && err == nil {
			set, err = set.Put(push.KindContent, "word", push.Change{
				Actions: json.RawMessage(`["notify",{"set_tweak":"highlight"}]`), Pattern: &words}, "", "")
		}
		if err != nil {
			t.Fatal(err)
		}
		account(l, push.AccountDataType, push.Content{Global: set})
	}
	receipt := func(l *ledger) {
		if len(all) == 0 {
			return
		}
		at := random.IntN(len(all))
		thread := []string{"", "main", all[random.IntN(len(all))].thread}[random.IntN(3)]
		typ := []string{"m.read", "m.read.private"}[random.IntN(2)]
		if err := c.momentary.SetReceipt(ctx, c.room, l.user, typ, all[at].eventID, thread); err != nil {
			t.Fatal(err)
		}
		l.read[thread] = max(l.read[thread], at+1)
	}
	for step := range 220 {
		l := users[c.users[random.IntN(len(c.users))]]
		switch what := random.IntN(20); {
		case what < 11:
			message(l.user)
		case what < 14:
			receipt(l)
		case what == 14 && len(all) > 0:
			i := random.IntN(len(all))
			e, sender := all[i], users[all[i].sender]
			if e.cited || max(sender.read[""], sender.read[e.thread]) <= i+1 { // or nothing else would tell what they have read
				continue
			}
			if _, err := c.rooms.Send(ctx, rooms.SendRequest{Room: c.room, Sender: e.sender, Type: "m.room.redaction", Content: json.RawMessage(`{}`), Redacts: e.eventID}); err != nil {
				t.Fatal(err)
			}
			e.gone = true
		case what == 15 && l.user != c.users[0]:
			if err := c.rooms.Leave(ctx, l.user, c.room, ""); err != nil {
				t.Fatal(err)
			}
			message(c.users[0])
			if err := c.rooms.Join(ctx, rooms.JoinRequest{User: l.user, Room: c.room}); err != nil {
				t.Fatal(err)
			}
			l.from = len(all)
		case what == 16:
			l.muted = !l.muted
			rules(l)
		case what == 17:
			l.word = !l.word
			rules(l)
		case what == 18:
			l.ignored = []id.UserID{"", c.users[random.IntN(len(c.users))]}[random.IntN(2)]
			if l.ignored == l.user {
				l.ignored = ""
			}
			account(l, ignoredUsersType, map[string]any{"ignored_users": map[id.UserID]any{l.ignored: struct{}{}}})
		case what == 19:
			if random.IntN(2) == 0 {
				c.stop(t)
			}
			c.restart(t)
		}
		asked := users[c.users[random.IntN(len(c.users))]]
		room := c.sync(t, Request{User: asked.user, Initial: true}).Joined[c.room]
		if room == nil {
			t.Fatalf("step %d: %s is not in the room", step, asked.user)
		}
		got := room.Unread
		if want := asked.count(all); !maps.Equal(got, want) && len(got)+len(want) > 0 {
			t.Fatalf("step %d: %s has %v, not %v", step, asked.user, got, want)
		}
	}
}

func anyOf(random *rand.Rand, all []*said) *said {
	if len(all) == 0 {
		return nil
	}
	return all[random.IntN(len(all))]
}

// firstOf is the first event of a thread that says so itself.
func firstOf(all []*said, thread string) *said {
	i := slices.IndexFunc(all, func(e *said) bool { return e.thread == thread && !e.gone })
	return all[i]
}

// stop has the syncer save what it does when the server stops.
func (c *chat) stop(tb testing.TB) {
	ended, end := context.WithCancel(context.Background())
	end()
	if err := c.syncer.Run(ended); err != nil {
		tb.Fatal(err)
	}
}

// TestCountsOutliveAStop: what took some work to count isn't counted anew after a start.
func TestCountsOutliveAStop(t *testing.T) {
	c := newChat(t, 3)
	for range 30 {
		c.say(t, "hello")
	}
	want := c.sync(t, Request{User: c.users[1], Initial: true}).Joined[c.room].Unread
	c.stop(t)
	c.restart(t)
	c.say(t, "once more")
	got := c.sync(t, Request{User: c.users[1], Initial: true}).Joined[c.room].Unread
	if want[MainThread].Notifications != 30 || got[MainThread].Notifications != 31 {
		t.Errorf("%v, then %v", want, got)
	}
	u, _ := c.syncer.unreads.Get(unreadKey{c.users[1], c.room})
	if u.since != 1 {
		t.Errorf("%d events were looked at after the start", u.since)
	}
	if _, saved, err := c.store.Unread(context.Background(), c.users[2], c.room); saved || err != nil {
		t.Errorf("what nobody asked for is saved: %v", err)
	}
}

// restart has everything in memory forgotten, as a process does that is killed.
func (c *chat) restart(tb testing.TB) {
	for { // what was offered is written, at times
		select {
		case saved := <-c.syncer.saving:
			if err := c.store.SaveUnread(context.Background(), []store.Unread{saved}); err != nil {
				tb.Fatal(err)
			}
			continue
		default:
		}
		break
	}
	after := c.syncer.saveAfter
	c.syncer = New(c.store, stream.New(c.store, c.momentary, nil), c.rooms, c.momentary)
	c.syncer.saveAfter = after
}

// TestTheAnswerCountsItsEvents: the count comes with the event, and goes with the receipt.
func TestTheAnswerCountsItsEvents(t *testing.T) {
	c := newChat(t, 2)
	since := c.sync(t, Request{User: c.users[1], Initial: true}).Next
	for i := range 3 {
		c.say(t, fmt.Sprint(i))
		answer := c.sync(t, Request{User: c.users[1], Since: since})
		room := answer.Joined[c.room]
		if got := room.Unread[MainThread]; got != (Unread{Notifications: i + 1}) || len(room.Timeline.Events) != 1 {
			t.Fatalf("%d: %v with %d events", i, got, len(room.Timeline.Events))
		}
		since = answer.Next
		if i == 2 {
			if err := c.momentary.SetReceipt(context.Background(), c.room, c.users[1], "m.read.private", room.Timeline.Events[0].Event.ID(), "main"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if room := c.sync(t, Request{User: c.users[1], Since: since}).Joined[c.room]; room == nil || len(room.Unread) != 0 {
		t.Fatalf("read, but %+v", room)
	}
	deaf := Filter{Room: RoomFilter{Ephemeral: RoomEventFilter{EventFilter: EventFilter{Types: []string{}}}}}
	if room := c.sync(t, Request{User: c.users[1], Since: since, Filter: deaf}).Joined[c.room]; room == nil || len(room.Unread) != 0 || len(room.Receipts) != 0 {
		t.Errorf("a client that wants no receipts is told %+v", room)
	}
	if other := c.sync(t, Request{User: c.users[0], Since: since, Filter: deaf}).Joined[c.room]; other != nil {
		t.Errorf("the reading of others is told: %+v", other)
	}
	if own := c.sync(t, Request{User: c.users[0], Initial: true}).Joined[c.room]; len(own.Unread) != 0 {
		t.Errorf("one's own messages count: %v", own.Unread)
	}
}

// TestWhoAnswersHasRead: what a user sends reads the thread that it is in, as a receipt does. A new name, which the server sends
// to all their rooms, and a redaction read nothing.
func TestWhoAnswersHasRead(t *testing.T) {
	c := newChat(t, 2)
	ctx := context.Background()
	send := func(sender id.UserID, typ, content string, redacts id.EventID) id.EventID {
		e, err := c.rooms.Send(ctx, rooms.SendRequest{Room: c.room, Sender: sender, Type: typ, Content: json.RawMessage(content), Redacts: redacts})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	check := func(what string, want map[string]Unread, unread ...id.EventID) {
		t.Helper()
		got := c.sync(t, Request{User: c.users[1], Initial: true}).Joined[c.room].Unread
		if !maps.Equal(got, want) && len(got)+len(want) > 0 {
			t.Errorf("%s: unread are %v, not %v", what, got, want)
		}
		for next, pages := store.Position(0), 0; ; pages++ {
			list, place, err := c.syncer.Notifications(ctx, c.users[1], "DEVICE", next, 1, false)
			if err != nil || pages > 10 {
				t.Fatalf("%s: page %d: %v", what, pages, err)
			}
			for _, n := range list {
				if n.Read == slices.Contains(unread, n.Event.ID()) {
					t.Errorf("%s: it is told of %s that it was read: %t", what, n.Event.Content(), n.Read)
				}
			}
			if place == "" {
				return
			}
			if next, err = ParseNotificationPlace(place); err != nil {
				t.Fatal(err)
			}
		}
	}
	other, self := c.users[0], c.users[1]
	own := send(self, "m.room.message", `{"msgtype":"m.text","body":"first"}`, "")
	root := send(other, "m.room.message", `{"msgtype":"m.text","body":"root"}`, "")
	inThread := send(other, "m.room.message", `{"msgtype":"m.text","body":"in it","m.relates_to":{"rel_type":"m.thread","event_id":"`+string(root)+`"}}`, "")
	both := map[string]Unread{MainThread: {Notifications: 1}, string(root): {Notifications: 1}}
	check("before", both, root, inThread)
	send(self, "m.room.redaction", `{}`, own)
	key := string(self)
	_, err := c.rooms.Send(ctx, rooms.SendRequest{Room: c.room, Sender: self, Type: "m.room.member", StateKey: &key, Content: json.RawMessage(`{"membership":"join","displayname":"New"}`)})
	if err != nil {
		t.Fatal(err)
	}
	check("a redaction and a new name", both, root, inThread)
	send(self, "m.room.message", `{"msgtype":"m.text","body":"answer"}`, "")
	check("an answer", map[string]Unread{string(root): {Notifications: 1}}, inThread)
	c.restart(t)
	check("a start", map[string]Unread{string(root): {Notifications: 1}}, inThread)
	send(self, "m.room.message", `{"msgtype":"m.text","body":"there","m.relates_to":{"rel_type":"m.thread","event_id":"`+string(root)+`"}}`, "")
	check("an answer in the thread", nil)
	later := send(other, "m.room.message", `{"msgtype":"m.text","body":"later"}`, "")
	check("a later message", map[string]Unread{MainThread: {Notifications: 1}}, later)
}

func TestManyUnreadAreBounded(t *testing.T) {
	u := &unreadRoom{}
	for i := range maxUnread + 50 {
		u.add(unreadEvent{store.Position(i + 1), []string{"main", "$root"}[i%2], i%3 == 0})
	}
	if n := len(u.events); n != maxUnread || u.counts["main"].Notifications+u.counts["$root"].Notifications != maxUnread {
		t.Errorf("%d events, %v", n, u.counts)
	}
	again, ok := decodeUnread(encodeUnread(u.events))
	if !ok || !slices.Equal(again, u.events) {
		t.Errorf("%d events were saved, %d read back", len(u.events), len(again))
	}
	u.remove(func(unreadEvent) bool { return true })
	if len(u.counts) != 0 {
		t.Errorf("nothing is left but %v", u.counts)
	}
}

func FuzzSavedUnread(f *testing.F) {
	f.Add(encodeUnread([]unreadEvent{{7, "main", true}, {9, "$x", false}}))
	f.Add([]byte{unreadFormat, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if events, ok := decodeUnread(b); ok {
			if again, ok := decodeUnread(encodeUnread(events)); !ok || !slices.Equal(again, events) {
				t.Errorf("%v, %v", events, again)
			}
		}
	})
}
