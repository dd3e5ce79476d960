package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"

	"hanse/federation/exactjson"
	"hanse/federation/id"
)

// CrossSigningKey is one of a user's cross-signing keys, as uploaded.
type CrossSigningKey struct {
	User  id.UserID
	Usage string // master, self_signing, user_signing
	Keys  json.RawMessage
}

// publicKey is the name of a cross-signing key, by which signatures of it are found: the key itself. "" if it has none.
func publicKey(keys json.RawMessage) string {
	var form struct {
		Keys map[string]json.RawMessage `json:"keys"`
	}
	if exactjson.Unmarshal(keys, &form) != nil {
		return ""
	}
	for keyID := range form.Keys { // there is one
		_, name, _ := strings.Cut(keyID, ":")
		return name
	}
	return ""
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
	return readList(ctx, s, "SELECT user_id, usage, keys FROM cross_signing_keys WHERE user_id IN (%s)", nil, users,
		func(k *CrossSigningKey) []any { return []any{&k.User, &k.Usage, &k.Keys} })
}

// SaveCrossSigningKeys stores keys of a user of ours, each in place of the earlier one of its usage, whose signatures of the
// user's other keys go with it. Other servers are told; of another user-signing key, which nobody else gets, only the user's
// own clients are. [ErrExists] if a device of the user has the name of one.
func (s *Store) SaveCrossSigningKeys(ctx context.Context, user id.UserID, keys []CrossSigningKey) error {
	servers, err := s.ServersSharing(ctx, user)
	if err != nil {
		return err
	}
	return s.commit.write(ctx, func(t *writeTx) error {
		u := deviceUpdate{servers: servers}
		for _, k := range keys {
			var one int64
			switch clash, err := t.found("SELECT 1 FROM devices WHERE user_id = $1 AND device_id = $2", []any{string(user), []byte(publicKey(k.Keys))}, &one); {
			case err != nil:
				return err
			case clash:
				return fmt.Errorf("a device of %s with the name of the %s key: %w", user, k.Usage, ErrExists)
			}
			fresh, err := t.crossSigningKey(user, k)
			if err != nil {
				return err
			}
			if fresh && k.Usage == "user_signing" {
				err = t.ownKeysChanged(user)
			} else if fresh {
				u.visible, u.crossSigning = true, true
			}
			if err != nil {
				return err
			}
		}
		if !u.visible {
			return nil
		}
		return s.changed(t, user, u)
	})
}

// crossSigningKey stores one; fresh is false if it was there.
func (t *writeTx) crossSigningKey(user id.UserID, k CrossSigningKey) (fresh bool, err error) {
	var old []byte
	found, err := t.found("SELECT keys FROM cross_signing_keys WHERE user_id = $1 AND usage = $2", []any{string(user), k.Usage}, &old)
	if err != nil || found && bytes.Equal(old, k.Keys) {
		return false, err
	}
	if name := publicKey(old); found && name != publicKey(k.Keys) {
		_, err := t.exec("DELETE FROM key_signatures WHERE user_id = $1 AND signer = $1 AND key_id = $2", string(user), []byte("ed25519:"+name))
		if err != nil {
			return false, err
		}
	}
	_, err = t.exec(`INSERT INTO cross_signing_keys (user_id, usage, keys) VALUES ($1, $2, $3)
		ON CONFLICT (user_id, usage) DO UPDATE SET keys = excluded.keys`, string(user), k.Usage, []byte(k.Keys))
	return true, err
}

const signatureColumns = "user_id, target, signer, key_id, signature"

func (k *KeySignature) columns() []any {
	return []any{&k.User, &k.Target, &k.Signer, &k.KeyID, &k.Signature}
}

// KeySignatures reads the signatures that were made of users' keys.
func (s *Store) KeySignatures(ctx context.Context, users []id.UserID) ([]KeySignature, error) {
	return readList(ctx, s, "SELECT "+signatureColumns+" FROM key_signatures WHERE user_id IN (%s)", nil, users, (*KeySignature).columns)
}

// withOwnSignatures adds to a key what its owner signed of it.
func (t *writeTx) withOwnSignatures(user id.UserID, target string, keys []byte) (json.RawMessage, error) {
	var all []KeySignature
	err := t.each("SELECT "+signatureColumns+" FROM key_signatures WHERE user_id = $1 AND target = $2 AND signer = $1",
		[]any{string(user), []byte(target)}, func(rows *sql.Rows) error {
			var k KeySignature
			err := rows.Scan(k.columns()...)
			all = append(all, k)
			return err
		})
	if err != nil {
		return nil, err
	}
	return AddSignatures(keys, all)
}

// AddSignatures puts signatures into a signed object.
func AddSignatures(object json.RawMessage, signatures []KeySignature) (json.RawMessage, error) {
	if len(signatures) == 0 {
		return object, nil
	}
	var members map[string]json.RawMessage
	if err := exactjson.Unmarshal(object, &members); err != nil {
		return nil, err
	}
	all := map[id.UserID]map[string]json.RawMessage{}
	if old, ok := members["signatures"]; ok {
		if exactjson.Unmarshal(old, &all) != nil || all == nil {
			all = map[id.UserID]map[string]json.RawMessage{}
		}
	}
	for _, s := range signatures {
		if all[s.Signer] == nil {
			all[s.Signer] = map[string]json.RawMessage{}
		}
		text, err := json.Marshal(s.Signature)
		if err != nil {
			return nil, err
		}
		all[s.Signer][s.KeyID] = text
	}
	var err error
	if members["signatures"], err = json.Marshal(all); err != nil {
		return nil, err
	}
	return json.Marshal(members)
}

// SaveKeySignatures stores signatures. Those of the signer's own keys are told to others; those of other users' keys are
// for the signer's devices alone.
func (s *Store) SaveKeySignatures(ctx context.Context, signer id.UserID, signatures []KeySignature) error {
	servers, err := s.ServersSharing(ctx, signer)
	if err != nil {
		return err
	}
	return s.commit.write(ctx, func(t *writeTx) error {
		u := deviceUpdate{servers: servers}
		told := map[string]bool{}
		for _, k := range signatures {
			at := t.next()
			_, err := t.exec(`INSERT INTO key_signatures (user_id, target, signer, key_id, signature, position)
				VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (user_id, target, signer, key_id)
				DO UPDATE SET signature = excluded.signature, position = excluded.position`,
				string(k.User), []byte(k.Target), string(signer), []byte(k.KeyID), []byte(k.Signature), int64(at))
			if err != nil {
				return err
			}
			if k.User != signer {
				t.notify(Notice{Position: at, Kind: KindDevices, Users: []id.UserID{signer}})
				continue
			}
			u.visible = true
			known, err := t.hasKeys(signer, k.Target)
			switch {
			case err != nil:
				return err
			case !known:
				u.crossSigning = true
			case !told[k.Target]:
				told[k.Target], u.devices = true, append(u.devices, k.Target)
			}
		}
		if !u.visible {
			return nil
		}
		return s.changed(t, signer, u)
	})
}
