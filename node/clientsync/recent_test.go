package clientsync

import (
	"context"
	"database/sql"
	"testing"

	"hanse/node/rooms"
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
