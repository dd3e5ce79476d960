package stream

import (
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
		PlaceBelow(7), {At: store.End()}, {At: store.Beginning()},
	} {
		if got, err := ParsePlace(place.String()); err != nil || got != place {
			t.Errorf("%v: %v, %v", place, got, err)
		}
	}
	for _, bad := range []string{"", "s", "s1", "s1_", "s_1", "s-1_2", "t1_2x", "12", "s99999999999999999999_1", "s1_2_3_4", "s1_2_-3", "t", "t_", "t_0", "t_-1", "t__1", "t1_2_0", "t1_2_-3", "t1_2_3_4"} {
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
	alice.Rooms([]id.RoomID{"!two:a"})
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
