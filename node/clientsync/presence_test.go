package clientsync

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"hanse/federation/id"
	"hanse/node/ephemeral"
)

// told are the users whose presence an answer tells.
func told(a *Answer) []id.UserID {
	var users []id.UserID
	for _, p := range a.Presence {
		users = append(users, p.User)
	}
	return users
}

// Only who shares a room with somebody who changes, and wants to know, is woken.
func TestPresenceWakesWhoWantsIt(t *testing.T) {
	c := newChat(t, 2)
	c.syncer.stream.Now() // takes in what made the room, which wakes too
	watch := func(user id.UserID, rooms ...id.RoomID) func() bool {
		w := c.syncer.stream.Watch(user)
		t.Cleanup(w.Close)
		w.Rooms(rooms)
		if user != "@unwilling:hanse.test" {
			w.Presence()
		}
		return func() bool {
			select {
			case <-w.C:
				return true
			default:
				return false
			}
		}
	}
	shares := c.syncer.stream.Watch(c.users[1])
	defer shares.Close()
	shares.Rooms([]id.RoomID{c.room})
	shares.Presence()
	own := watch(c.users[0])
	unwilling := watch("@unwilling:hanse.test", c.room)
	elsewhere := watch("@elsewhere:hanse.test", "!other:hanse.test")
	c.momentary.SetPresence(c.users[0], "PHONE", ephemeral.Online, "")
	<-shares.C
	c.syncer.stream.Now() // the waking is over
	if !own() || unwilling() || elsewhere() {
		t.Error("the wrong ones were woken")
	}
}

func TestPresenceInAnswers(t *testing.T) {
	c := newChat(t, 3)
	alice, bob, carol := c.users[0], c.users[1], c.users[2]
	since := c.sync(t, Request{User: bob, Initial: true}).Next
	none, others := Filter{Presence: EventFilter{Types: []string{}}}, Filter{Presence: EventFilter{NotSenders: []id.UserID{alice}}}
	aside := make(chan *Answer, 1)
	quiet := make(chan *Answer, 1)
	go func() {
		aside <- c.sync(t, Request{User: bob, Since: since, Timeout: time.Minute, PresenceAside: true})
	}()
	go func() { quiet <- c.sync(t, Request{User: bob, Since: since, Timeout: time.Minute, Filter: none}) }()
	c.momentary.SetPresence(alice, "PHONE", ephemeral.Online, "")
	c.momentary.SetPresence("@stranger:hanse.test", "PHONE", ephemeral.Online, "")
	if answer := c.sync(t, Request{User: bob, Since: since, Timeout: time.Minute}); !slices.Equal(told(answer), []id.UserID{alice}) {
		t.Errorf("told of %v", told(answer))
	}
	if answer := c.sync(t, Request{User: bob, Since: since, Filter: others}); !answer.Empty() {
		t.Errorf("told of %v, though it is of no interest", told(answer))
	}
	for what, waits := range map[string]chan *Answer{"aside": aside, "without presence": quiet} {
		select {
		case answer := <-waits:
			t.Errorf("%s: answered with %v", what, told(answer))
		default:
		}
	}
	c.say(t, "hello")
	if answer := <-aside; len(answer.Joined) != 1 || !slices.Equal(told(answer), []id.UserID{alice}) {
		t.Errorf("aside: %v with other news", told(answer))
	}
	if answer := <-quiet; len(answer.Joined) != 1 || len(answer.Presence) != 0 {
		t.Errorf("without presence: %v", told(answer))
	}
	if answer := c.sync(t, Request{User: carol, Initial: true}); !slices.Equal(told(answer), []id.UserID{alice}) {
		t.Errorf("who begins is told of %v", told(answer))
	}
	if answer := c.sync(t, Request{User: carol}); !slices.Equal(told(answer), []id.UserID{alice}) {
		t.Errorf("who was away for long is told of %v", told(answer))
	}
}

// However many strangers there are, who shares a room is told of.
func TestPresenceAmongManyStrangers(t *testing.T) {
	c := newChat(t, 2)
	since := c.sync(t, Request{User: c.users[1], Initial: true}).Next
	c.momentary.SetPresence(c.users[0], "PHONE", ephemeral.Online, "")
	c.sync(t, Request{User: c.users[1], Since: since, Timeout: time.Minute}) // it is told
	for i := range maxPresenceTold {
		c.momentary.SetPresence(id.UserID(fmt.Sprintf("@stranger%d:hanse.test", i)), "PHONE", ephemeral.Online, "")
	}
	c.momentary.Flush(t.Context())
	since.Typing = 0 // of long ago
	for what, r := range map[string]Request{"begins": {Initial: true}, "was away": {Since: since}} {
		r.User = c.users[1]
		if answer := c.sync(t, r); !slices.Equal(told(answer), []id.UserID{c.users[0]}) {
			t.Errorf("who %s is told of %v", what, told(answer))
		}
	}
}

// Who comes to a room whose members come later is told of them when they are there.
func TestPresenceInARoomThatBecameWhole(t *testing.T) {
	c := newChat(t, 2)
	since := c.sync(t, Request{User: c.users[1], Initial: true}).Next
	c.momentary.SetPresence(c.users[0], "PHONE", ephemeral.Online, "")
	since = c.sync(t, Request{User: c.users[1], Since: since, Timeout: time.Minute}).Next
	c.say(t, "hello")
	var short Filter
	short.Room.Timeline.Limit = new(1) // without those who join
	now := c.syncer.stream.Now().Position
	c.syncer.recentRoom(c.room).wholeness = wholeness{at: now, since: now}
	if answer := c.sync(t, Request{User: c.users[1], Since: since, Filter: short}); !slices.Equal(told(answer), []id.UserID{c.users[0]}) {
		t.Errorf("told of %v", told(answer))
	}
}

// BenchmarkPresence builds the answer that tells of ten users.
func BenchmarkPresence(b *testing.B) {
	c := newChat(b, 50)
	since := c.sync(b, Request{User: c.users[1], Initial: true}).Next
	for _, user := range c.users[10:20] {
		c.momentary.SetPresence(user, "PHONE", ephemeral.Online, "")
	}
	for told := 0; told < 10; { // of what the first telling left, the second tells
		c.momentary.Flush(b.Context())
		told = len(c.sync(b, Request{User: c.users[1], Since: since}).Presence)
	}
	b.ReportAllocs()
	for b.Loop() {
		if answer := c.sync(b, Request{User: c.users[1], Since: since}); len(answer.Presence) != 10 {
			b.Fatal(told(answer))
		}
	}
}
