package clientsync

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"testing"

	"hanse/federation/id"
	"hanse/node/ephemeral"
	"hanse/node/rooms"
	"hanse/node/store"
	"hanse/node/stream"
)

// TestAStateIsReadOnceForAll: what happened in other rooms lies between a client's place and the room's commits. Once somebody was
// told of a message, the others are told without a look into the history of states: the table may be gone.
func TestAStateIsReadOnceForAll(t *testing.T) {
	c := newChat(t, 4)
	elsewhere := func() {
		t.Helper()
		if _, err := c.rooms.Create(context.Background(), rooms.CreateRequest{Creator: c.users[0], Preset: "public_chat"}); err != nil {
			t.Fatal(err)
		}
	}
	since := make([]stream.Token, len(c.users))
	for i, user := range c.users[1:] {
		since[i+1] = c.sync(t, Request{User: user, Initial: true}).Next
	}
	for i, user := range c.users[1:] {
		elsewhere()
		since[i+1] = c.sync(t, Request{User: user, Since: since[i+1]}).Next
	}
	c.say(t, "hello")
	told := func(i int) {
		t.Helper()
		answer := c.sync(t, Request{User: c.users[i], Since: since[i]})
		if room := answer.Joined[c.room]; room == nil || len(room.Timeline.Events) != 1 || len(room.State) != 0 {
			t.Errorf("user %d is told %+v", i, room)
		}
	}
	told(1)
	db, err := sql.Open("sqlite", c.path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("DROP TABLE state_history"); err != nil {
		t.Fatal(err)
	}
	told(2)
	told(3)
}

// TestReceiptsAreReadOnceForAll: of a receipt all in the room are told out of one reading, also when they ask from different
// places, and who has set it alone reads what it leaves unread.
func TestReceiptsAreReadOnceForAll(t *testing.T) {
	c := newChat(t, 4)
	ctx := context.Background()
	c.say(t, "hello")
	since := make([]stream.Token, len(c.users))
	for i, user := range c.users {
		answer := c.sync(t, Request{User: user, Initial: true})
		since[i] = answer.Next
		c.say(t, "more")
	}
	last := c.sync(t, Request{User: c.users[1], Since: since[1]}).Joined[c.room].Timeline.Events
	read := func(user id.UserID, event int) {
		t.Helper()
		if err := c.momentary.SetReceipt(ctx, c.room, user, ephemeral.Read, last[event].Event.ID(), ""); err != nil {
			t.Fatal(err)
		}
	}
	told := func(i int, want ...id.UserID) {
		t.Helper()
		answer := c.sync(t, Request{User: c.users[i], Since: since[i]})
		var users []id.UserID
		if room := answer.Joined[c.room]; room != nil {
			for _, r := range room.Receipts {
				users = append(users, r.User)
			}
		}
		if !slices.Equal(users, want) {
			t.Errorf("user %d is told of receipts of %v, want %v", i, users, want)
		}
		since[i] = answer.Next
	}
	for i := range c.users {
		told(i)
	}
	read(c.users[1], 0)
	told(2, c.users[1])
	read(c.users[0], 0)
	read(c.users[1], 1)
	told(0, c.users[0], c.users[1])
	told(1, c.users[0], c.users[1])
	db, err := sql.Open("sqlite", c.path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("DROP TABLE receipts"); err != nil {
		t.Fatal(err)
	}
	told(2, c.users[0], c.users[1])
	told(3, c.users[0], c.users[1])
	if _, err := c.syncer.Sync(ctx, Request{User: c.users[3], Initial: true}); err == nil {
		t.Error("a client that begins was told of what is in memory alone")
	}
}

// A newer receipt takes the place of the one that it follows on, and the oldest are forgotten.
func TestReceiptList(t *testing.T) {
	l := receiptList{after: 1, upto: 1}
	l.add([]store.Receipt{{User: "@a:a", Type: "m.read", Position: 2}, {User: "@a:a", Type: "m.read", Thread: "main", Position: 3}})
	l.add([]store.Receipt{{User: "@b:a", Type: "m.read", Position: 4}, {User: "@a:a", Type: "m.read", Position: 5}})
	var at []store.Position
	for _, r := range l.all {
		at = append(at, r.Position)
	}
	if !slices.Equal(at, []store.Position{3, 4, 5}) || l.after != 1 {
		t.Errorf("%v after %d", at, l.after)
	}
	for i := range maxReceipts {
		l.add([]store.Receipt{{User: id.UserID(fmt.Sprint("@", i, ":b")), Type: "m.read", Position: store.Position(6 + i)}})
	}
	if len(l.all) != maxReceipts || l.after != 5 || l.all[0].Position != 6 {
		t.Errorf("%d after %d", len(l.all), l.after)
	}
}
