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

// RoomNews is when something happened last in a room; 0: never.
type RoomNews struct {
	Room    id.RoomID
	Commit  Position // the newest of the room's commits
	Receipt Position // the newest receipt that counts
}

// LastNews is when something happened last in each room, of at most so many rooms: any.
func (s *Store) LastNews(ctx context.Context, most int) ([]RoomNews, error) {
	return readRows(ctx, s, `SELECT room_id, position, (SELECT COALESCE(MAX(receipts.position), 0) FROM receipts WHERE receipts.room = rooms.room)
		FROM rooms LIMIT $1`, []any{most}, func(n *RoomNews) []any { return []any{&n.Room, &n.Commit, &n.Receipt} })
}
