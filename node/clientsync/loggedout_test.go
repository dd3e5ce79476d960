package clientsync

import (
	"context"
	"errors"
	"testing"
	"time"

	"hanse/node/store"
)

// TestADeviceThatWasLoggedOutBeforeItsRequestBegan: a request may have been admitted before, and have waited for its turn.
func TestADeviceThatWasLoggedOutBeforeItsRequestBegan(t *testing.T) {
	c := newChat(t, 2)
	r := Request{User: c.users[1], Device: "D", Initial: true}
	if err := c.store.AddDevice(context.Background(), store.Device{User: r.User, ID: "D", Created: time.Now()}); err != nil {
		t.Fatal(err)
	}
	r.Since, r.Initial = c.sync(t, r).Next, false
	c.say(t, "hello")
	if len(c.sync(t, r).Joined) != 1 {
		t.Error("who is logged in is told nothing")
	}
	if err := c.store.DeleteDevices(context.Background(), r.User, "D"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.syncer.Sync(context.Background(), r); !errors.Is(err, ErrLoggedOut) {
		t.Errorf("the request ends with %v", err)
	}
}
