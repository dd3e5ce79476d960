package store

import (
	"context"

	"hanse/federation/id"
)

// RoomPositions are the newest commits of the rooms that a user is, or was once, a member of: for lists of the rooms where something
// happened last.
func (s *Store) RoomPositions(ctx context.Context, user id.UserID) (map[id.RoomID]Position, error) {
	return readMap[id.RoomID, Position](ctx, s, `SELECT rooms.room_id, rooms.position FROM members JOIN rooms ON rooms.room = members.room
		WHERE members.user_id = $1`, string(user))
}
