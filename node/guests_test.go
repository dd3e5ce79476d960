package node

import (
	"testing"
	"time"

	"hanse/federation/id"
	"hanse/node/rooms"
	"hanse/node/users"
)

// TestGuestsEnd: who isn't used for long is deactivated and leaves its rooms; users and other guests stay.
func TestGuestsEnd(t *testing.T) {
	n, stop := start(t, testConfig(t))
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	register := func(r users.Registration) id.UserID {
		t.Helper()
		login, err := n.users.Register(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return login.User
	}
	alice, guest := register(users.Registration{Username: "alice", Password: "secret"}), register(users.Registration{Guest: true})
	room, err := n.rooms.Create(t.Context(), rooms.CreateRequest{Creator: alice, Preset: "private_chat", Invite: []id.UserID{guest}}) // which lets guests in
	if err != nil {
		t.Fatal(err)
	}
	if err := n.rooms.Join(t.Context(), rooms.JoinRequest{User: guest, Room: room}); err != nil {
		t.Fatal(err)
	}
	unused := register(users.Registration{Guest: true})
	check := func(since time.Time, inRooms, active bool, membership string) {
		t.Helper()
		if err := n.endUnusedGuests(t.Context(), since, inRooms); err != nil {
			t.Fatal(err)
		}
		for user, want := range map[id.UserID]bool{alice: true, guest: active} {
			if got, err := n.users.Active(t.Context(), user); err != nil || got != want {
				t.Errorf("%s is active: %v %v", user, got, err)
			}
		}
		if got, err := n.users.MembershipIn(t.Context(), guest, room); err != nil || got != membership {
			t.Errorf("the guest's membership: %q %v", got, err)
		}
	}
	roomless := func(want bool) {
		t.Helper()
		if got, err := n.users.Active(t.Context(), unused); err != nil || got != want {
			t.Errorf("who is in no room is active: %v %v", got, err)
		}
	}
	check(time.Now().Add(-guestLife), true, true, "join")
	roomless(true)
	check(time.Now().Add(time.Hour), false, true, "join")
	roomless(false)
	check(time.Now().Add(time.Hour), true, false, "leave")
}
