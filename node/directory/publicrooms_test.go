package directory

import (
	"encoding/base64"
	"fmt"
	"slices"
	"testing"

	"hanse/federation"
	"hanse/federation/id"
)

func list(n int) []federation.PublicRoom {
	var rooms []federation.PublicRoom
	for i := range n {
		rooms = append(rooms, federation.PublicRoom{RoomID: id.RoomID(fmt.Sprintf("!%02d:example.org", i)), NumJoinedMembers: i % 4})
	}
	slices.SortFunc(rooms, compareRooms)
	return rooms
}

// Paging forwards and back again meets every room once, whatever the limit.
func TestPaging(t *testing.T) {
	for _, n := range []int{0, 1, 5, 12} {
		for limit := 1; limit < 14; limit++ {
			all := list(n)
			var seen []federation.PublicRoom
			var from *cursor
			for more := true; more; {
				page, before, after := cut(all, from, limit)
				if before != (len(seen) > 0) && n > 0 {
					t.Fatalf("n %d limit %d: before = %v after %d rooms", n, limit, before, len(seen))
				}
				seen = append(seen, page...)
				if more = after; more {
					from = parsed(t, cursorOf(page[len(page)-1], false).String())
				}
			}
			if !slices.Equal(ids(seen), ids(all)) {
				t.Fatalf("n %d limit %d: %v", n, limit, ids(seen))
			}
			for i := range all {
				page, _, _ := cut(all, parsed(t, cursorOf(all[i], true).String()), limit)
				if want := all[max(0, i-limit):i]; !slices.Equal(ids(page), ids(want)) {
					t.Fatalf("back from %d with limit %d: %v", i, limit, ids(page))
				}
			}
		}
	}
}

// A room that is gone doesn't spoil the token made from it.
func TestPagingWhileRoomsGo(t *testing.T) {
	all := list(8)
	from := cursorOf(all[3], false)
	page, _, _ := cut(slices.Delete(slices.Clone(all), 3, 4), &from, 2)
	if !slices.Equal(ids(page), ids(all[4:6])) {
		t.Errorf("%v", ids(page))
	}
}

func TestCursorRefusesNonsense(t *testing.T) {
	for _, token := range []string{"x", "!!", base64.RawURLEncoding.EncodeToString([]byte("{}")), base64.RawURLEncoding.EncodeToString([]byte("[]"))} {
		if _, err := parseCursor(token); err == nil {
			t.Errorf("%q is taken", token)
		}
	}
	if c, err := parseCursor(""); c != nil || err != nil {
		t.Errorf("no token: %v %v", c, err)
	}
}

func TestMatches(t *testing.T) {
	space := "m.space"
	plain := federation.PublicRoom{Name: "Café", Topic: "coffee", CanonicalAlias: "#cafe:example.org"}
	typed := federation.PublicRoom{Name: "House", RoomType: space}
	for _, c := range []struct {
		room  federation.PublicRoom
		term  string
		types []*string
		want  bool
	}{
		{plain, "", nil, true},
		{plain, "café", nil, true},
		{plain, "coff", nil, true},
		{plain, "#cafe:", nil, true},
		{plain, "tea", nil, false},
		{plain, "", []*string{nil}, true},
		{typed, "", []*string{nil}, false},
		{typed, "", []*string{nil, &space}, true},
		{typed, "", []*string{}, false},
	} {
		if got := matches(c.room, c.term, c.types); got != c.want {
			t.Errorf("matches(%q, %q, %v) = %v", c.room.Name, c.term, c.types, got)
		}
	}
}

func parsed(t *testing.T, token string) *cursor {
	t.Helper()
	c, err := parseCursor(token)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ids(rooms []federation.PublicRoom) []id.RoomID {
	var list []id.RoomID
	for _, r := range rooms {
		list = append(list, r.RoomID)
	}
	return list
}

func FuzzCursor(f *testing.F) {
	f.Add(cursor{Joined: 3, Room: "!room:example.org", Back: true}.String())
	f.Add("")
	f.Add("e30")
	f.Fuzz(func(t *testing.T, token string) {
		c, err := parseCursor(token)
		if err != nil || c == nil {
			return
		}
		again, err := parseCursor(c.String())
		if err != nil || *again != *c {
			t.Fatalf("%q: %+v came back as %+v, %v", token, c, again, err)
		}
		page, _, _ := cut(list(9), c, 4)
		if len(page) > 4 {
			t.Fatalf("a page of %d", len(page))
		}
	})
}
