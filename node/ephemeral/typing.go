package ephemeral

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"hanse/federation"
	"hanse/federation/exactjson"
	"hanse/federation/id"
)

// Serial is a place in the order of changes of typing and presence. It grows while the process lives, and a new process begins above
// where the old one ended, so that old ones stay comparable.
type Serial int64

// SetTyping says that a user of ours types in a room, for at most timeout (0: the usual 30 s; cut to 2 min), or no
// longer does. M_FORBIDDEN if they are not joined.
//
// spec:client-server-api#put_matrixclientv3roomsroomidtypinguserid
func (e *Ephemeral) SetTyping(ctx context.Context, room id.RoomID, user id.UserID, typing bool, timeout time.Duration) error {
	if err := e.mustBeJoined(ctx, room, user); err != nil {
		return err
	}
	if timeout <= 0 {
		timeout = defaultTypingTimeout
	}
	now := time.Now()
	if tell, news := e.typing.set(room, user, typing, now, now.Add(min(timeout, maxTypingTimeout))); tell {
		e.outgoing.addTyping(room, user, typing, news)
	}
	return nil
}

// receiveTyping takes an m.typing EDU.
//
// spec:server-server-api#typing-notifications
func (e *Ephemeral) receiveTyping(ctx context.Context, origin id.ServerName, content json.RawMessage) error {
	var edu federation.TypingEDU
	if exactjson.Unmarshal(content, &edu) != nil {
		return nil
	}
	room, err := id.ParseRoomID(edu.RoomID)
	if err != nil {
		return nil
	}
	user, err := id.ParseUserID(edu.UserID)
	if err != nil || user.Server() != origin {
		return nil
	}
	for _, check := range []func() (bool, error){
		func() (bool, error) { return e.allowed(ctx, room, origin) }, // of a room in memory; a denial reads nothing
		func() (bool, error) { return e.takesPart(ctx, room, user) },
	} {
		if ok, err := check(); err != nil || !ok {
			return err
		}
	}
	now := time.Now()
	e.typing.set(room, user, edu.Typing, now, now.Add(remoteTypingLife))
	return nil
}

// Typing returns who types in a room, in a stable order, and the serial of its last change (0: never changed).
func (e *Ephemeral) Typing(room id.RoomID) ([]id.UserID, Serial) { return e.typing.in(room) }

// TypingSince keeps those of the rooms in which typing has changed after a serial.
func (e *Ephemeral) TypingSince(rooms []id.RoomID, after Serial) []id.RoomID {
	return e.typing.since(rooms, after)
}

// TypingSerial is the newest change's serial, of typing or presence.
func (e *Ephemeral) TypingSerial() Serial { return e.typing.newest() }

// WatchTyping gives a channel that gets the room of each change of typing. When its buffer is full, changes are lost and
// Lagged says so: then compare serials. Close it when done; it is also closed when Run ends.
func (e *Ephemeral) WatchTyping(buffer int) *TypingWatch { return e.typing.watch(buffer) }

// TypingWatch is one watcher of typing.
type TypingWatch struct {
	C      <-chan id.RoomID
	typing *typing
	send   chan id.RoomID
	lagged bool // guarded by typing.mu
}

// Lagged says whether changes were lost since the last call.
func (w *TypingWatch) Lagged() bool {
	w.typing.mu.Lock()
	defer w.typing.mu.Unlock()
	lagged := w.lagged
	w.lagged = false
	return lagged
}

// Close ends the watch and closes C.
func (w *TypingWatch) Close() {
	w.typing.mu.Lock()
	defer w.typing.mu.Unlock()
	if _, ok := w.typing.watches[w]; ok {
		delete(w.typing.watches, w)
		close(w.send)
	}
}

// typing is who types where. Safe for concurrent use.
type typing struct {
	mu      sync.Mutex
	serial  Serial                    // guarded by mu
	rooms   map[id.RoomID]*typingRoom // guarded by mu
	watches map[*TypingWatch]struct{} // guarded by mu
}

