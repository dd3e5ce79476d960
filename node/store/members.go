package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"hanse/federation/event"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

// Membership is one user's membership of one room, as the room's current state has it, or, for rooms this server
// takes no part in, as the last invite, knock or leave said.
type Membership struct {
	RoomID     id.RoomID
	User       id.UserID
	Membership string // join, invite, knock, leave, ban
	EventID    id.EventID
	Sender     id.UserID
	Position   Position // of its event: when it became so, or its name and picture did
	Since      Position // when it became so; of what was once so, Position
	Forgotten  bool
	// OutOfRoom says that the membership did not come with the room's state; Stripped is the state that came with it.
	OutOfRoom bool
	Stripped  []json.RawMessage
}

// MemberFilter selects in [Store.Members]; the zero value takes all.
type MemberFilter struct {
	Membership    string // only this one
	NotMembership string // all but this one
	Local         bool   // only this server's users
	Limit         int    // 0 = no limit
}

// OutOfRoom is a membership event of a local user in a room this server takes no part in: an invite received
// by federation, our own knock sent, a leave that rejects the invite or takes back the knock.
type OutOfRoom struct {
	RoomID   id.RoomID
	Rules    *roomversion.Rules
	Event    *event.Event
	User     id.UserID
	Stripped []json.RawMessage // stripped state that came along; ignored for a leave
	// Ends, if set, is the membership event that must still be the user's: else nothing is stored.
	Ends id.EventID
}

const memberColumns = "room, user_id, membership, event_id, sender, position, forgotten, out_of_room, stripped, since"

