package store

import (
	"sync"
	"sync/atomic"

	"hanse/federation/id"
)

// Kind is what a notice is about.
type Kind int

const (
	// KindEvents is a room's commit.
	KindEvents Kind = iota
	// KindMembership is a membership outside the rooms we take part in (invite, knock, leave), or a forgotten room.
	KindMembership
	// KindReceipt is a read receipt.
	KindReceipt
	// KindAccountData is a user's account data, of a room or global; tags too.
	KindAccountData
)

// Notice says that something is durable. It is a wake-up, not the data: the tables are the truth.
type Notice struct {
	Position Position
	Kind     Kind
	Room     id.RoomID   // "" when not about a room
	Users    []id.UserID // local users concerned beside the room's joined ones: new members, invited, left; the owner of account data
	// Servers are those that get an event or a receipt of this commit, for the sender.
	Servers []id.ServerName
}

// Feed hands notices to subscribers, in commit order, each after its commit is durable. It never waits for a
// subscriber: one that is slow loses notices, learns that it did, and reads the tables.
type Feed struct {
	mu   sync.Mutex
	subs map[*Subscription]struct{} // guarded by mu
}

// Subscription is one reader of the feed.
type Subscription struct {
	// C has the notices; it is closed by Close.
	C      <-chan Notice
	c      chan Notice
	feed   *Feed
	lagged atomic.Bool
}

// Subscribe gives a channel of the given buffer (at least 1).
func (f *Feed) Subscribe(buffer int) *Subscription {
	c := make(chan Notice, max(buffer, 1))
	sub := &Subscription{C: c, c: c, feed: f}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.subs == nil {
		f.subs = map[*Subscription]struct{}{}
	}
	f.subs[sub] = struct{}{}
	return sub
}

// Lagged says whether notices were lost since the last call: then read as if there had been one about everything.
// Ask it after each receive; a full buffer comes before a loss, so a reader that drains C always gets to ask.
func (s *Subscription) Lagged() bool { return s.lagged.Swap(false) }

// Close ends the subscription and closes C. It may be called more than once.
func (s *Subscription) Close() {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	if _, open := s.feed.subs[s]; open {
		delete(s.feed.subs, s)
		close(s.c)
	}
}

func (f *Feed) publish(notices []Notice) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for sub := range f.subs {
		for _, n := range notices {
			select {
			case sub.c <- n:
			default:
				sub.lagged.Store(true)
			}
		}
	}
}
