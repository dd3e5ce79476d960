package e2ee

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"golang.org/x/crypto/ed25519"

	"hanse/federation"
	"hanse/federation/canonicaljson"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/federation/signedjson"
	"hanse/node/store"
)

// The usages of cross-signing keys.
const (
	usageMaster      = "master"
	usageSelfSigning = "self_signing"
	usageUserSigning = "user_signing"
)

// crossSigningKey is the form of a cross-signing key.
type crossSigningKey struct {
	UserID     id.UserID                      `json:"user_id"`
	Usage      []string                       `json:"usage"`
	Keys       map[id.KeyID]string            `json:"keys"`
	Signatures map[string]map[id.KeyID]string `json:"signatures"`

	keyID  id.KeyID
	public ed25519.PublicKey
}

// parseCrossSigning reads a key and checks its form.
func parseCrossSigning(user id.UserID, usage string, raw json.RawMessage) (*crossSigningKey, error) {
	var k crossSigningKey
	if len(raw) > maxKeyBytes || exactjson.Unmarshal(raw, &k) != nil || k.UserID != user || !slices.Contains(k.Usage, usage) || len(k.Keys) != 1 {
		return nil, federation.InvalidParam("the " + usage + " key is not a cross-signing key of " + string(user))
	}
	for keyID, text := range k.Keys {
		public, err := signedjson.DecodeBase64(text)
		if err != nil || len(public) != ed25519.PublicKeySize || keyID.Algorithm() != "ed25519" || keyID.Name() != text {
			return nil, federation.InvalidParam("the " + usage + " key must be one ed25519 key, under its own name")
		}
		k.keyID, k.public = keyID, public
	}
	return &k, nil
}

// SigningKeys are the cross-signing keys of an upload; nil where there is none.
type SigningKeys struct {
	Master      json.RawMessage `json:"master_key"`
	SelfSigning json.RawMessage `json:"self_signing_key"`
	UserSigning json.RawMessage `json:"user_signing_key"`
}

func (s SigningKeys) byUsage() map[string]json.RawMessage {
	all := map[string]json.RawMessage{usageMaster: s.Master, usageSelfSigning: s.SelfSigning, usageUserSigning: s.UserSigning}
	for usage, raw := range all {
		if len(raw) == 0 || string(raw) == "null" {
			delete(all, usage)
		}
	}
	return all
}

// Replaces tells whether an upload would replace keys the user has, for which the user must prove to be it: the first
// upload, and the same again, needn't be authenticated.
//
// spec:client-server-api#post_matrixclientv3keysdevice_signingupload
func (e *E2EE) Replaces(ctx context.Context, user id.UserID, upload SigningKeys) (bool, error) {
	have, err := e.store.CrossSigningKeys(ctx, []id.UserID{user})
	if err != nil || !slices.ContainsFunc(have, func(k store.CrossSigningKey) bool { return k.Usage == usageMaster }) {
		return false, err
	}
	for usage, raw := range upload.byUsage() {
		fresh, err := canonicaljson.Append(nil, raw, canonicaljson.Strict)
		if err != nil || !slices.ContainsFunc(have, func(k store.CrossSigningKey) bool { return k.Usage == usage && string(k.Keys) == string(fresh) }) {
			return true, nil
		}
	}
	return false, nil
}

// UploadSigningKeys stores a user's cross-signing keys and tells other servers.
//
// spec:client-server-api#post_matrixclientv3keysdevice_signingupload
func (e *E2EE) UploadSigningKeys(ctx context.Context, user id.UserID, upload SigningKeys) error {
	have, err := e.crossSigning(ctx, []id.UserID{user})
	if err != nil {
		return err
	}
	master := have[user][usageMaster]
	var keys []store.CrossSigningKey
	all := upload.byUsage()
	for _, usage := range []string{usageMaster, usageSelfSigning, usageUserSigning} {
		raw, there := all[usage]
		if !there {
			continue
		}
		canonical, err := canonicaljson.Append(nil, raw, canonicaljson.Strict)
		if err != nil {
			return federation.BadJSON("the " + usage + " key is not JSON as Matrix has it")
		}
		parsed, err := parseCrossSigning(user, usage, canonical)
		if err != nil {
			return err
		}
		switch {
		case usage == usageMaster:
			master = canonical
		case master == nil:
			return federation.MissingParam("there is no master key")
		default:
			m, err := parseCrossSigning(user, usageMaster, master)
			if err != nil {
				return err
			}
			if signedjson.Verify(canonical, string(user), m.keyID, m.public) != nil {
				return federation.NewError(400, "M_INVALID_SIGNATURE", "the "+usage+" key ("+string(parsed.keyID)+") is not signed by the master key")
			}
		}
		keys = append(keys, store.CrossSigningKey{User: user, Usage: usage, Keys: canonical})
	}
	if len(keys) == 0 {
		return nil
	}
	err = e.store.SaveCrossSigningKeys(ctx, user, keys)
	if errors.Is(err, store.ErrExists) {
		return federation.Forbidden("one of the keys is the ID of a device of yours")
	}
	return err
}

// crossSigning reads cross-signing keys by user and usage.
func (e *E2EE) crossSigning(ctx context.Context, users []id.UserID) (map[id.UserID]map[string]json.RawMessage, error) {
	all, err := e.store.CrossSigningKeys(ctx, users)
	if err != nil {
		return nil, err
	}
	keys := map[id.UserID]map[string]json.RawMessage{}
	for _, k := range all {
		if keys[k.User] == nil {
			keys[k.User] = map[string]json.RawMessage{}
		}
		keys[k.User][k.Usage] = k.Keys
	}
	return keys, nil
}
