package clientsync

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"testing"
	"time"
)

// TestOnlyWhoComesIntoARoomWaitsForItsMembers: an answer in which a room that was just joined would be missing waits, and so does one with
// nothing else in it. To whom the room was missing already, other news are told at once.
func TestOnlyWhoComesIntoARoomWaitsForItsMembers(t *testing.T) {
	c := newChat(t, 1)
	before := Request{User: c.users[0], Since: c.syncer.stream.Now()}
	other, err := sql.Open("sqlite", c.path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.Exec("INSERT INTO partial_rooms (room, join_id) SELECT room, '$join' FROM rooms"); err != nil {
		t.Fatal(err)
	}
	c.syncer.recentRoom(c.room).wholeness = wholeness{partial: true, seen: time.Now().Add(time.Hour)} // its members take long
	c.say(t, "hello")
	answers := func(r Request, within time.Duration) bool {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		_, err := c.syncer.Sync(ctx, r)
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		return err == nil
	}
	const moment, long = 50 * time.Millisecond, 30 * time.Second
	joined := before
	joined.Since.Position, joined.Since.ToDevice = 0, 0
	if answers(joined, moment) {
		t.Error("the room that was joined is missing")
	}
	if answers(Request{User: c.users[0], Initial: true}, moment) {
		t.Error("the room is missing from the start")
	}
	if answers(before, moment) {
		t.Error("an empty answer doesn't wait")
	}
	if _, err := c.store.SetAccountData(t.Context(), before.User, "", "m.direct", json.RawMessage(`{}`)); err != nil {
		t.Fatal(err)
	}
	if !answers(before, long) {
		t.Error("other news are held back")
	}
}
