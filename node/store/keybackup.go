package store

import (
	"context"
	"encoding/json"
	"fmt"

	"hanse/federation/id"
)

// KeyBackup is a version of a user's backup of room keys.
type KeyBackup struct {
	Version   int64
	Algorithm string
	AuthData  json.RawMessage
	ETag      int64 // changes with its keys
	Count     int
}

// BackedUp is the backup of one session's key.
type BackedUp struct {
	Room, Session string
	Data          json.RawMessage
}

// NewKeyBackup makes a version, which is the user's newest; [ErrFull] if there are as many as there may be. Rows of versions that were deleted only
// keep their numbers from being used again, which the newest row does: the others go.
func (s *Store) NewKeyBackup(ctx context.Context, user id.UserID, algorithm string, authData json.RawMessage) (int64, error) {
	var version int64
	err := s.commit.write(ctx, func(t *writeTx) error {
		var there int
		if _, err := t.found("SELECT COALESCE(MAX(version), 0), COALESCE(SUM(1 - deleted), 0) FROM key_backups WHERE user_id = $1", []any{string(user)},
			&version, &there); err != nil {
			return err
		}
		if there >= maxKeyBackups {
			return fmt.Errorf("backups of keys: %w", ErrFull)
		}
		if _, err := t.exec("DELETE FROM key_backups WHERE user_id = $1 AND deleted = 1", string(user)); err != nil {
			return err
		}
		version++
		_, err := t.exec(`INSERT INTO key_backups (user_id, version, algorithm, auth_data, etag, deleted) VALUES ($1, $2, $3, $4, 0, 0)`,
			string(user), version, []byte(algorithm), []byte(authData))
		return err
	})
	return version, err
}

const keyBackupQuery = "SELECT version, algorithm, auth_data, etag, key_count FROM key_backups WHERE user_id = $1 AND deleted = 0"

// KeyBackup reads a version, 0 for the newest; false when there is none.
func (s *Store) KeyBackup(ctx context.Context, user id.UserID, version int64) (KeyBackup, bool, error) {
	query, args := keyBackupQuery+" ORDER BY version DESC LIMIT 1", []any{string(user)}
	if version != 0 {
		query, args = keyBackupQuery+" AND version = $2", append(args, version)
	}
	return readRow(ctx, s, query, args, func(b *KeyBackup) []any {
		return []any{&b.Version, &b.Algorithm, &b.AuthData, &b.ETag, &b.Count}
	})
}

// UpdateKeyBackup replaces a version's auth_data; [ErrNotFound] without it.
func (s *Store) UpdateKeyBackup(ctx context.Context, user id.UserID, version int64, authData json.RawMessage) error {
	return s.change(ctx, fmt.Sprint("the backup ", version), "UPDATE key_backups SET auth_data = $1 WHERE user_id = $2 AND version = $3 AND deleted = 0",
		[]byte(authData), string(user), version)
}

// DeleteKeyBackup deletes a version with its keys; its number is not used again. One that was deleted before stays so;
// [ErrNotFound] if there has never been one.
func (s *Store) DeleteKeyBackup(ctx context.Context, user id.UserID, version int64) error {
	return s.commit.write(ctx, func(t *writeTx) error {
		var newest int64
		_, err := t.found("SELECT COALESCE(MAX(version), 0) FROM key_backups WHERE user_id = $1", []any{string(user)}, &newest)
		if err != nil {
			return err
		}
		if version < 1 || version > newest {
			return fmt.Errorf("the backup %d: %w", version, ErrNotFound)
		}
		_, err = t.exec("UPDATE key_backups SET deleted = 1, auth_data = $1, key_count = 0, weight = 0 WHERE user_id = $2 AND version = $3",
			[]byte{}, string(user), version)
		if err != nil {
			return err
		}
		_, err = t.exec("DELETE FROM key_backup_sessions WHERE user_id = $1 AND version = $2", string(user), version)
		return err
	})
}

// BackedUp reads a key of a version; false when there is none.
func (s *Store) BackedUp(ctx context.Context, user id.UserID, version int64, room, session string) (data json.RawMessage, found bool, err error) {
	which, args := backedUp(user, version, room, session)
	found, err = s.read.found(ctx, "SELECT session"+which, args, &data)
	return data, found, err
}