// eachMember reads rows of memberColumns. Rooms are looked up when the rows have been read: see eachEvent.
func (s *Store) eachMember(ctx context.Context, query string, args ...any) ([]Membership, error) {
	var all []Membership
	var numbers []int64
	err := s.read.each(ctx, query, args, func(rows *sql.Rows) error {
		var m Membership
		var number int64
		var stripped []byte
		err := rows.Scan(&number, &m.User, &m.Membership, &m.EventID, &m.Sender, &m.Position, &m.Forgotten, &m.OutOfRoom, &stripped, &m.Since)
		if err != nil {
			return err
		}
		if stripped != nil {
			if err := exactjson.Unmarshal(stripped, &m.Stripped); err != nil {
				return fmt.Errorf("a stored stripped state: %w", err)
			}
		}
		all, numbers = append(all, m), append(numbers, number)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i, number := range numbers {
		ref, err := s.rooms.numbered(ctx, number)
		if err != nil {
			return nil, err
		}
		all[i].RoomID = ref.roomID
	}
	return all, nil
}

// Memberships are all of a user's: rooms joined, left and forgotten, invites and knocks. Of other servers' users only
// those in rooms we know.
func (s *Store) Memberships(ctx context.Context, user id.UserID) ([]Membership, error) {
	return s.eachMember(ctx, "SELECT "+memberColumns+" FROM members WHERE user_id = $1", string(user))
}

// OutsideInviters are the senders of a local user's invites to rooms that this server takes no part in, one an invite.
func (s *Store) OutsideInviters(ctx context.Context, user id.UserID) ([]id.UserID, error) {
	return readAll[id.UserID](ctx, s, "SELECT sender FROM members WHERE user_id = $1 AND membership = 'invite' AND out_of_room = 1", string(user))
}

// Membership is a user's in one room; false when the user never had one.
func (s *Store) Membership(ctx context.Context, r id.RoomID, user id.UserID) (Membership, bool, error) {
	ref, err := s.rooms.find(ctx, r)
	if err != nil || ref == nil {
		return Membership{}, false, err
	}
	all, err := s.eachMember(ctx, "SELECT "+memberColumns+" FROM members WHERE room = $1 AND user_id = $2", ref.number, string(user))
	if err != nil || len(all) == 0 {
		return Membership{}, false, err
	}
	return all[0], true, nil
}

// historyColumns are memberColumns of the history, in which nothing is forgotten.
const historyColumns = "room, user_id, membership, event_id, sender, position, 0, out_of_room, stripped, position"

// MembershipsAt are a local user's memberships as they were when the given position was the newest.
func (s *Store) MembershipsAt(ctx context.Context, user id.UserID, at Position) ([]Membership, error) {
	return s.eachMember(ctx, "SELECT "+historyColumns+` FROM member_history WHERE user_id = $1 AND position <= $2
		AND position = (SELECT MAX(later.position) FROM member_history AS later
			WHERE later.user_id = $1 AND later.room = member_history.room AND later.position <= $2)
		ORDER BY position`, string(user), int64(at))
}

// MembershipChanges are the changes of a local user's memberships in (after, upto], in order.
func (s *Store) MembershipChanges(ctx context.Context, user id.UserID, after, upto Position) ([]Membership, error) {
	return s.eachMember(ctx, "SELECT "+historyColumns+` FROM member_history
		WHERE user_id = $1 AND position > $2 AND position <= $3 ORDER BY position`, string(user), int64(after), int64(upto))
}

// Members are the current memberships of a room that the filter lets through, in order of their user IDs. A user whose
// member event was lost to state resolution has a leave without an event.
func (s *Store) Members(ctx context.Context, r id.RoomID, f MemberFilter) ([]Membership, error) {
	ref, err := s.rooms.find(ctx, r)
	if err != nil || ref == nil {
		return nil, err
	}
	query, args := "SELECT "+memberColumns+" FROM members WHERE room = $1", []any{ref.number}
	where := func(condition string, value string) {
		args = append(args, value)
		query += fmt.Sprintf(condition, len(args))
	}
	if f.Membership != "" {
		where(" AND membership = $%d", f.Membership)
	}
	if f.NotMembership != "" {
		where(" AND membership <> $%d", f.NotMembership)
	}
	if f.Local {
		// By the index: as a condition of its own SQLite goes through all members, as they are in order then.
		query += " AND user_id IN (SELECT user_id FROM members WHERE room = $1 AND local = 1)"
	}
	query += " ORDER BY user_id"
	if f.Limit > 0 {
		args = append(args, f.Limit)
		query += fmt.Sprintf(" LIMIT $%d", len(args))
	}
	return s.eachMember(ctx, query, args...)
}

// JoinedServers are the servers with joined users in a room, and how many.
func (s *Store) JoinedServers(ctx context.Context, r id.RoomID) (map[id.ServerName]int, error) {
	ref, err := s.rooms.find(ctx, r)
	if err != nil || ref == nil {
		return map[id.ServerName]int{}, err
	}
	return readMap[id.ServerName, int](ctx, s, "SELECT server, joined FROM room_servers WHERE room = $1 AND joined > 0", ref.number)
}

// LocalJoined are this server's users joined to a room.
func (s *Store) LocalJoined(ctx context.Context, r id.RoomID) ([]id.UserID, error) {
	ref, err := s.rooms.find(ctx, r)
	if err != nil || ref == nil {
		return nil, err
	}
	return readAll[id.UserID](ctx, s, localJoined, ref.number)
}

const localJoined = "SELECT user_id FROM members WHERE room = $1 AND local = 1 AND membership = 'join' ORDER BY user_id"

// JoinedRooms are the rooms a user, ours or another server's, is joined to as far as we know, in order.
func (s *Store) JoinedRooms(ctx context.Context, user id.UserID) ([]id.RoomID, error) {
	return readAll[id.RoomID](ctx, s, `SELECT room_id FROM members JOIN rooms ON rooms.room = members.room
		WHERE user_id = $1 AND membership = 'join' ORDER BY room_id`, string(user))
}

// SharedRooms are the rooms to which both users are joined, in order.
func (s *Store) SharedRooms(ctx context.Context, a, b id.UserID) ([]id.RoomID, error) {
	return readAll[id.RoomID](ctx, s, `SELECT room_id FROM members AS a JOIN members AS b ON b.room = a.room
		JOIN rooms ON rooms.room = a.room
		WHERE a.user_id = $1 AND b.user_id = $2 AND a.membership = 'join' AND b.membership = 'join' ORDER BY room_id`,
		string(a), string(b))
}

// SaveOutOfRoom stores a membership event of a local user in a room this server takes no part in. The event becomes an
// outlier. In a room we take part in, it is an error: there the machine decides.
func (s *Store) SaveOutOfRoom(ctx context.Context, m OutOfRoom) (Position, error) {
	var stripped []byte
	if len(m.Stripped) > 0 {
		var err error
		if stripped, err = json.Marshal(m.Stripped); err != nil {
			return 0, fmt.Errorf("store: the stripped state: %w", err)
		}
	}
	var at Position
	err := s.commit.write(ctx, func(t *writeTx) error {
		ref, err := s.rooms.inTx(t, m.RoomID, m.Rules)
		if err != nil {
			return err
		}
		if m.Ends != "" {
			var one int64
			found, err := t.found("SELECT 1 FROM members WHERE room = $1 AND user_id = $2 AND event_id = $3", []any{ref.number, string(m.User), string(m.Ends)}, &one)
			if err != nil || !found {
				return err
			}
		}
		if err := s.storeOutlier(t, ref, m.Event); err != nil {
			return err
		}
		at = t.next()
		return s.outOfRoom(t, ref, at, m.User, m.Event.Membership(), m.Event.ID(), m.Event.Sender(), stripped)
	})
	return at, err
}

// storeOutlier stores an event without a place, unless it is stored already.
func (s *Store) storeOutlier(t *writeTx, ref *roomRef, e *event.Event) error {
	_, found, err := s.tail.numberInTx(t, e.ID())
	if err != nil || found {
		return err
	}
	number := t.next()
	err = t.insert(insertEvent, int64(number), string(e.ID()), ref.number, int64(0), int64(number), e.Depth(), int64(0), int64(0),
		[]byte(nil), []byte(nil), []byte(nil), []byte(nil), []byte(nil), []byte(nil), e.JSON(), []byte(nil))
	if err != nil {
		return err
	}
	s.tail.wrote(t, e.ID(), number)
	return cite(t, e, number, "")
}

// RemoveOutOfRoom turns a local user's invite to, or knock on, a room this server takes no part in into a leave without
// an event: rejected or taken back while no server answers. [ErrNotFound] if there is none.
func (s *Store) RemoveOutOfRoom(ctx context.Context, r id.RoomID, user id.UserID) (Position, error) {
	m, found, err := s.Membership(ctx, r, user)
	if err != nil {
		return 0, err
	}
	if !found || !m.OutOfRoom || m.Membership == "leave" {
		return 0, fmt.Errorf("store: an invite of %s to %s: %w", user, r, ErrNotFound)
	}
	ref, err := s.rooms.find(ctx, r)
	if err != nil {
		return 0, err
	}
	var at Position
	err = s.commit.write(ctx, func(t *writeTx) error {
		at = t.next()
		return s.outOfRoom(t, ref, at, user, "leave", "", user, nil)
	})
	return at, err
}

// errTakesPart says that the machine of a room decides about its memberships.
var errTakesPart = errors.New("this server takes part in the room")

func (s *Store) outOfRoom(t *writeTx, ref *roomRef, at Position, user id.UserID, membership string, e id.EventID, sender id.UserID, stripped []byte) error {
	var resident int64
	if _, err := t.found("SELECT resident FROM rooms WHERE room = $1", []any{ref.number}, &resident); err != nil {
		return err
	}
	if resident != 0 {
		return fmt.Errorf("store: %s in %s: %w", user, ref.roomID, errTakesPart)
	}
	err := t.insert(insertMember, ref.number, string(user), membership, string(e), string(sender), int64(at), 1, 0, 1, stripped, int64(at))
	if err != nil {
		return err
	}
	err = t.insert(insertMemberHistory, string(user), int64(at), ref.number, membership, string(e), string(sender), 1, stripped)
	if err != nil {
		return err
	}
	t.notify(Notice{Position: at, Kind: KindMembership, Room: ref.roomID, Users: []id.UserID{user}})
	return nil
}

// Forget hides a room the user has left; a new membership brings it back. [ErrNotFound] if the user is not out of it.
func (s *Store) Forget(ctx context.Context, user id.UserID, r id.RoomID) (Position, error) {
	ref, err := s.rooms.find(ctx, r)
	if err != nil {
		return 0, err
	}
	if ref == nil {
		return 0, fmt.Errorf("store: the room %s: %w", r, ErrNotFound)
	}
	var at Position
	err = s.commit.write(ctx, func(t *writeTx) error {
		at = t.next()
		t.notify(Notice{Position: at, Kind: KindMembership, Room: r, Users: []id.UserID{user}})
		return t.change("store: a room that "+string(user)+" has left", `UPDATE members SET forgotten = 1 WHERE room = $1 AND user_id = $2
			AND membership IN ('leave', 'ban')`, ref.number, string(user))
	})
	return at, err
}