type typingRoom struct {
	serial Serial
	at     time.Time // of the last change
	users  map[id.UserID]typist
}

type typist struct {
	began time.Time
	until time.Time
	sent  time.Time // when the other servers were last told
}

type stoppedTyping struct {
	room id.RoomID
	user id.UserID
}

func newTyping(now time.Time) *typing {
	return &typing{
		// More than a thousand changes a second all the time would be needed to get ahead of the clock.
		serial:  Serial(now.UnixMilli()),
		rooms:   make(map[id.RoomID]*typingRoom),
		watches: make(map[*TypingWatch]struct{}),
	}
}

// set notes what a user does, and says whether other servers should be told, and whether what they were told last, if
// they were, was when the user began.
func (t *typing) set(room id.RoomID, user id.UserID, typing bool, now, until time.Time) (tell, news bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.rooms[room]
	if !typing {
		if r == nil {
			return false, false
		}
		was, typed := r.users[user]
		if !typed {
			return false, false
		}
		delete(r.users, user)
		t.changed(room, r, now)
		return true, was.sent == was.began
	}
	if r == nil {
		if len(t.rooms) >= maxTypingRooms {
			return false, false
		}
		r = &typingRoom{users: make(map[id.UserID]typist)}
		t.rooms[room] = r
	}
	was, typed := r.users[user]
	if !typed && len(r.users) >= maxTypingInRoom {
		return false, false
	}
	if !typed {
		was.began = now
	}
	if tell = now.Sub(was.sent) >= renewTyping; tell {
		was.sent = now
	}
	was.until = until
	r.users[user] = was
	if !typed {
		t.changed(room, r, now)
	}
	return tell, !typed
}

// next gives out a serial.
func (t *typing) next() Serial {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.serial++
	return t.serial
}

// changed gives a room a new serial and wakes the watchers. The caller holds mu.
func (t *typing) changed(room id.RoomID, r *typingRoom, now time.Time) {
	t.serial++
	r.serial, r.at = t.serial, now
	t.wake(room)
}

// wake tells the watchers of a room. The caller holds mu.
func (t *typing) wake(room id.RoomID) {
	for w := range t.watches {
		select {
		case w.send <- room:
		default:
			w.lagged = true
		}
	}
}

// expire ends what is over and returns it. Rooms where nobody types are forgotten a while after their last change,
// so that every sync in between has seen the empty list.
func (t *typing) expire(now time.Time) []stoppedTyping {
	t.mu.Lock()
	defer t.mu.Unlock()
	var stopped []stoppedTyping
	for room, r := range t.rooms {
		before := len(r.users)
		for user, typist := range r.users {
			if now.After(typist.until) {
				delete(r.users, user)
				stopped = append(stopped, stoppedTyping{room, user})
			}
		}
		if len(r.users) != before {
			t.changed(room, r, now)
		}
		if len(r.users) == 0 && now.Sub(r.at) > forgetQuiet {
			delete(t.rooms, room)
		}
	}
	return stopped
}

func (t *typing) in(room id.RoomID) ([]id.UserID, Serial) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.rooms[room]
	if r == nil {
		return nil, 0
	}
	users := make([]id.UserID, 0, len(r.users))
	for user := range r.users {
		users = append(users, user)
	}
	slices.Sort(users)
	return users, r.serial
}

func (t *typing) since(rooms []id.RoomID, after Serial) []id.RoomID {
	t.mu.Lock()
	defer t.mu.Unlock()
	var changed []id.RoomID
	for _, room := range rooms {
		if r := t.rooms[room]; r != nil && r.serial > after {
			changed = append(changed, room)
		}
	}
	return changed
}

func (t *typing) newest() Serial {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.serial
}

func (t *typing) watch(buffer int) *TypingWatch {
	c := make(chan id.RoomID, buffer)
	w := &TypingWatch{C: c, send: c, typing: t}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watches[w] = struct{}{}
	return w
}

// close ends all watches.
func (t *typing) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for w := range t.watches {
		delete(t.watches, w)
		close(w.send)
	}
}
