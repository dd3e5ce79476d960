package stream

import (
	"hanse/federation/id"
	"hanse/node/store"
)

// maxNews is of how many rooms and users the newest changes are known, about 10 MB. Beyond it all are forgotten, and the
// tables are asked until they are known anew. maxRecalled is of how many rooms they are read at the start.
const (
	maxNews     = 100_000
	maxRecalled = maxNews / 2
)

// news are the positions of the newest changes, learned from the commit feed. They save the question to the database
// whether anything has changed: an answer of /sync mostly is about one thing in one room. Owned by the Stream.
type news struct {
	floor store.Position // what changed at or before it is not known,
	// but of rooms the newest commit and receipt before it: after recalled, which isn't beyond it.
	recalled store.Position
	rooms    map[id.RoomID]roomNews
	users    map[id.UserID]userNews
}

// roomNews are of a room; earlier is the commit before that of events, devices is when those of somebody in it changed last.
type roomNews struct{ events, earlier, members, receipts, redactions, devices store.Position }

type userNews struct{ memberships, accountData, devices, toDevice, oneTimeKeys store.Position }

// forget begins anew: what changed up to the position is not known any more.
func (n *news) forget(upto store.Position) {
	n.floor, n.recalled, n.rooms, n.users = upto, upto, map[id.RoomID]roomNews{}, map[id.UserID]userNews{}
}

// recall takes in what is stored of all rooms: after a start most clients come with tokens of before it.
func (n *news) recall(all []store.RoomNews) {
	for _, r := range all {
		room := n.rooms[r.Room]
		room.events, room.receipts = max(room.events, r.Commit), max(room.receipts, r.Receipt)
		n.rooms[r.Room] = room
	}
	n.recalled = 0
}

func (n *news) add(notice store.Notice) {
	if len(n.rooms)+len(n.users) >= maxNews {
		n.forget(notice.Position)
	}
	at := notice.Position
	switch notice.Kind {
	case store.KindEvents:
		room := n.rooms[notice.Room]
		room.events, room.earlier = at, room.events
		if notice.Redacts {
			room.redactions = at
		}
		if notice.Members {
			room.members = at
		}
		n.rooms[notice.Room] = room
	case store.KindReceipt:
		room := n.rooms[notice.Room]
		room.receipts = at
		n.rooms[notice.Room] = room
		return // the user it names has only read something
	}
	for _, name := range notice.Rooms {
		room := n.rooms[name]
		room.devices = at
		n.rooms[name] = room
	}
	for _, name := range notice.Users {
		user := n.users[name]
		switch notice.Kind {
		case store.KindAccountData:
			user.accountData = at
		case store.KindDevices:
			user.devices = at
		case store.KindToDevice:
			user.toDevice = at
		case store.KindOneTimeKeys:
			user.oneTimeKeys = at
		default:
			user.memberships = at
		}
		n.users[name] = user
	}
}

// RoomChanges tells what may have changed in a room after a position.
type RoomChanges struct {
	Events     bool // events or state
	Receipts   bool
	Redactions bool // events that were there before may be redacted now
}

// RoomSince tells what may have changed in a room after a position. What it denies has not changed up to the last Now.
func (s *Stream) RoomSince(room id.RoomID, after store.Position) RoomChanges {
	s.mu.Lock()
	defer s.mu.Unlock()
	if after < s.news.recalled {
		return RoomChanges{true, true, true}
	}
	n := s.news.rooms[room]
	return RoomChanges{n.events > after, n.receipts > after, n.redactions > after || after < s.news.floor && n.events > after}
}

// Remembers tells whether it is known what has changed after a position: else all that asks what has is answered as if everything had.
func (s *Stream) Remembers(after store.Position) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return after >= s.news.floor
}

// LastCommit is where a room's newest commit after a position is, and whether it is the only one after it; 0 where that is not
// known, or there is none.
func (s *Stream) LastCommit(room id.RoomID, after store.Position) (at store.Position, only bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.news.rooms[room]
	if after < s.news.floor || n.events <= after {
		return 0, false
	}
	return n.events, n.earlier <= after
}

// RoomsSince keeps those of the rooms in which events, state or receipts may have changed after a position.
func (s *Stream) RoomsSince(rooms []id.RoomID, after store.Position) []id.RoomID {
	return s.roomsSince(rooms, after, func(n roomNews) bool { return n.events > after || n.receipts > after })
}

// MembersSince keeps those of the rooms whose members may have changed after a position.
func (s *Stream) MembersSince(rooms []id.RoomID, after store.Position) []id.RoomID {
	return s.roomsSince(rooms, after, func(n roomNews) bool { return n.members > after })
}

func (s *Stream) roomsSince(rooms []id.RoomID, after store.Position, changed func(roomNews) bool) []id.RoomID {
	s.mu.Lock()
	defer s.mu.Unlock()
	if after < s.news.recalled {
		return rooms
	}
	var kept []id.RoomID
	for _, room := range rooms {
		n := s.news.rooms[room]
		if changed(n) || after < s.news.floor && n.events > after {
			kept = append(kept, room)
		}
	}
	return kept
}

// UserSince tells whether a user's memberships and account data may have changed after a position.
func (s *Stream) UserSince(user id.UserID, after store.Position) (memberships, accountData bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if after < s.news.floor {
		return true, true
	}
	n := s.news.users[user]
	return n.memberships > after, n.accountData > after
}

// DevicesSince tells whether the devices of a user, or of somebody in one of the rooms, may have changed after a position.
func (s *Stream) DevicesSince(user id.UserID, rooms []id.RoomID, after store.Position) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if after < s.news.floor || s.news.users[user].devices > after {
		return true
	}
	for _, room := range rooms {
		if s.news.rooms[room].devices > after {
			return true
		}
	}
	return false
}

// ToDeviceSince tells whether messages for a user's devices may have come after a position.
func (s *Stream) ToDeviceSince(user id.UserID, after store.Position) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return after < s.news.floor || s.news.users[user].toDevice > after
}

// OneTimeKeysSince tells whether one-time or fallback keys of a user's devices may have changed after a position.
func (s *Stream) OneTimeKeysSince(user id.UserID, after store.Position) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return after < s.news.floor || s.news.users[user].oneTimeKeys > after
}
