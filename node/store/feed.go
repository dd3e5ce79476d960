package store

import (
	"sync"

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
	// KindDevices is a change of the devices or keys of the first of Users, which whoever is in one of Rooms may see; without
	// users, only that Servers have something to get: an EDU about such a change, or what a commit that was in doubt queued.
	KindDevices
	// KindToDevice is a message to a device of a user.
	KindToDevice
	// KindOneTimeKeys is a change of a user's devices' own one-time and fallback keys.
	KindOneTimeKeys
)

// Notice says that something is durable. It is a wake-up, not the data: the tables are the truth.
type Notice struct {
	Position Position
	Kind     Kind
	Room     id.RoomID   // "" when not about a room
	Rooms    []id.RoomID // of KindDevices
	Users    []id.UserID // local users concerned beside the room's joined ones: new members, invited, left; the owner of account data
	// Redacts says that the commit redacted an event of the room, whichever.
	Redacts bool
	// Members says that the commit changed whose members the room has, or what they are called.
	Members bool
	// Servers are those that get something of this commit, for the sender. The slice must not be changed.
	Servers []id.ServerName
}

// feed hands notices to followers, in commit order, each after its commit is durable. It never waits for one that is slow: it loses
// notices, learns that it did, and reads the tables. The zero value is ready.
type feed struct {
	mu        sync.Mutex
	followers map[*Follower]struct{} // guarded by mu
}

// Follower is a reader that takes what was published whenever it wants to, all at once: also just before it answers
// somebody, who then finds whatever was acknowledged before.
type Follower struct {
	// Wake has a value when there is something to take.
	Wake <-chan struct{}
	wake chan struct{}
	feed *feed

	limit    int      // immutable
	notices  []Notice // guarded by feed.mu
	position Position // guarded by feed.mu
	lost     bool     // guarded by feed.mu
}

// Follow gives a follower that begins now. When more than limit notices wait to be taken, they are lost.
func (s *Store) Follow(limit int) *Follower {
	c := make(chan struct{}, 1)
	w := &Follower{Wake: c, wake: c, feed: &s.feed, limit: limit}
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	w.position = s.Position()
	if s.feed.followers == nil {
		s.feed.followers = map[*Follower]struct{}{}
	}
	s.feed.followers[w] = struct{}{}
	return w
}

// Take gives what was published since the last call, and the position up to which that is all there is. lost says that
// there was more than the limit, of which nothing is given.
func (w *Follower) Take() (notices []Notice, upto Position, lost bool) {
	w.feed.mu.Lock()
	defer w.feed.mu.Unlock()
	notices, lost = w.notices, w.lost
	w.notices, w.lost = nil, false
	return notices, w.position, lost
}

// Close ends it; it may be called more than once.
func (w *Follower) Close() {
	w.feed.mu.Lock()
	defer w.feed.mu.Unlock()
	delete(w.feed.followers, w)
}

// add is for the feed, which holds its mu.
func (w *Follower) add(position Position, notices []Notice) {
	w.position = position
	if len(w.notices)+len(notices) > w.limit {
		w.notices, w.lost = nil, true
	} else {
		w.notices = append(w.notices, notices...)
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (f *feed) publish(position Position, notices []Notice) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for w := range f.followers {
		w.add(position, notices)
	}
}
