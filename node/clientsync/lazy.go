package clientsync

import (
	"sync"

	"hanse/federation/id"
)

// sentMembers remembers which membership events a device was sent for a room, so that lazy loading does not send them
// again and again. It forgets when it is full and at a restart; then they are sent once more, which does no harm.
type sentMembers struct {
	mu   sync.Mutex
	sent map[sentKey]map[id.UserID]id.EventID // guarded by mu
}

type sentKey struct {
	user   id.UserID
	device string
	room   id.RoomID
}

// remember notes that a device gets a membership event, and tells whether it had it already.
func (s *sentMembers) remember(key sentKey, member id.UserID, eventID id.EventID) (known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	members := s.sent[key]
	if members[member] == eventID {
		return true
	}
	if s.sent == nil || members == nil && len(s.sent) >= maxRemembered {
		s.sent = map[sentKey]map[id.UserID]id.EventID{}
	}
	if members == nil || len(members) >= maxRememberedMembers {
		members = map[id.UserID]id.EventID{}
		s.sent[key] = members
	}
	members[member] = eventID
	return false
}

// forget is for a device that begins anew in a room.
func (s *sentMembers) forget(key sentKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sent, key)
}