// EachBackedUp gives use the keys of a version in the order of their rooms, some of them in memory at a time, until it returns an error; room "" means all.
func (s *Store) EachBackedUp(ctx context.Context, user id.UserID, version int64, room string, use func(BackedUp) error) error {
	which, args := backedUp(user, version, room, "")
	n := len(args)
	query := fmt.Sprintf("SELECT room_id, session_id, session%s AND (room_id, session_id) > ($%d, $%d) ORDER BY room_id, session_id LIMIT %d", which, n+1, n+2, keyBackupPage)
	var last BackedUp
	for {
		page, err := readRows(ctx, s, query, append(args[:n:n], []byte(last.Room), []byte(last.Session)), func(b *BackedUp) []any {
			return []any{&b.Room, &b.Session, &b.Data}
		})
		if err != nil {
			return err
		}
		for _, last = range page {
			if err := use(last); err != nil {
				return err
			}
		}
		if len(page) < keyBackupPage {
			return nil
		}
	}
}

// backedUp are the keys of a version; room and session "" mean all.
func backedUp(user id.UserID, version int64, room, session string) (which string, args []any) {
	which, args = " FROM key_backup_sessions WHERE user_id = $1 AND version = $2", []any{string(user), version}
	if room != "" {
		which, args = which+" AND room_id = $3", append(args, []byte(room))
		if session != "" {
			which, args = which+" AND session_id = $4", append(args, []byte(session))
		}
	}
	return which, args
}

// BackUp stores keys in the newest version, which must be version ([ErrNotFound] otherwise). better tells whether a key is
// better than the one there is. [ErrFull] if the keys of the user's versions would be more bytes than there may be.
func (s *Store) BackUp(ctx context.Context, user id.UserID, version int64, keys []BackedUp, better func(old, fresh json.RawMessage) bool) error {
	return s.changeBackup(ctx, user, version, true, func(t *writeTx) (changed bool, more sizes, err error) {
		for _, k := range keys {
			args := []any{string(user), version, []byte(k.Room), []byte(k.Session)}
			var old []byte
			found, err := t.found(`SELECT session FROM key_backup_sessions WHERE user_id = $1 AND version = $2 AND room_id = $3
				AND session_id = $4`, args, &old)
			if err != nil {
				return false, more, err
			}
			if found && !better(old, k.Data) {
				continue
			}
			changed = true
			more.bytes += int64(len(k.Data) - len(old))
			if !found {
				more.keys++
			}
			_, err = t.exec(`INSERT INTO key_backup_sessions (user_id, version, room_id, session_id, session) VALUES ($1, $2, $3, $4, $5)
				ON CONFLICT (user_id, version, room_id, session_id) DO UPDATE SET session = excluded.session`, append(args, []byte(k.Data))...)
			if err != nil {
				return false, more, err
			}
		}
		return changed, more, nil
	})
}

// DeleteBackedUp deletes keys of a version; room and session "" mean all.
func (s *Store) DeleteBackedUp(ctx context.Context, user id.UserID, version int64, room, session string) error {
	return s.changeBackup(ctx, user, version, false, func(t *writeTx) (bool, sizes, error) {
		which, args := backedUp(user, version, room, session)
		var gone sizes
		if _, err := t.found("SELECT COUNT(*), COALESCE(SUM(LENGTH(session)), 0)"+which, args, &gone.keys, &gone.bytes); err != nil {
			return false, gone, err
		}
		n, err := t.exec("DELETE"+which, args...)
		return n > 0, sizes{-gone.keys, -gone.bytes}, err
	})
}

// sizes are by how much a backup grows.
type sizes struct{ keys, bytes int64 }

// changeBackup changes a version's keys, and its etag if they did change.
func (s *Store) changeBackup(ctx context.Context, user id.UserID, version int64, newest bool, change func(*writeTx) (bool, sizes, error)) error {
	return s.commit.write(ctx, func(t *writeTx) error {
		var last, there, weight int64
		_, err := t.found(`SELECT COALESCE(MAX(version), 0), COALESCE(SUM(CASE WHEN version = $1 THEN 1 ELSE 0 END), 0), COALESCE(SUM(weight), 0)
			FROM key_backups WHERE user_id = $2 AND deleted = 0`, []any{version, string(user)}, &last, &there, &weight)
		if err != nil {
			return err
		}
		if there == 0 || newest && last != version {
			return fmt.Errorf("the backup %d is not the newest: %w", version, ErrNotFound)
		}
		changed, more, err := change(t)
		switch {
		case err != nil || !changed:
			return err
		case more.bytes > 0 && weight+more.bytes > maxKeyBackupWeight:
			return fmt.Errorf("backups of keys: %w", ErrFull)
		}
		_, err = t.exec("UPDATE key_backups SET etag = etag + 1, key_count = key_count + $1, weight = weight + $2 WHERE user_id = $3 AND version = $4",
			more.keys, more.bytes, string(user), version)
		return err
	})
}
