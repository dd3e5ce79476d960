package slidingsync

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"sync"

	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/node/clientsync"
	"hanse/node/store"
	"hanse/node/stream"
)

// listed is a room of a user's, as the lists see it. Owned by the userRooms that it is in.
type listed struct {
	membership store.Membership
	activity   store.Position // when something happened in it last
	direct     bool
	tags       []string
	moved      bool // while the order is made
	hidden     bool // an invite that the user is not to be shown

	traits  traits
	checked store.Position // up to where traits are right; 0: they are not known
}

// userRooms are a user's rooms, the one where something happened last first: those that they are in, are invited to or knocked at, and
// those they were removed from. What they left by themselves is not listed, but to clients that showed it before.
type userRooms struct {
	mu     sync.Mutex
	readAt store.Position        // guarded by mu: when the memberships were read; 0: never
	dataAt store.Position        // guarded by mu: when the account data was
	upto   store.Position        // guarded by mu: up to where activity is right
	order  []*listed             // guarded by mu
	rooms  map[id.RoomID]*listed // guarded by mu: those that were left too
	// invites are those of the rooms that the user is invited to. Guarded by mu.
	invites []*listed
	// large holds a value while a large answer to the user is in the making, or waits for its turn: so one user, however often they
	// ask at once, is one among all.
	large chan struct{}
}

func newUserRooms() *userRooms { return &userRooms{large: make(chan struct{}, 1)} }

// removed tells whether somebody else ended a membership: then the user may not know.
func removed(m store.Membership) bool {
	return m.Membership == "ban" || m.Membership == "leave" && m.Sender != m.User && m.Sender != ""
}

// out tells whether a membership says that the user is not in the room, nor about to be.
func out(m store.Membership) bool { return m.Membership == "leave" || m.Membership == "ban" }

// update brings the rooms up to date. The caller holds mu.
func (u *userRooms) update(ctx context.Context, s *Syncer, user id.UserID, r *clientsync.Reader, now stream.Token) error {
	memberships, readAt := r.Memberships()
	fresh := u.readAt != readAt || u.rooms == nil || !s.stream.Remembers(u.upto) || slices.ContainsFunc(u.invites, func(l *listed) bool {
		return l.hidden != r.Hides(l.membership)
	})
	if fresh {
		if err := u.read(ctx, s, user, memberships, r); err != nil {
			return err
		}
		u.readAt, u.upto = readAt, now.Position
	}
	if _, changed := s.stream.UserSince(user, u.dataAt); changed || fresh {
		if err := u.readData(ctx, s, user, now.Position); err != nil {
			return err
		}
		u.dataAt = now.Position
	}
	if !fresh && u.upto < now.Position {
		u.move(s, r.Joined())
		u.upto = now.Position
	}
	return nil
}

// read makes the list anew.
func (u *userRooms) read(ctx context.Context, s *Syncer, user id.UserID, memberships []store.Membership, r *clientsync.Reader) error {
	positions, err := s.store.RoomPositions(ctx, user)
	if err != nil {
		return err
	}
	old := u.rooms
	u.rooms, u.order, u.invites = make(map[id.RoomID]*listed, len(memberships)), u.order[:0:0], nil
	for _, m := range memberships {
		l := &listed{membership: m, activity: m.Position}
		before := old[m.RoomID]
		if before != nil && before.membership.EventID == m.EventID && !s.stream.RoomSince(m.RoomID, u.upto).Events {
			l.traits, l.checked = before.traits, before.checked
		}
		if m.Membership == "join" {
			l.activity = max(positions[m.RoomID], m.Position)
		}
		u.rooms[m.RoomID] = l
		if m.Membership == "invite" {
			l.hidden = r.Hides(m)
			u.invites = append(u.invites, l)
		}
		switch {
		case l.hidden:
		case out(m) && (m.Forgotten || !removed(m)):
		default:
			u.order = append(u.order, l)
		}
	}
	slices.SortFunc(u.order, func(a, b *listed) int {
		return cmp.Or(cmp.Compare(b.activity, a.activity), cmp.Compare(a.membership.RoomID, b.membership.RoomID))
	})
	return nil
}

// move brings the rooms to the front in which something has happened. The caller holds mu.
func (u *userRooms) move(s *Syncer, joined []id.RoomID) {
	var moved []*listed
	for _, room := range s.stream.RoomsSince(joined, u.upto) {
		l := u.rooms[room]
		if l == nil || !s.stream.RoomSince(room, u.upto).Events {
			continue
		}
		l.checked = 0
		at, _ := s.stream.LastCommit(room, u.upto)
		if l.activity = max(l.activity, at); at > 0 {
			l.moved = true
			moved = append(moved, l)
		}
	}
	if len(moved) == 0 {
		return
	}
	slices.SortFunc(moved, func(a, b *listed) int { return cmp.Compare(b.activity, a.activity) })
	kept := make([]*listed, 0, len(u.order))
	kept = append(kept, moved...)
	for _, l := range u.order {
		if !l.moved {
			kept = append(kept, l)
		}
	}
	for _, l := range moved {
		l.moved = false
	}
	u.order = kept
}

// readData reads which rooms are direct chats, and the rooms' tags.
func (u *userRooms) readData(ctx context.Context, s *Syncer, user id.UserID, now store.Position) error {
	entries, err := s.store.AccountDataChanges(ctx, user, 0, now)
	if err != nil {
		return err
	}
	for _, l := range u.rooms {
		l.direct, l.tags = false, nil
	}
	for _, entry := range entries {
		switch {
		case entry.Room == "" && entry.Type == "m.direct":
			for _, room := range directRooms(entry.Content) {
				if l := u.rooms[room]; l != nil {
					l.direct = true
				}
			}
		case entry.Type == "m.tag":
			if l := u.rooms[entry.Room]; l != nil {
				l.tags = tagsOf(entry.Content)
			}
		}
	}
	return nil
}

// directRooms reads m.direct; what a client got wrong is none.
//
// spec:client-server-api/modules/dm#events
func directRooms(content json.RawMessage) []id.RoomID {
	var byUser map[string]json.RawMessage
	if exactjson.Unmarshal(content, &byUser) != nil {
		return nil
	}
	var all []id.RoomID
	for _, raw := range byUser {
		var rooms []id.RoomID
		if exactjson.Unmarshal(raw, &rooms) == nil && len(all)+len(rooms) <= maxDirect {
			all = append(all, rooms...)
		}
	}
	return all
}

// tagsOf reads m.tag.
//
// spec:client-server-api/modules/tags#events
func tagsOf(content json.RawMessage) []string {
	var tags struct {
		Tags map[string]json.RawMessage `json:"tags"`
	}
	if exactjson.Unmarshal(content, &tags) != nil {
		return nil
	}
	names := make([]string, 0, len(tags.Tags))
	for name := range tags.Tags {
		names = append(names, name)
	}
	return names
}
