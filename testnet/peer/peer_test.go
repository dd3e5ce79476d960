package peer_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"hanse/federation/id"
	"hanse/testnet/fabric"
	"hanse/testnet/peer"
)

func start(t *testing.T, ca *fabric.CA) *peer.Peer {
	t.Helper()
	p, err := peer.Start(peer.Config{Listen: "127.0.0.1:0", CA: ca})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// Two peers meet in a room of each version: what one answers, the other takes.
func TestPeersMeet(t *testing.T) {
	ca, err := fabric.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	a, b := start(t, ca), start(t, ca)
	for _, version := range peer.Versions() {
		room, err := a.CreateRoom(version, a.User("alice"), peer.RoomOptions{})
		if err != nil {
			t.Fatalf("version %s: %v", version, err)
		}
		joined, err := b.Join(t.Context(), a.Name, room.ID, b.User("bob"))
		if err != nil {
			t.Fatalf("version %s: join: %v", version, err)
		}
		if err := joined.Room.Check(joined.Join); err != nil {
			t.Errorf("version %s: %v", version, err)
		}
		if room.Membership(b.User("bob")) != "join" {
			t.Errorf("version %s: the resident does not see the join", version)
		}
		said, err := joined.Room.Say(t.Context(), b.User("bob"), "hello")
		if err != nil {
			t.Fatalf("version %s: send: %v", version, err)
		}
		if !room.Has(said.ID()) || room.Check(said) != nil {
			t.Errorf("version %s: the message is not in the room, or not allowed", version)
		}
		if _, err := b.Leave(t.Context(), a.Name, room.Rules, room.ID, b.User("bob")); err != nil {
			t.Errorf("version %s: leave: %v", version, err)
		}
	}
	for _, request := range a.Requests("") {
		if request.AuthErr != nil {
			t.Errorf("%s %s: %v", request.Method, request.URI, request.AuthErr)
		}
	}
}

// A forgery that changes nothing is the event itself: hash, ID and signature of forge.go agree with package event.
func TestForgeryOfNothing(t *testing.T) {
	ca, err := fabric.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, ca)
	for _, version := range peer.Versions() {
		room, err := p.CreateRoom(version, p.User("alice"), peer.RoomOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range room.Timeline() {
			raw, eventID := room.Forge(e, func(map[string]any) {}, peer.Forgery{})
			if eventID != e.ID() || string(raw) != string(e.JSON()) {
				t.Errorf("version %s, %s: %s became %s", version, e.Type(), e.JSON(), raw)
			}
		}
	}
}

// Scripts answer in place of the peer until they are undone.
func TestScripts(t *testing.T) {
	ca, err := fabric.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	a, b := start(t, ca), start(t, ca)
	a.SetProfile(a.User("alice"), peer.Profile{DisplayName: "Alice"})
	ask := func() (int, string) {
		answer, err := b.Do(t.Context(), a.Name, peer.ByHand{
			Method: http.MethodGet, URI: "/_matrix/federation/v1/query/profile?user_id=" + string(a.User("alice")),
		})
		if err != nil {
			t.Fatal(err)
		}
		var profile peer.Profile
		_ = json.Unmarshal(answer.Body, &profile) // an error has no name
		return answer.Status, profile.DisplayName
	}
	steps := []struct {
		hook   peer.Hook
		status int
		name   string
	}{
		{nil, http.StatusOK, "Alice"},
		{peer.Fail(http.StatusForbidden, "M_FORBIDDEN"), http.StatusForbidden, ""},
		{peer.Lie(func(answer map[string]any) { answer["displayname"] = "Mallory" }), http.StatusOK, "Mallory"},
		{peer.Answer(http.StatusTeapot, `{}`), http.StatusTeapot, ""},
		{nil, http.StatusOK, "Alice"},
	}
	for i, step := range steps {
		undo := func() {}
		if step.hook != nil {
			undo = a.On("profile", step.hook)
		}
		if status, name := ask(); status != step.status || name != step.name {
			t.Errorf("step %d: %d %q", i, status, name)
		}
		undo()
	}
	if _, err := b.Transaction(t.Context(), a.Name); err != nil {
		t.Error(err)
	}
	if _, ok := a.Received(id.EventID("$nothing")); ok {
		t.Error("received what was not sent")
	}
}
