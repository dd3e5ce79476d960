package store

import (
	"context"
	"database/sql"

	"hanse/federation/id"
)

// RoomsWithUs are the rooms to which users are joined, ours or of other servers, and in which this server has users; in order.
func (s *Store) RoomsWithUs(ctx context.Context, users []id.UserID) (map[id.UserID][]id.RoomID, error) {
	rooms, shared := map[id.UserID][]id.RoomID{}, map[id.RoomID]id.RoomID{} // each name is in memory once
	return rooms, list(`SELECT user_id, room_id FROM members JOIN rooms ON rooms.room = members.room
		JOIN room_servers ON room_servers.room = members.room
		WHERE membership = 'join' AND out_of_room = 0 AND server = $1 AND joined > 0 AND user_id IN (%s) ORDER BY user_id, room_id`,
		[]any{string(s.self)}, users, func(query string, args []any) error {
			return s.read.each(ctx, query, args, func(rows *sql.Rows) error {
				var user id.UserID
				var room id.RoomID
				if err := rows.Scan(&user, &room); err != nil {
					return err
				}
				if known, ok := shared[room]; ok {
					room = known
				}
				shared[room] = room
				rooms[user] = append(rooms[user], room)
				return nil
			})
		})
}
