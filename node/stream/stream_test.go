package stream

import (
	"slices"
	"testing"

	"hanse/federation/id"
	"hanse/node/store"
)

func TestTokensAreReadBack(t *testing.T) {
	for _, token := range []Token{{}, {Position: 12, Typing: 7, ToDevice: 12}, {Position: 12, Typing: 7, ToDevice: 9}, {Position: 1 << 60, Typing: 1 << 61}} {
		if got, err := ParseToken(token.String()); err != nil || got != token {
			t.Errorf("%v: %v, %v", token, got, err)
		}
	}
	for _, place := range []Place{
		{}, {At: store.Topological{Depth: 5, Position: 9}}, {At: store.Topological{Depth: 5, Position: -9}, Below: 12},
		PlaceBelow(7), {At: store.End(), Below: 7, Told: 30}, {At: store.End()}, {At: store.Beginning()},
	} {
		if got, err := ParsePlace(place.String()); err != nil || got != place {
			t.Errorf("%v: %v, %v", place, got, err)
		}
	}
	for _, bad := range []string{"", "s", "s1", "s1_", "s_1", "s-1_2", "t1_2x", "12", "s99999999999999999999_1", "s1_2_3_4", "s1_2_-3", "t", "t_", "t_0", "t_-1", "t__1", "t_1_0", "t_1_2_3", "t_1_", "t1_2_0", "t1_2_-3", "t1_2_3_4"} {
		if _, err := ParseToken(bad); err == nil {
			t.Errorf("%q is taken for a token", bad)
		}
		if _, err := ParsePlace(bad); err == nil {
			t.Errorf("%q is taken for a place", bad)
		}
	}
}

func FuzzTokens(f *testing.F) {
	f.Add("s12_7")
	f.Add("t5_-9")
	f.Add("t5_-9_4")
	f.Add("t_4")
	f.Fuzz(func(t *testing.T, text string) {
		if token, err := ParseToken(text); err == nil {
			if again, err := ParseToken(token.String()); err != nil || again != token {
				t.Errorf("%q: %v, %v", text, again, err)
			}
		}
		if place, err := ParsePlace(text); err == nil {
			if again, err := ParsePlace(place.String()); err != nil || again != place {
				t.Errorf("%q: %v, %v", text, again, err)
			}
		}
	})
}

func woken(w *Watch) bool {
	select {
	case <-w.C:
		return true
	default:
		return false
	}
}

func TestWakesWhoIsConcerned(t *testing.T) {
	s := &Stream{byUser: map[id.UserID]map[*Watch]struct{}{}, byRoom: map[id.RoomID]map[*Watch]struct{}{}}
	alice, bob := s.Watch("@alice:a"), s.Watch("@bob:a")
	alice.Rooms([]id.RoomID{"!one:a", "!two:a"})
	bob.Rooms([]id.RoomID{"!two:a"})
	check := func(what string, wantAlice, wantBob bool) {
		t.Helper()
		if a, b := woken(alice), woken(bob); a != wantAlice || b != wantBob {
			t.Errorf("%s: alice %v, bob %v", what, a, b)
		}
	}
	s.wake("!one:a", nil)
	s.wake("!one:a", nil)
	check("a room of alice's, twice", true, false)
	check("nothing new", false, false)
	s.wake("!two:a", nil)
	check("a room of both", true, true)
	s.wake("!three:a", []id.UserID{"@bob:a"})
	check("bob joins a third room", false, true)
	s.wakeAll()
	check("the feed lagged", true, true)
	if !alice.Rooms([]id.RoomID{"!two:a"}) || alice.Rooms([]id.RoomID{"!two:a"}) {
		t.Error("a change of the rooms is told where there is none, or isn't where there is one")
	}
	s.wake("!one:a", nil)
	check("the room that alice left", false, false)
	alice.Close()
	bob.Close()
	s.wake("!two:a", []id.UserID{"@alice:a"})
	check("nobody waits", false, false)
	if len(s.byUser)+len(s.byRoom) != 0 {
		t.Errorf("closed watches are kept: %v, %v", s.byUser, s.byRoom)
	}
}

