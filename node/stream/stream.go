// Package stream knows the positions that clients hold as tokens, wakes those who wait for something new, and knows
// where nothing is new. What is new it tells nobody: who was woken reads.
package stream

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"hanse/federation/id"
	"hanse/node/ephemeral"
	"hanse/node/store"
)

const (
	// feedBuffer is how many notices may wait for this package; when they are more, everybody is woken to look, and
	// what has changed so far is asked of the tables. Some groups of commits' worth.
	feedBuffer = 8192
	// typingBuffer is the same for typing.
	typingBuffer = 1024
)

// Stream wakes waiting users. Make one with New and let Run run. Safe for concurrent use.
type Stream struct {
	store     *store.Store
	ephemeral *ephemeral.Ephemeral
	log       *slog.Logger

	feed *store.Follower

	mu     sync.Mutex
	upto   store.Position                    // guarded by mu: what is known of the feed
	news   news                              // guarded by mu
	byUser map[id.UserID]map[*Watch]struct{} // guarded by mu
	byRoom map[id.RoomID]map[*Watch]struct{} // guarded by mu

	presence ephemeral.Serial // guarded by mu: whoever was told before it was woken for it
}

// New makes a Stream; log may be nil. It knows of what is committed from now on.
func New(s *store.Store, e *ephemeral.Ephemeral, log *slog.Logger) *Stream {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	places := &Stream{
		store: s, ephemeral: e, log: log, feed: s.Follow(feedBuffer),
		byUser: map[id.UserID]map[*Watch]struct{}{}, byRoom: map[id.RoomID]map[*Watch]struct{}{},
		presence: e.TypingSerial(),
	}
	_, places.upto, _ = places.feed.Take()
	places.news.forget(places.upto)
	return places
}

// Recall reads when something happened last in each room, so that what has not changed since before the start needn't be asked for: each
// user's first /sync after it, and each pusher, would otherwise look into all rooms. To be called once, after New. Without it, and in a
// server of more than maxRecalled rooms, all is asked.
func (s *Stream) Recall(ctx context.Context) error {
	all, err := s.store.LastNews(ctx, maxRecalled+1)
	if err != nil || len(all) > maxRecalled {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.news.recall(all)
	return nil
}

// Now is the newest place: everything before it can be read, and whatever was acknowledged to anybody is before it.
func (s *Stream) Now() Token {
	typing := s.ephemeral.TypingSerial()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.absorb()
	return Token{Position: s.upto, Typing: typing, ToDevice: s.upto}
}

// absorb takes what the feed has and wakes whom it concerns. The caller holds mu.
func (s *Stream) absorb() {
	notices, upto, lost := s.feed.Take()
	s.upto = upto
	if lost {
		s.log.Debug("the commit feed was faster than its reader: everybody who waits in /sync looks for news")
		s.news.forget(upto)
		s.wakeAll()
	}
	for _, notice := range notices {
		s.learn(notice)
	}
}

// learn remembers what a notice is about and wakes whom it concerns. The caller holds mu.
func (s *Stream) learn(notice store.Notice) {
	s.news.add(notice)
	s.wake(notice.Room, notice.Users)
	for _, room := range notice.Rooms {
		s.wake(room, nil)
	}
}

// Watch is one waiting request. C gets at most one wake-up ahead: who receives it looks at everything.
type Watch struct {
	C <-chan struct{}

	c      chan struct{}
	stream *Stream
	user   id.UserID
	rooms  []id.RoomID // guarded by stream.mu

	presence bool // guarded by stream.mu
}

// Watch registers a user's request. It is to be made before the reading whose emptiness leads to waiting, so that
// nothing falls between. Close it when done.
func (s *Stream) Watch(user id.UserID) *Watch {
	c := make(chan struct{}, 1)
	w := &Watch{C: c, c: c, stream: s, user: user}
	s.mu.Lock()
	defer s.mu.Unlock()
	add(s.byUser, user, w)
	return w
}

// Rooms says in which rooms the user is now; a change of them always wakes the watch by its user, and is then told anew. It tells
// whether they are others than before: then what has come meanwhile may not have woken the watch.
func (w *Watch) Rooms(rooms []id.RoomID) (changed bool) {
	s := w.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Equal(w.rooms, rooms) {
		return false
	}
	for _, room := range w.rooms {
		remove(s.byRoom, room, w)
	}
	w.rooms = rooms
	for _, room := range rooms {
		add(s.byRoom, room, w)
	}
	return true
}

// Presence says that who is there is news for the watch, too.
func (w *Watch) Presence() { w.stream.locked(func() { w.presence = true }) }

// Close ends the watch.
func (w *Watch) Close() {
	w.Rooms(nil)
	w.stream.mu.Lock()
	defer w.stream.mu.Unlock()
	remove(w.stream.byUser, w.user, w)
}

func add[K comparable](watches map[K]map[*Watch]struct{}, key K, w *Watch) {
	if watches[key] == nil {
		watches[key] = map[*Watch]struct{}{}
	}
	watches[key][w] = struct{}{}
}

func remove[K comparable](watches map[K]map[*Watch]struct{}, key K, w *Watch) {
	delete(watches[key], w)
	if len(watches[key]) == 0 {
		delete(watches, key)
	}
}

// Run hands wake-ups from the commit feed, typing and presence to the watches, until ctx ends.
func (s *Stream) Run(ctx context.Context) error {
	defer s.feed.Close()
	typing := s.ephemeral.WatchTyping(typingBuffer)
	defer typing.Close()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.feed.Wake:
			s.locked(s.absorb)
		case <-s.ephemeral.PresenceNews():
			s.locked(s.wakePresence)
		case room, open := <-typing.C:
			if !open {
				return nil
			}
			s.locked(func() { s.wake(room, nil) })
			if typing.Lagged() {
				s.locked(s.wakeAll)
			}
		}
	}
}

func (s *Stream) locked(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// wake rings who is in the room, and the users. The caller holds mu.
func (s *Stream) wake(room id.RoomID, users []id.UserID) {
	for w := range s.byRoom[room] {
		w.ring()
	}
	for _, user := range users {
		for w := range s.byUser[user] {
			w.ring()
		}
	}
}

// wakePresence rings who waits for presence and shares a room with somebody whose presence has changed. The caller holds mu.
func (s *Stream) wakePresence() {
	rooms, selves, upto, known := s.ephemeral.PresenceTold(s.presence)
	s.presence = upto
	if !known {
		s.wakeAll()
		return
	}
	for room, told := range rooms {
		for w := range s.byRoom[room] {
			if w.presence && (len(told) > 1 || told[0] != w.user) {
				w.ring()
			}
		}
	}
	for user := range selves {
		for w := range s.byUser[user] {
			if w.presence {
				w.ring()
			}
		}
	}
}

// wakeAll rings everybody. The caller holds mu.
func (s *Stream) wakeAll() {
	for _, watches := range s.byUser {
		for w := range watches {
			w.ring()
		}
	}
}

// ring never blocks: a watch that has a wake-up waiting needs no second.
func (w *Watch) ring() {
	select {
	case w.c <- struct{}{}:
	default:
	}
}
