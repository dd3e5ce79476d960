package clientsync

import (
	"sync"

	"hanse/federation/id"
	"hanse/node/store"
)

// sentMembers remembers which membership events a device was sent for a room, so that lazy loading does not send them
// again and again. It forgets when it is full and at a restart; then they are sent once more, which does no harm.
type sentMembers struct {
	mu   sync.Mutex
	sent map[sentKey]*sentRoom // guarded by mu
}

type sentKey struct {
	user   id.UserID
	device string
	room   id.RoomID
}

type sentRoom struct {
	newest  store.Position // of the answers
	members map[id.UserID]sentMember
}

// sentMember is what a device has of a member, if it got the answer that ended at the position.
type sentMember struct {
	event id.EventID
	at    store.Position
}

// got notes that a device asks for what comes after since: what later answers had is forgotten, as they were lost on the
// way or thrown away.
func (s *sentMembers) got(key sentKey, since store.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	room := s.sent[key]
	if room == nil || room.newest <= since {
		return
	}
	for member, sent := range room.members {
		if sent.at > since {
			delete(room.members, member)
		}
	}
	room.newest = since
}

// remember notes that the answer that ends at a position has a membership event, and tells whether the device has it
// already.
func (s *sentMembers) remember(key sentKey, member id.UserID, eventID id.EventID, at store.Position) (known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	room := s.sent[key]
	if room != nil && room.members[member].event == eventID {
		return true
	}
	if s.sent == nil || room == nil && len(s.sent) >= maxRemembered {
		s.sent = map[sentKey]*sentRoom{}
	}
	if room == nil || len(room.members) >= maxRememberedMembers {
		room = &sentRoom{members: map[id.UserID]sentMember{}}
		s.sent[key] = room
	}
	room.newest = max(room.newest, at)
	room.members[member] = sentMember{eventID, at}
	return false
}
