package ephemeral

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"hanse/federation/id"
)

const (
	room  = id.RoomID("!room:example.org")
	alice = id.UserID("@alice:example.org")
	bob   = id.UserID("@bob:example.org")
)

// tells is the first of what set says.
func tells(tell, _ bool) bool { return tell }

func TestTypingSetAndStop(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	typing := newTyping(now)
	until := now.Add(30 * time.Second)
	if !tells(typing.set(room, bob, true, now, until)) {
		t.Error("others are not told that somebody began to type")
	}
	typing.set(room, alice, true, now, until)
	users, serial := typing.in(room)
	if !slices.Equal(users, []id.UserID{alice, bob}) || serial != typing.newest() {
		t.Errorf("%v at %d", users, serial)
	}
	if tells(typing.set(room, bob, true, now.Add(time.Second), until)) {
		t.Error("a renewal after a second goes out")
	}
	if _, same := typing.in(room); same != serial {
		t.Error("a renewal counts as a change")
	}
	if !tells(typing.set(room, bob, true, now.Add(renewTyping), until)) {
		t.Error("a late renewal doesn't go out: the others would think that it is over")
	}
	if !tells(typing.set(room, bob, false, now, now)) || tells(typing.set(room, bob, false, now, now)) {
		t.Error("a stop goes out once")
	}
	if users, after := typing.in(room); !slices.Equal(users, []id.UserID{alice}) || after <= serial {
		t.Errorf("%v at %d", users, after)
	}
}

func TestTypingExpires(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	typing := newTyping(now)
	typing.set(room, alice, true, now, now.Add(10*time.Second))
	typing.set(room, bob, true, now, now.Add(20*time.Second))
	if stopped := typing.expire(now.Add(10 * time.Second)); len(stopped) != 0 {
		t.Errorf("too early: %v", stopped)
	}
	if stopped := typing.expire(now.Add(11 * time.Second)); len(stopped) != 1 || stopped[0].user != alice {
		t.Errorf("stopped: %v", stopped)
	}
	typing.expire(now.Add(21 * time.Second))
	if users, serial := typing.in(room); len(users) != 0 || serial == 0 {
		t.Errorf("%v at %d: the empty list is a change that must be seen", users, serial)
	}
	typing.expire(now.Add(21*time.Second + forgetQuiet + time.Second))
	if len(typing.rooms) != 0 {
		t.Error("quiet rooms are never forgotten")
	}
}

func TestTypingIsBounded(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	typing := newTyping(now)
	for i := range maxTypingInRoom + 5 {
		typing.set(room, id.UserID(fmt.Sprintf("@u%d:example.org", i)), true, now, now.Add(time.Minute))
	}
	if users, _ := typing.in(room); len(users) != maxTypingInRoom {
		t.Errorf("%d users type in one room", len(users))
	}
}

func TestTypingWatch(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	typing := newTyping(now)
	w := typing.watch(1)
	typing.set(room, alice, true, now, now.Add(time.Minute))
	if got := <-w.C; got != room {
		t.Errorf("woken for %v", got)
	}
	if w.Lagged() {
		t.Error("nothing was lost")
	}
	typing.set(room, bob, true, now, now.Add(time.Minute))
	typing.set("!other:example.org", bob, true, now, now.Add(time.Minute))
	if !w.Lagged() || w.Lagged() {
		t.Error("a lost change is told once")
	}
	w.Close()
	w.Close()
	<-w.C
	if _, open := <-w.C; open {
		t.Error("the channel stays open")
	}
	w = typing.watch(1)
	typing.close()
	if _, open := <-w.C; open {
		t.Error("the channel stays open after the end")
	}
}

// A process that starts later begins above the serials of the one before.
func TestSerialsGrowOverRestarts(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	first := newTyping(now)
	first.set(room, alice, true, now, now.Add(time.Minute))
	if second := newTyping(now.Add(10 * time.Second)); second.newest() <= first.newest() {
		t.Error("serials begin again")
	}
}
