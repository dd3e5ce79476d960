package clientsync

import (
	"context"
	"database/sql"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"hanse/federation/id"
	"hanse/node/rooms"
	"hanse/node/store"
)

// TestAnAnswerThatIsNotAboutDevicesReadsNothingOfThem: once it is known that nothing waits for a device, neither an idle sync nor
// one about messages looks: the tables may be gone.
func TestAnAnswerThatIsNotAboutDevicesReadsNothingOfThem(t *testing.T) {
	c := newChat(t, 2)
	for _, device := range []string{"D", "another"} {
		if err := c.store.AddDevice(context.Background(), store.Device{User: c.users[1], ID: device, Created: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	r := Request{User: c.users[1], Device: "D", Initial: true}
	r.Since, r.Initial = c.sync(t, r).Next, false
	db, err := sql.Open("sqlite", c.path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, table := range []string{"to_device", "one_time_keys", "fallback_keys", "device_changes", "key_signatures"} {
		if _, err := db.Exec("DROP TABLE " + table); err != nil {
			t.Fatal(err)
		}
	}
	// Writing a message needs the table of members as little as reading it does.
	if _, err := db.Exec("ALTER TABLE members RENAME TO nobody"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c.say(t, "hello")
		answer := c.sync(t, r)
		if len(answer.Joined[c.room].Timeline.Events) != 1 {
			t.Errorf("%d events", len(answer.Joined[c.room].Timeline.Events))
		}
		r.Since = answer.Next
		if answer := c.sync(t, r); !answer.Empty() {
			t.Errorf("something is new: %+v", answer)
		}
	}
	r.Device = "another"
	if _, err := c.syncer.Sync(context.Background(), r); err == nil {
		t.Error("of a device that nothing is known of nothing was read")
	}
}

// TestDevicesWakeWhoSharesARoom: who waits is woken by a change of somebody's keys in a room of theirs, by a message and by a key
// that was claimed, and not by what is others'.
func TestDevicesWakeWhoSharesARoom(t *testing.T) {
	c := newChat(t, 2)
	ctx := context.Background()
	alice, bob, stranger := c.users[0], c.users[1], id.UserID("@stranger:hanse.test")
	for _, user := range []id.UserID{alice, bob, stranger} {
		if err := c.store.Login(ctx, store.Device{User: user, ID: "D", Created: time.Now()}, store.HashToken(string(user))); err != nil {
			t.Fatal(err)
		}
	}
	upload := func(user id.UserID, u store.KeyUpload) {
		t.Helper()
		u.User, u.Device, u.MaxOneTime = user, "D", 10
		if _, err := c.store.UploadKeys(ctx, u); err != nil {
			t.Fatal(err)
		}
	}
	send := func(name string, user id.UserID) {
		t.Helper()
		_, err := c.store.SaveToDevice(ctx, store.ToDeviceRequest{
			Seen: store.SeenHash(name), Messages: []store.ToDevice{{User: user, Device: "D", Message: json.RawMessage(`{}`)}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	key := []store.OneTimeKey{{Algorithm: "signed_curve25519", ID: "A", Key: json.RawMessage(`{}`)}}
	upload(bob, store.KeyUpload{OneTime: key})
	r := Request{User: bob, Device: "D", Initial: true}
	r.Since, r.Initial = c.sync(t, r).Next, false
	for name, change := range map[string]func(){
		"the keys of somebody in the room": func() { upload(alice, store.KeyUpload{DeviceKeys: json.RawMessage(`{"a":1}`)}) },
		"a message":                        func() { send("one", bob) },
		"a claimed key": func() {
			if _, err := c.store.ClaimKeys(ctx, []store.KeyClaim{{User: bob, Device: "D", Algorithm: "signed_curve25519"}}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		// What is of no concern first: it leaves the answer empty.
		upload(stranger, store.KeyUpload{DeviceKeys: json.RawMessage(`{"of":"` + name + `"}`), OneTime: key})
		send(name, stranger)
		if answer := c.sync(t, r); !answer.Empty() {
			t.Errorf("%s: what is a stranger's makes news: %+v", name, answer.Devices)
		}
		answers := make(chan *Answer, 1)
		waiting := r
		waiting.Timeout = time.Minute
		go func() { answers <- c.sync(t, waiting) }()
		change()
		answer := <-answers
		if answer.Empty() {
			t.Errorf("%s brings nothing", name)
		}
		r.Since = answer.Next
	}
	if answer := c.sync(t, r); len(answer.Devices.OneTimeKeys) != 0 || len(answer.Devices.ToDevice) != 0 {
		t.Errorf("at the end %+v", answer.Devices)
	}
}

// TestWhoIsInvitedIsChanged: clients look at the devices of who is invited, until the invite is rejected.
func TestWhoIsInvitedIsChanged(t *testing.T) {
	c := newChat(t, 1)
	ctx := context.Background()
	alice, carol := c.users[0], id.UserID("@carol:hanse.test")
	since := c.sync(t, Request{User: alice, Initial: true}).Next
	tell := func(changed, left []id.UserID) {
		t.Helper()
		now := c.sync(t, Request{User: alice, Since: since}).Next
		lists, err := c.syncer.DeviceLists(ctx, alice, since.Position, now.Position)
		if err != nil || !slices.Equal(lists.Changed, changed) || !slices.Equal(lists.Left, left) {
			t.Errorf("%+v, %v", lists, err)
		}
		since = now
	}
	if err := c.rooms.Invite(ctx, rooms.MembershipRequest{Room: c.room, Sender: alice, Target: carol}); err != nil {
		t.Fatal(err)
	}
	tell([]id.UserID{carol}, nil)
	if err := c.rooms.Leave(ctx, carol, c.room, ""); err != nil {
		t.Fatal(err)
	}
	tell(nil, []id.UserID{carol})
}

// TestWhoHasLeftIsNotChanged: of somebody whose devices have changed and who has left since the client is told the latter, unless they
// share another room.
func TestWhoHasLeftIsNotChanged(t *testing.T) {
	c := newChat(t, 2)
	bob, stranger := c.users[1], id.UserID("@stranger:hanse.test")
	both := func() map[id.UserID]bool { return map[id.UserID]bool{bob: true, stranger: true} }
	lists, err := c.syncer.deviceLists(context.Background(), c.users[0], both(), both())
	if err != nil || !slices.Equal(lists.Changed, []id.UserID{bob}) || !slices.Equal(lists.Left, []id.UserID{stranger}) {
		t.Errorf("%+v, %v", lists, err)
	}
}
