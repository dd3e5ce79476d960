package store

import (
	"context"
	"database/sql"

	"hanse/federation/id"
)

// RoomPositions are the newest commits of the rooms that a user is, or was once, a member of: for lists of the rooms where something
// happened last.
func (s *Store) RoomPositions(ctx context.Context, user id.UserID) (map[id.RoomID]Position, error) {
	positions := map[id.RoomID]Position{}
	err := s.read.each(ctx, `SELECT rooms.room_id, rooms.position FROM members JOIN rooms ON rooms.room = members.room
		WHERE members.user_id = $1`, []any{string(user)}, func(rows *sql.Rows) error {
		var r id.RoomID
		var at Position
		err := rows.Scan(&r, &at)
		positions[r] = at
		return err
	})
	return positions, err
}
