package slidingsync

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hanse/federation/id"
	"hanse/node/stream"
)

// pos gives a connection an answer.
func pos(c *connection) string { return c.answered(newNews(stream.Token{})) }

func TestConnectionsThatAreNotUsedAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newConnections()
		old := connectionKey{alice, "A", "old"}
		oldPos := pos(all.begin(old, stream.Token{}))
		time.Sleep(idle - time.Hour)
		used := connectionKey{alice, "A", "used"}
		usedPos := pos(all.begin(used, stream.Token{}))
		time.Sleep(2 * time.Hour)
		if c, _ := all.find(old, oldPos); c != nil {
			t.Error("an idle connection is known")
		}
		if c, serial := all.find(used, usedPos); c == nil || serial != 1 {
			t.Error("a connection in use was forgotten")
		}
		all.begin(connectionKey{"@bob:here", "B", ""}, stream.Token{})
		if len(all.known) != 2 || len(all.each) != 2 || all.used.Len() != 2 {
			t.Errorf("%d connections are kept, of %d devices", len(all.known), len(all.each))
		}
	})
}

func TestConnectionsKeepABoundedNumberOfRooms(t *testing.T) {
	all := newConnections()
	var keys []connectionKey
	for i := range 4 {
		key := connectionKey{id.UserID(fmt.Sprintf("@user%d:here", i)), "A", ""}
		keys = append(keys, key)
		all.keeps(all.begin(key, stream.Token{}), maxRoomsKept/3)
	}
	for i, key := range keys {
		if _, known := all.known[key]; known != (i > 0) {
			t.Errorf("connection %d: known %v", i, known)
		}
	}
	all.keeps(all.known[keys[3]], 1)
	if all.kept != 2*(maxRoomsKept/3)+1 {
		t.Errorf("%d rooms are kept", all.kept)
	}
	all.begin(keys[3], stream.Token{})
	if all.kept != 2*(maxRoomsKept/3) || len(all.known) != 3 {
		t.Errorf("%d rooms of %d connections are kept after one has begun anew", all.kept, len(all.known))
	}
}

func TestToldMembersAreBounded(t *testing.T) {
	told := newTold(stream.Token{})
	for room := range 30 {
		n := newNews(stream.Token{})
		members := map[id.UserID]id.EventID{}
		for i := range maxMembersKept / 20 {
			members[id.UserID(fmt.Sprintf("@user%d:here", i))] = "$e"
		}
		n.rooms[id.RoomID(fmt.Sprint("!", room))] = roomNews{toldRoom: toldRoom{members: members}, first: true}
		told.take(n)
		kept := 0
		for _, r := range told.rooms {
			kept += len(r.members)
		}
		if kept != told.members || kept > maxMembersKept {
			t.Fatalf("%d members are kept, %d are counted", kept, told.members)
		}
	}
}

func TestWishesAreKeptOnceAndCounted(t *testing.T) {
	told := newTold(stream.Token{})
	wish := func(keys ...string) union {
		var elements []element
		for _, key := range keys {
			elements = append(elements, element{"m.type", key})
		}
		return union{newRequired(elements, alice)}
	}
	for room := range 100 {
		n := newNews(stream.Token{})
		n.rooms[id.RoomID(fmt.Sprint("!", room))] = roomNews{toldRoom: toldRoom{required: wish("a").withAll(wish("b"))}, first: true}
		told.take(n)
	}
	if len(told.wishes) != 2 || told.bytes != len(wish("a")[0].name)*2 {
		t.Errorf("%d wishes of %d bytes are kept", len(told.wishes), told.bytes)
	}
	for room, r := range told.rooms {
		for _, required := range r.required {
			if told.wishes[required.name] != required {
				t.Fatalf("%s keeps a wish of its own", room)
			}
		}
	}
	before := told.size()
	n := newNews(stream.Token{})
	n.rooms["!0"] = roomNews{toldRoom: toldRoom{required: wish(strings.Repeat("x", 10*wishBytesPerRoom))}}
	told.take(n)
	if told.size() < before+10 {
		t.Errorf("a long wish makes %d of %d", told.size(), before)
	}
}

func TestWindowsNameABoundedNumberOfRooms(t *testing.T) {
	rooms := make([]*listed, 1000)
	for i := range rooms {
		rooms[i] = &listed{}
		rooms[i].membership.RoomID = id.RoomID(fmt.Sprint("!", i))
	}
	b := &builder{wanted: map[id.RoomID]*wanted{}}
	named := 0
	for range maxLists {
		l := &windows{}
		for range maxRanges {
			l.ranges = append(l.ranges, [2]int{0, len(rooms)})
		}
		for _, w := range b.look(l, rooms).Windows {
			named += len(w.Rooms)
		}
	}
	if named != maxListed || len(b.order) != len(rooms) {
		t.Errorf("%d rooms are named, %d are wanted", named, len(b.order))
	}
}
