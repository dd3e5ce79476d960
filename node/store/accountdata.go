package store

import (
	"context"
	"encoding/json"
	"fmt"

	"hanse/federation/canonicaljson"
	"hanse/federation/id"
)

// AccountData is one entry of a user's account data; tags and fully-read markers are entries of a room's.
type AccountData struct {
	Room     id.RoomID // "" = global
	Type     string
	Content  json.RawMessage // {} once deleted, so that /sync tells of it
	Position Position
}

// AccountData reads one entry; false when there is none, or it was deleted.
func (s *Store) AccountData(ctx context.Context, user id.UserID, r id.RoomID, typ string) (AccountData, bool, error) {
	entry := AccountData{Room: r, Type: typ}
	found, err := s.read.found(ctx, `SELECT content, position FROM account_data
		WHERE user_id = $1 AND room_id = $2 AND type = $3 AND deleted = 0`,
		[]any{string(user), string(r), []byte(typ)}, &entry.Content, &entry.Position)
	return entry, found, err
}

// BlocksInvites tells whether a user takes no invites, and since when that is what they say. Values that aren't known block none.
//
// spec:client-server-api#minvite_permission_config
func (s *Store) BlocksInvites(ctx context.Context, user id.UserID) (blocks bool, at Position, err error) {
	data, _, err := s.AccountData(ctx, user, "", "m.invite_permission_config")
	if err != nil {
		return false, 0, err
	}
	action, _ := canonicaljson.Get(data.Content, "default_action")
	text, _ := canonicaljson.String(action)
	return text == "block", data.Position, nil
}

// AccountDataChanges reads a user's entries, global and of all rooms, that were last changed in (after, upto], in order
// of position. Deleted ones are among them, unless after is 0 (all there is).
func (s *Store) AccountDataChanges(ctx context.Context, user id.UserID, after, upto Position) ([]AccountData, error) {
	query := `SELECT room_id, type, content, position FROM account_data
		WHERE user_id = $1 AND position > $2 AND position <= $3`
	if after <= 0 {
		query += " AND deleted = 0"
	}
	return readRows(ctx, s, query+" ORDER BY position", []any{string(user), int64(after), int64(upto)}, func(d *AccountData) []any {
		return []any{&d.Room, &d.Type, &d.Content, &d.Position}
	})
}

// SetAccountData sets an entry; r "" for a global one.
func (s *Store) SetAccountData(ctx context.Context, user id.UserID, r id.RoomID, typ string, content json.RawMessage) (Position, error) {
	return s.UpdateAccountData(ctx, user, r, typ, func(json.RawMessage) (json.RawMessage, error) { return content, nil })
}

// KeepAccountData is SetAccountData for what the server itself keeps there: there is always room for it.
func (s *Store) KeepAccountData(ctx context.Context, user id.UserID, r id.RoomID, typ string, content json.RawMessage) (Position, error) {
	return s.updateAccountData(ctx, user, r, typ, false, func(json.RawMessage) (json.RawMessage, error) { return content, nil })
}

// UpdateAccountData reads, changes and writes an entry in one transaction: concurrent changes of a tag list don't undo
// one another. old is nil when there is none; nil as new content deletes; an error from change ends it and is returned.
// change may be called more than once and runs in the writer's goroutine: it only computes. [ErrFull] if the user has as much as there may be.
func (s *Store) UpdateAccountData(ctx context.Context, user id.UserID, r id.RoomID, typ string, change func(old json.RawMessage) (json.RawMessage, error)) (Position, error) {
	return s.updateAccountData(ctx, user, r, typ, true, change)
}

func (s *Store) updateAccountData(ctx context.Context, user id.UserID, r id.RoomID, typ string, bounded bool,
	change func(old json.RawMessage) (json.RawMessage, error)) (Position, error) {
	var at Position
	err := s.commit.write(ctx, func(t *writeTx) error {
		var old []byte
		var gone bool
		there, err := t.found("SELECT content, deleted FROM account_data WHERE user_id = $1 AND room_id = $2 AND type = $3",
			[]any{string(user), string(r), []byte(typ)}, &old, &gone)
		if err != nil {
			return err
		}
		if gone {
			old = nil
		}
		content, err := change(old)
		if err == nil {
			err = s.keep(t, user, there, len(content)-len(old), len(content), bounded)
		}
		if err != nil {
			return err
		}
		deleted := content == nil
		if deleted {
			content = json.RawMessage("{}")
		}
		at = t.next()
		t.notify(Notice{Position: at, Kind: KindAccountData, Room: r, Users: []id.UserID{user}})
		_, err = t.exec(`INSERT INTO account_data (user_id, room_id, type, content, deleted, position)
			VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (user_id, room_id, type) DO UPDATE SET
			content = excluded.content, deleted = excluded.deleted, position = excluded.position`,
			string(user), string(r), []byte(typ), []byte(content), flag(deleted), int64(at))
		return err
	})
	return at, err
}

// kept is how many entries of account data a user has, those too that were deleted, and how many bytes these are.
type kept struct{ entries, weight int64 }

// keep counts an entry of so many bytes, which are more by some than those of the one that it replaces; [ErrFull] if that is too much.
func (s *Store) keep(t *writeTx, user id.UserID, replaces bool, more, size int, bounded bool) error {
	has, known := s.kept.users[user]
	if !known {
		if _, err := t.found("SELECT COUNT(*), COALESCE(SUM(LENGTH(content)), 0) FROM account_data WHERE user_id = $1", []any{string(user)},
			&has.entries, &has.weight); err != nil {
			return err
		}
		s.kept.users[user] = has // nothing of it is of this transaction
	}
	if bounded && (!replaces && has.entries >= maxAccountData || more > 0 && size > smallAccountData && has.weight+int64(more) > maxAccountDataWeight) {
		return fmt.Errorf("account data: %w", ErrFull)
	}
	has.weight += int64(more)
	if !replaces {
		has.entries++
	}
	s.kept.change(t)
	s.kept.users[user] = has
	return nil
}
