package store

import (
	"context"

	"hanse/federation/id"
)

// Unread is what of a room a user had not read, of what notifies, when it was looked at up to a position.
type Unread struct {
	User    id.UserID
	Room    id.RoomID
	Upto    Position
	Rules   Position // of the account data by which it was decided
	Content []byte   // for who wrote it
}

var insertUnread = &insertion{
	into: "unread (user_id, room, upto, rules, content)", columns: 5, key: 2,
	conflict: `ON CONFLICT (user_id, room) DO UPDATE SET upto = excluded.upto, rules = excluded.rules, content = excluded.content`,
}

// Unread reads what was saved of a user and room; false if nothing was.
func (s *Store) Unread(ctx context.Context, user id.UserID, r id.RoomID) (Unread, bool, error) {
	u := Unread{User: user, Room: r}
	ref, err := s.rooms.find(ctx, r)
	if err != nil || ref == nil {
		return u, false, err
	}
	found, err := s.read.found(ctx, "SELECT upto, rules, content FROM unread WHERE user_id = $1 AND room = $2",
		[]any{string(user), ref.number}, &u.Upto, &u.Rules, &u.Content)
	return u, found, err
}

// SaveUnread writes some, in place of what was saved before. Those of rooms that are not known are passed over.
func (s *Store) SaveUnread(ctx context.Context, all []Unread) error {
	numbers := make([]int64, len(all))
	for i, u := range all {
		ref, err := s.rooms.find(ctx, u.Room)
		if err != nil {
			return err
		}
		if ref != nil {
			numbers[i] = ref.number
		}
	}
	return s.commit.write(ctx, func(t *writeTx) error {
		for i, u := range all {
			if numbers[i] == 0 {
				continue
			}
			if err := t.insert(insertUnread, string(u.User), numbers[i], int64(u.Upto), int64(u.Rules), u.Content); err != nil {
				return err
			}
		}
		return nil
	})
}

// StayBegan is when a local user, who is joined to a room, came there last; 0 if they never did.
func (s *Store) StayBegan(ctx context.Context, r id.RoomID, user id.UserID) (Position, error) {
	ref, err := s.rooms.find(ctx, r)
	if err != nil || ref == nil {
		return 0, err
	}
	var at Position
	_, err = s.read.found(ctx, `SELECT COALESCE(MIN(position), 0) FROM member_history
		WHERE user_id = $1 AND room = $2 AND membership = 'join' AND out_of_room = 0 AND position > (
			SELECT COALESCE(MAX(other.position), 0) FROM member_history AS other
			WHERE other.user_id = $1 AND other.room = $2 AND (other.membership <> 'join' OR other.out_of_room <> 0))`,
		[]any{string(user), ref.number}, &at)
	return at, err
}
