package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"hanse/federation/id"
)

// Receipt is a user's place in a room or thread.
type Receipt struct {
	Room     id.RoomID
	Type     string // m.read, m.read.private
	User     id.UserID
	Event    id.EventID
	Thread   string // "" = unthreaded
	TS       int64  // ms, as the sender says
	Position Position
}

// SaveReceipts stores receipts, each in place of the user's earlier one of its type and thread. Whether a receipt goes
// forward is for the caller to decide. A receipt for a room that is not known fails all.
func (s *Store) SaveReceipts(ctx context.Context, receipts []Receipt) (Position, error) {
	refs := make([]*roomRef, len(receipts))
	for i, r := range receipts {
		ref, err := s.rooms.find(ctx, r.Room)
		if err != nil {
			return 0, err
		}
		if ref == nil {
			return 0, fmt.Errorf("store: a receipt for the room %s: %w", r.Room, ErrNotFound)
		}
		refs[i] = ref
	}
	var at Position
	err := s.commit.write(ctx, func(t *writeTx) error {
		for i, r := range receipts {
			at = t.next()
			err := t.insert(insertReceipt, refs[i].number, string(r.User), r.Type, []byte(r.Thread), string(r.Event), r.TS, int64(at))
			if err != nil {
				return err
			}
			t.notify(Notice{Position: at, Kind: KindReceipt, Room: r.Room, Users: []id.UserID{r.User}})
		}
		return nil
	})
	return at, err
}

func (s *Store) eachReceipt(ctx context.Context, r id.RoomID, where string, args ...any) ([]Receipt, error) {
	ref, err := s.rooms.find(ctx, r)
	if err != nil || ref == nil {
		return nil, err
	}
	all, err := readRows(ctx, s, "SELECT type, user_id, thread, event_id, ts, position FROM receipts WHERE room = $1 AND "+where,
		append([]any{ref.number}, args...), func(r *Receipt) []any {
			return []any{&r.Type, &r.User, &r.Thread, &r.Event, &r.TS, &r.Position}
		})
	for i := range all {
		all[i].Room = r
	}
	return all, err
}

// Receipts reads a room's receipts, everybody's and private ones too, that came in (after, upto], in order of position.
func (s *Store) Receipts(ctx context.Context, r id.RoomID, after, upto Position) ([]Receipt, error) {
	return s.eachReceipt(ctx, r, "position > $2 AND position <= $3 ORDER BY position", int64(after), int64(upto))
}

// UserReceipts reads one user's receipts in a room.
func (s *Store) UserReceipts(ctx context.Context, r id.RoomID, user id.UserID) ([]Receipt, error) {
	all, err := s.eachReceipt(ctx, r, "user_id = $2", string(user)) // in this order SQLite would go through all of the room's
	slices.SortFunc(all, func(a, b Receipt) int { return cmp.Compare(a.Position, b.Position) })
	return all, err
}

// OwnReceipts reads the receipts of a type that users of this server set after a position, in all rooms: the newest first, at
// most so many.
func (s *Store) OwnReceipts(ctx context.Context, typ string, after Position, most int) ([]Receipt, error) {
	// No server name has a character that LIKE reads otherwise; it may find more than the server's own, in other case.
	all, err := readRows(ctx, s, `SELECT rooms.room_id, type, user_id, thread, event_id, ts, receipts.position FROM rooms
		JOIN receipts ON receipts.room = rooms.room AND receipts.position > $1
		WHERE type = $2 AND user_id LIKE $3 ORDER BY receipts.position DESC LIMIT $4`,
		[]any{int64(after), typ, "%:" + string(s.self), most}, func(r *Receipt) []any {
			return []any{&r.Room, &r.Type, &r.User, &r.Thread, &r.Event, &r.TS, &r.Position}
		})
	return slices.DeleteFunc(all, func(r Receipt) bool { return r.User.Server() != s.self }), err
}
