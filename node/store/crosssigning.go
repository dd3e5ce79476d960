package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"

	"hanse/federation/id"
)

// CrossSigningKey is one of a user's cross-signing keys, as uploaded.
type CrossSigningKey struct {
	User  id.UserID
	Usage string // master, self_signing, user_signing
	Keys  json.RawMessage
}

// KeySignature is a signature of a device's keys (Target is its ID) or of a cross-signing key (Target is the key).
type KeySignature struct {
	User             id.UserID
	Target           string
	Signer           id.UserID
	KeyID, Signature string
}

// CrossSigningKeys reads users' cross-signing keys, ours and others' that are known.
func (s *Store) CrossSigningKeys(ctx context.Context, users []id.UserID) ([]CrossSigningKey, error) {
	var all []CrossSigningKey
	err := list("SELECT user_id, usage, keys FROM cross_signing_keys WHERE user_id IN (%s)", nil, users,
		func(query string, args []any) error {
			return s.read.each(ctx, query, args, func(rows *sql.Rows) error {
				var k CrossSigningKey
				var keys []byte
				err := rows.Scan(&k.User, &k.Usage, &keys)
				k.Keys = keys
				all = append(all, k)
				return err
			})
		})
	return all, err
}

// SaveCrossSigningKeys stores keys, each in place of the user's earlier one of its usage, and tells of the change if there
// is one.
func (s *Store) SaveCrossSigningKeys(ctx context.Context, user id.UserID, keys []CrossSigningKey, tell ...DeviceChange) error {
	return s.commit.write(ctx, func(t *writeTx) error {
		fresh, err := t.crossSigning(user, keys)
		if err != nil || !fresh {
			return err
		}
		return s.changed(t, user, tell...)
	})
}

func (t *writeTx) crossSigning(user id.UserID, keys []CrossSigningKey) (fresh bool, err error) {
	for _, k := range keys {
		var old []byte
		found, err := t.found("SELECT keys FROM cross_signing_keys WHERE user_id = $1 AND usage = $2", []any{string(user), k.Usage}, &old)
		if err != nil {
			return false, err
		}
		if found && bytes.Equal(old, k.Keys) {
			continue
		}
		fresh = true
		_, err = t.exec(`INSERT INTO cross_signing_keys (user_id, usage, keys) VALUES ($1, $2, $3)
			ON CONFLICT (user_id, usage) DO UPDATE SET keys = excluded.keys`, string(user), k.Usage, []byte(k.Keys))
		if err != nil {
			return false, err
		}
	}
	return fresh, nil
}

// KeySignatures reads the signatures that were made of users' keys.
func (s *Store) KeySignatures(ctx context.Context, users []id.UserID) ([]KeySignature, error) {
	var all []KeySignature
	err := list("SELECT user_id, target, signer, key_id, signature FROM key_signatures WHERE user_id IN (%s)", nil, users,
		func(query string, args []any) error {
			return s.read.each(ctx, query, args, func(rows *sql.Rows) error {
				var k KeySignature
				var target, key, signature []byte
				err := rows.Scan(&k.User, &target, &k.Signer, &key, &signature)
				k.Target, k.KeyID, k.Signature = string(target), string(key), string(signature)
				all = append(all, k)
				return err
			})
		})
	return all, err
}

// SaveKeySignatures stores signatures. Those of the signer's own keys are told to others; those of other users' keys are
// for the signer alone.
func (s *Store) SaveKeySignatures(ctx context.Context, signer id.UserID, signatures []KeySignature, tell ...DeviceChange) error {
	return s.commit.write(ctx, func(t *writeTx) error {
		for _, k := range signatures {
			_, err := t.exec(`INSERT INTO key_signatures (user_id, target, signer, key_id, signature) VALUES ($1, $2, $3, $4, $5)
				ON CONFLICT (user_id, target, signer, key_id) DO UPDATE SET signature = excluded.signature`,
				string(k.User), []byte(k.Target), string(signer), []byte(k.KeyID), []byte(k.Signature))
			if err != nil {
				return err
			}
		}
		return s.changed(t, signer, tell...)
	})
}
