package e2ee

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"

	"hanse/federation"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/node/store"
)

// Backup is a version of a user's backup of room keys, and BackedUp a key in it.
type (
	Backup   = store.KeyBackup
	BackedUp = store.BackedUp
)

// NewBackup makes a version, which is the user's newest.
func (e *E2EE) NewBackup(ctx context.Context, user id.UserID, algorithm string, auth json.RawMessage) (string, error) {
	switch {
	case algorithm == "" || !given(auth):
		return "", federation.MissingParam("algorithm and auth_data are needed")
	case len(algorithm) > maxNameBytes || len(auth) > maxKeyBytes:
		return "", federation.TooLarge("algorithm or auth_data is too long")
	}
	version, err := e.store.NewKeyBackup(ctx, user, algorithm, auth)
	return strconv.FormatInt(version, 10), backupError(err)
}

// Backup reads a version, "" for the newest; M_NOT_FOUND without it.
func (e *E2EE) Backup(ctx context.Context, user id.UserID, version string) (Backup, error) {
	number, err := backupNumber(version)
	if err != nil {
		return Backup{}, err
	}
	b, found, err := e.store.KeyBackup(ctx, user, number)
	if err == nil && !found {
		err = federation.NotFound("there is no such key backup")
	}
	return b, err
}

func backupNumber(version string) (int64, error) {
	if version == "" {
		return 0, nil
	}
	number, err := strconv.ParseInt(version, 10, 64)
	if err != nil || number <= 0 {
		return 0, federation.NotFound("there is no such key backup")
	}
	return number, nil
}

// UpdateBackup replaces a version's auth_data; its algorithm can't be changed.
func (e *E2EE) UpdateBackup(ctx context.Context, user id.UserID, version, algorithm string, auth json.RawMessage) error {
	b, err := e.Backup(ctx, user, version)
	switch {
	case err != nil:
		return err
	case b.Algorithm != algorithm:
		return federation.InvalidParam("the algorithm of a backup can't be changed")
	case !given(auth) || len(auth) > maxKeyBytes:
		return federation.InvalidParam("auth_data is missing or too long")
	}
	return backupError(e.store.UpdateKeyBackup(ctx, user, b.Version, auth))
}

// given tells whether there is auth_data or session_data. What it is lies between the user's clients: the specification has
// an object, but Synapse keeps whatever they send.
func given(data json.RawMessage) bool { return len(data) > 0 && string(data) != "null" }

// backupError is an error of the store as clients get it.
func backupError(err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return federation.NotFound("there is no such key backup")
	case errors.Is(err, store.ErrFull):
		return federation.TooLarge("your key backups are as large as they may be; delete those that you don't use")
	}
	return err
}

// DeleteBackup deletes a version with its keys. To delete one again does no harm.
//
// spec:client-server-api#delete_matrixclientv3room_keysversionversion
func (e *E2EE) DeleteBackup(ctx context.Context, user id.UserID, version string) error {
	number, err := backupNumber(version)
	if err != nil {
		return err
	}
	return backupError(e.store.DeleteKeyBackup(ctx, user, number))
}

// BackedUp reads a key of a version; M_NOT_FOUND if it isn't there.
func (e *E2EE) BackedUp(ctx context.Context, user id.UserID, version, room, session string) (json.RawMessage, error) {
	b, err := e.Backup(ctx, user, version)
	if err != nil {
		return nil, err
	}
	data, found, err := e.store.BackedUp(ctx, user, b.Version, room, session)
	if err == nil && !found {
		err = federation.NotFound("there is no backup of this key")
	}
	return data, err
}

// EachBackedUp gives use the keys of a backup, of one room unless that is "", in the order of their rooms: some of them in memory at a time, until it
// returns an error.
func (e *E2EE) EachBackedUp(ctx context.Context, user id.UserID, b Backup, room string, use func(BackedUp) error) error {
	return e.store.EachBackedUp(ctx, user, b.Version, room, use)
}

// BackUp stores keys in the newest version and returns it; M_WRONG_ROOM_KEYS_VERSION for an older one, M_NOT_FOUND for one that isn't there.
func (e *E2EE) BackUp(ctx context.Context, user id.UserID, version string, keys []BackedUp) (Backup, error) {
	number, err := backupNumber(version)
	if err != nil {
		return Backup{}, err
	}
	newest, err := e.Backup(ctx, user, "")
	if err != nil {
		return Backup{}, err
	}
	if newest.Version != number {
		if _, err := e.Backup(ctx, user, version); err != nil {
			return Backup{}, err
		}
		refused := federation.NewError(403, "M_WRONG_ROOM_KEYS_VERSION", "this is not the newest backup")
		refused.CurrentVersion = strconv.FormatInt(newest.Version, 10)
		return Backup{}, refused
	}
	for _, k := range keys {
		if len(k.Data) > maxKeyBytes || len(k.Room) > maxNameBytes || len(k.Session) > maxNameBytes {
			return Backup{}, federation.InvalidParam("a key's backup is too long")
		}
		if !whole(k.Data) {
			return Backup{}, federation.BadJSON("the backup of a key has first_message_index, forwarded_count, is_verified and session_data")
		}
	}
	if err := backupError(e.store.BackUp(ctx, user, number, keys, better)); err != nil {
		return Backup{}, err
	}
	return e.Backup(ctx, user, version)
}

// DeleteBackedUp deletes keys of a version and returns it; room and session "" mean all.
func (e *E2EE) DeleteBackedUp(ctx context.Context, user id.UserID, version, room, session string) (Backup, error) {
	b, err := e.Backup(ctx, user, version)
	if err != nil {
		return b, err
	}
	if err := backupError(e.store.DeleteBackedUp(ctx, user, b.Version, room, session)); err != nil {
		return b, err
	}
	return e.Backup(ctx, user, version)
}

// whole tells whether the backup of a key has all it needs.
//
// spec:client-server-api#put_matrixclientv3room_keyskeysroomidsessionid
func whole(data json.RawMessage) bool {
	var session struct {
		First     *int64          `json:"first_message_index"`
		Forwarded *int64          `json:"forwarded_count"`
		Verified  *bool           `json:"is_verified"`
		Data      json.RawMessage `json:"session_data"`
	}
	return exactjson.Unmarshal(data, &session) == nil && session.First != nil && session.Forwarded != nil && session.Verified != nil &&
		given(session.Data)
}

// better tells whether a key replaces the one there is: verified, then the one that decrypts more, then the one that was
// forwarded less.
//
// spec:client-server-api/modules/end_to_end_encryption#backup-algorithm-mmegolm_backupv1curve25519-aes-sha2
func better(old, fresh json.RawMessage) bool {
	type session struct {
		First     int64 `json:"first_message_index"`
		Forwarded int64 `json:"forwarded_count"`
		Verified  bool  `json:"is_verified"`
	}
	var a, b session
	if exactjson.Unmarshal(old, &a) != nil {
		return true
	}
	switch {
	case exactjson.Unmarshal(fresh, &b) != nil:
		return false
	case a.Verified != b.Verified:
		return b.Verified
	case a.First != b.First:
		return b.First < a.First
	}
	return b.Forwarded < a.Forwarded
}
