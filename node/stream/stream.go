// Package stream knows the positions that clients hold as tokens, and wakes those who wait for something new. It tells
// nobody what is new: who was woken reads.
package stream

import (
	"context"
	"log/slog"
	"sync"

	"hanse/federation/id"
	"hanse/node/ephemeral"
	"hanse/node/store"
)

// feedBuffer is how many notices may wait for this package; when they are more, everybody is woken to look.
const feedBuffer = 1024

// Stream wakes waiting users. Make one with New and let Run run. Safe for concurrent use.
type Stream struct {
	store     *store.Store
	ephemeral *ephemeral.Ephemeral
	log       *slog.Logger

	mu     sync.Mutex
	byUser map[id.UserID]map[*Watch]struct{} // guarded by mu
	byRoom map[id.RoomID]map[*Watch]struct{} // guarded by mu
}

// New makes a Stream; log may be nil.
func New(s *store.Store, e *ephemeral.Ephemeral, log *slog.Logger) *Stream {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Stream{
		store: s, ephemeral: e, log: log,
		byUser: map[id.UserID]map[*Watch]struct{}{}, byRoom: map[id.RoomID]map[*Watch]struct{}{},
	}
}

// Now is the newest place: everything before it can be read.
func (s *Stream) Now() Token {
	return Token{Position: s.store.Position(), Typing: s.ephemeral.TypingSerial()}
}

// Watch is one waiting request. C gets at most one wake-up ahead: who receives it looks at everything.
type Watch struct {
	C <-chan struct{}

	c      chan struct{}
	stream *Stream
	user   id.UserID
	rooms  []id.RoomID // guarded by stream.mu
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

// Rooms says in which rooms the user is now; a change of them always wakes the watch by its user, and is then told anew.
func (w *Watch) Rooms(rooms []id.RoomID) {
	s := w.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, room := range w.rooms {
		remove(s.byRoom, room, w)
	}
	w.rooms = rooms
	for _, room := range rooms {
		add(s.byRoom, room, w)
	}
}

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

// Run hands wake-ups from the commit feed and from typing to the watches, until ctx ends.
func (s *Stream) Run(ctx context.Context) error {
	feed := s.store.Feed().Subscribe(feedBuffer)
	defer feed.Close()
	typing := s.ephemeral.WatchTyping(feedBuffer)
	defer typing.Close()
	for {
		select {
		case <-ctx.Done():
			return nil
		case notice, open := <-feed.C:
			if !open {
				return nil
			}
			s.wake(notice.Room, notice.Users)
			if feed.Lagged() {
				s.wakeAll()
			}
		case room, open := <-typing.C:
			if !open {
				return nil
			}
			s.wake(room, nil)
			if typing.Lagged() {
				s.wakeAll()
			}
		}
	}
}

func (s *Stream) wake(room id.RoomID, users []id.UserID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.byRoom[room] {
		w.ring()
	}
	for _, user := range users {
		for w := range s.byUser[user] {
			w.ring()
		}
	}
}

func (s *Stream) wakeAll() {
	s.log.Debug("the commit feed was faster than its reader: everybody who waits in /sync looks for news")
	s.mu.Lock()
	defer s.mu.Unlock()
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
