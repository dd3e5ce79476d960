package slidingsync

import (
	"fmt"
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