// A change of devices, messages to them and their one-time keys concern those who share a room, or the user alone; nobody else
// is woken or looks.
func TestNewsOfDevices(t *testing.T) {
	s := &Stream{byUser: map[id.UserID]map[*Watch]struct{}{}, byRoom: map[id.RoomID]map[*Watch]struct{}{}}
	s.news.forget(10)
	rooms := map[id.UserID][]id.RoomID{"@alice:a": {"!one:a"}, "@bob:a": {"!one:a", "!two:a"}, "@carol:a": {"!three:a"}}
	watches := map[id.UserID]*Watch{}
	for user, in := range rooms {
		watches[user] = s.Watch(user)
		watches[user].Rooms(in)
	}
	for _, c := range []struct {
		notice                        store.Notice
		devices, messages, keys, wake []id.UserID
	}{
		{
			notice:  store.Notice{Position: 11, Kind: store.KindDevices, Users: []id.UserID{"@alice:a"}, Rooms: rooms["@alice:a"]},
			devices: []id.UserID{"@alice:a", "@bob:a"}, wake: []id.UserID{"@alice:a", "@bob:a"},
		},
		{notice: store.Notice{Position: 12, Kind: store.KindDevices, Servers: []id.ServerName{"b"}}},
		{
			notice:   store.Notice{Position: 13, Kind: store.KindToDevice, Users: []id.UserID{"@bob:a"}},
			messages: []id.UserID{"@bob:a"}, wake: []id.UserID{"@bob:a"},
		},
		{
			notice: store.Notice{Position: 14, Kind: store.KindOneTimeKeys, Users: []id.UserID{"@carol:a"}},
			keys:   []id.UserID{"@carol:a"}, wake: []id.UserID{"@carol:a"},
		},
	} {
		s.learn(c.notice)
		after := c.notice.Position - 1
		for user, in := range rooms {
			got := [4]bool{s.DevicesSince(user, in, after), s.ToDeviceSince(user, after), s.OneTimeKeysSince(user, after), woken(watches[user])}
			want := [4]bool{slices.Contains(c.devices, user), slices.Contains(c.messages, user), slices.Contains(c.keys, user), slices.Contains(c.wake, user)}
			if got != want {
				t.Errorf("after %+v: %s has %v, want %v", c.notice, user, got, want)
			}
		}
	}
	if !s.DevicesSince("@carol:a", nil, 9) || !s.ToDeviceSince("@carol:a", 9) || !s.OneTimeKeysSince("@carol:a", 9) {
		t.Error("what was before is taken for known")
	}
}

// The commits of a room are told apart from those of others, and what is forgotten is not known.
func TestLastCommit(t *testing.T) {
	var n news
	s := &Stream{}
	n.forget(10)
	for _, at := range []store.Position{12, 15} {
		n.add(store.Notice{Position: at, Kind: store.KindEvents, Room: "!one:a"})
		n.add(store.Notice{Position: at + 1, Kind: store.KindEvents, Room: "!two:a"})
		n.add(store.Notice{Position: at + 2, Kind: store.KindReceipt, Room: "!one:a"})
	}
	s.news = n
	for _, c := range []struct {
		after, at store.Position
		only      bool
	}{{9, 0, false}, {10, 15, false}, {11, 15, false}, {12, 15, true}, {14, 15, true}, {15, 0, false}, {17, 0, false}} {
		if at, only := s.LastCommit("!one:a", c.after); at != c.at || only != c.only {
			t.Errorf("after %d: %d, %v, want %d, %v", c.after, at, only, c.at, c.only)
		}
	}
}

// TestRecall: of before the start it is known in which rooms something happened last, and nothing else.
func TestRecall(t *testing.T) {
	s := &Stream{}
	s.news.forget(100)
	s.news.add(store.Notice{Position: 110, Kind: store.KindReceipt, Room: "!both:a"})
	s.news.recall([]store.RoomNews{{Room: "!said:a", Commit: 50, Receipt: 20}, {Room: "!read:a", Commit: 20, Receipt: 60}, {Room: "!both:a", Commit: 70, Receipt: 60}})
	for _, c := range []struct {
		room  id.RoomID
		after store.Position
		want  RoomChanges
	}{
		{"!said:a", 10, RoomChanges{true, true, true}},
		{"!said:a", 49, RoomChanges{Events: true, Redactions: true}}, // the commit may have had one
		{"!said:a", 50, RoomChanges{}},
		{"!read:a", 50, RoomChanges{Receipts: true}},
		{"!both:a", 105, RoomChanges{Receipts: true}},
		{"!new:a", 0, RoomChanges{}},
	} {
		if got := s.RoomSince(c.room, c.after); got != c.want {
			t.Errorf("%s after %d: %+v, want %+v", c.room, c.after, got, c.want)
		}
	}
	rooms := []id.RoomID{"!said:a", "!read:a", "!both:a"}
	if got := s.RoomsSince(rooms, 50); !slices.Equal(got, rooms[1:]) {
		t.Errorf("something happened in %v", got)
	}
	if got := s.MembersSince(rooms, 50); !slices.Equal(got, rooms[2:]) {
		t.Errorf("members changed in %v", got)
	}
	if at, _ := s.LastCommit("!said:a", 40); at != 0 {
		t.Error("it isn't known which commit was the one before")
	}
	if s.Remembers(50) {
		t.Error("what happened to users is not known")
	}
	s.news.forget(120)
	if s.RoomSince("!said:a", 110) != (RoomChanges{true, true, true}) {
		t.Error("what is forgotten is taken for known")
	}
}
