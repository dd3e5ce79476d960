package store

import (
	"context"
	"fmt"

	"hanse/federation/id"
)

// Publish sets whether a room is listed in this server's directory; [ErrNotFound] for a room we don't know.
func (s *Store) Publish(ctx context.Context, r id.RoomID, public bool) error {
	ref, err := s.rooms.find(ctx, r)
	if err != nil {
		return err
	}
	if ref == nil {
		return fmt.Errorf("store: the room %s: %w", r, ErrNotFound)
	}
	return s.commit.write(ctx, func(t *writeTx) error { return s.publish(t, ref, public) })
}

func (s *Store) publish(t *writeTx, ref *roomRef, public bool) error {
	t.then(func() { s.present.infos.drop(ref.roomID) })
	query := "DELETE FROM directory WHERE room = $1"
	if public {
		query = "INSERT INTO directory (room) VALUES ($1) ON CONFLICT DO NOTHING"
	}
	_, err := t.exec(query, ref.number)
	return err
}

// PublishedRooms lists the rooms of the directory, those with most joined members first, then by ID.
func (s *Store) PublishedRooms(ctx context.Context) ([]PublishedRoom, error) {
	return s.publishedRooms(ctx, "directory")
}

// NetworkRooms lists the rooms that an application service has published of a network, in the order of PublishedRooms.
func (s *Store) NetworkRooms(ctx context.Context, service, network string) ([]PublishedRoom, error) {
	return s.publishedRooms(ctx, "(SELECT room FROM application_service_rooms WHERE service = $1 AND network = $2) AS directory",
		[]byte(service), []byte(network))
}

// AllPublishedRooms lists the rooms of the directory and of all networks, in the order of PublishedRooms.
func (s *Store) AllPublishedRooms(ctx context.Context) ([]PublishedRoom, error) {
	return s.publishedRooms(ctx, "(SELECT room FROM directory UNION SELECT room FROM application_service_rooms) AS directory")
}

func (s *Store) publishedRooms(ctx context.Context, from string, args ...any) ([]PublishedRoom, error) {
	return readRows(ctx, s, `SELECT room_id, rooms.position, (SELECT COALESCE(SUM(joined), 0) FROM room_servers
		WHERE room_servers.room = rooms.room) AS members FROM `+from+` JOIN rooms ON rooms.room = directory.room
		ORDER BY members DESC, room_id`, args, func(r *PublishedRoom) []any { return []any{&r.RoomID, &r.Position, &r.Joined} })
}
