package e2ee

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"hanse/federation"
	"hanse/federation/canonicaljson"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/node/store"
)

// Upload is what a device uploads.
type Upload struct {
	DeviceKeys   json.RawMessage            `json:"device_keys"`
	OneTimeKeys  map[string]json.RawMessage `json:"one_time_keys"`
	FallbackKeys map[string]json.RawMessage `json:"fallback_keys"`
}

// UploadKeys stores a device's keys and returns the numbers of its one-time keys by algorithm.
//
// spec:client-server-api#post_matrixclientv3keysupload
func (e *E2EE) UploadKeys(ctx context.Context, user id.UserID, device string, upload Upload) (map[string]int, error) {
	u := store.KeyUpload{User: user, Device: device, MaxOneTime: maxOneTimeKeys}
	var err error
	if u.OneTime, err = oneTimeKeys(upload.OneTimeKeys, false); err != nil {
		return nil, err
	}
	if u.Fallback, err = oneTimeKeys(upload.FallbackKeys, true); err != nil {
		return nil, err
	}
	if len(upload.DeviceKeys) > 0 && string(upload.DeviceKeys) != "null" {
		if u.DeviceKeys, err = deviceKeys(user, device, upload.DeviceKeys); err != nil {
			return nil, err
		}
	}
	counts, err := e.store.UploadKeys(ctx, u)
	switch {
	case errors.Is(err, store.ErrKeyExists):
		return nil, federation.InvalidParam("a one-time key of that name is there with another content")
	case errors.Is(err, store.ErrNotFound):
		return nil, federation.NotFound("the device is logged out")
	}
	if counts != nil && counts["signed_curve25519"] == 0 {
		counts["signed_curve25519"] = 0 // clients look for it
	}
	return counts, err
}

// deviceKeys checks the keys of a device and gives them without unsigned.
func deviceKeys(user id.UserID, device string, raw json.RawMessage) (json.RawMessage, error) {
	var form struct {
		UserID     id.UserID         `json:"user_id"`
		DeviceID   string            `json:"device_id"`
		Algorithms []string          `json:"algorithms"`
		Keys       map[string]string `json:"keys"`
		signed
	}
	canonical, err := canonicaljson.Append(nil, raw, canonicaljson.Strict)
	switch {
	case err != nil || exactjson.Unmarshal(canonical, &form) != nil:
		return nil, federation.BadJSON("device_keys is not of the form it must have")
	case form.UserID != user || form.DeviceID != device:
		return nil, federation.InvalidParam("device_keys is for another user or device")
	case len(canonical) > maxKeyBytes:
		return nil, federation.TooLarge("device_keys is too long")
	}
	return without(canonical, "unsigned")
}

// signed is the part of a key that signatures are in.
type signed struct {
	Signatures map[string]map[string]string `json:"signatures"`
}

// without is an object without a member.
func without(canonical json.RawMessage, member string) (json.RawMessage, error) {
	var object map[string]json.RawMessage
	if err := exactjson.Unmarshal(canonical, &object); err != nil {
		return nil, err
	}
	delete(object, member)
	return canonicaljson.Marshal(object)
}

// oneTimeKeys reads keys by "algorithm:id", and has them in the order of these: the one in which they are given out, where the specification
// leaves it open.
func oneTimeKeys(keys map[string]json.RawMessage, fallback bool) ([]store.OneTimeKey, error) {
	if len(keys) > maxOneTimeKeys {
		return nil, federation.TooLarge("these are too many one-time keys")
	}
	var all []store.OneTimeKey
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		raw := keys[name]
		algorithm, keyID, ok := strings.Cut(name, ":")
		if !ok || algorithm == "" || keyID == "" || len(name) > maxNameBytes {
			return nil, federation.InvalidParam("a one-time key's name must be algorithm:id")
		}
		if fallback && string(raw) == "null" {
			continue
		}
		canonical, err := canonicaljson.Append(nil, raw, canonicaljson.Strict)
		if err != nil || len(canonical) > maxKeyBytes {
			return nil, federation.BadJSON("a one-time key is too long or not JSON as Matrix has it")
		}
		if !isOneTimeKey(canonical) {
			return nil, federation.BadJSON("a one-time key is not of the form it must have")
		}
		all = append(all, store.OneTimeKey{Algorithm: algorithm, ID: keyID, Key: canonical})
	}
	return all, nil
}

// isOneTimeKey tells whether a value has the form of a one-time key: a text, or an object with a key that may be signed.
func isOneTimeKey(canonical json.RawMessage) bool {
	if canonicaljson.IsObject(canonical) {
		var form struct {
			Key string `json:"key"`
			signed
		}
		return exactjson.Unmarshal(canonical, &form) == nil
	}
	return canonical[0] == '"'
}

// Keys is an answer with devices' keys.
type Keys struct {
	DeviceKeys  map[id.UserID]map[string]json.RawMessage `json:"device_keys"`
	Master      map[id.UserID]json.RawMessage            `json:"master_keys"`
	SelfSigning map[id.UserID]json.RawMessage            `json:"self_signing_keys"`
	UserSigning map[id.UserID]json.RawMessage            `json:"user_signing_keys"`
	Failures    map[id.ServerName]json.RawMessage        `json:"failures"`
}

func newKeys() *Keys {
	return &Keys{
		DeviceKeys: map[id.UserID]map[string]json.RawMessage{}, Master: map[id.UserID]json.RawMessage{},
		SelfSigning: map[id.UserID]json.RawMessage{}, UserSigning: map[id.UserID]json.RawMessage{},
		Failures: map[id.ServerName]json.RawMessage{},
	}
}

// local answers for our users as asker sees them; "" for another server, whose users see what all may. A user without keys
// has an empty list, so that whoever asks can tell that from no answer.
func (e *E2EE) local(ctx context.Context, asker id.UserID, wanted map[id.UserID][]string, keys *Keys) error {
	users := make([]id.UserID, 0, len(wanted))
	for user := range wanted {
		users = append(users, user)
		keys.DeviceKeys[user] = map[string]json.RawMessage{}
	}
	devices, err := e.store.DeviceKeys(ctx, users)
	if err != nil {
		return err
	}
	signatures, err := e.signatures(ctx, asker, users)
	if err != nil {
		return err
	}
	for _, d := range devices {
		if d.Keys == nil || !wants(wanted[d.User], d.Device) {
			continue
		}
		full, err := store.AddSignatures(d.Keys, signatures[target{d.User, d.Device}])
		if err == nil {
			full, err = withName(full, d.DisplayName)
		}
		if err != nil {
			return err
		}
		keys.DeviceKeys[d.User][d.Device] = full
	}
	return e.addCrossSigning(ctx, asker, users, signatures, keys)
}

func wants(devices []string, device string) bool {
	for _, d := range devices {
		if d == device {
			return true
		}
	}
	return len(devices) == 0
}

// addCrossSigning puts users' cross-signing keys into an answer; user-signing keys are for their owner alone.
func (e *E2EE) addCrossSigning(ctx context.Context, asker id.UserID, users []id.UserID, signatures map[target][]store.KeySignature, keys *Keys) error {
	cross, err := e.crossSigning(ctx, users)
	if err != nil {
		return err
	}
	for user, byUsage := range cross {
		for usage, raw := range byUsage {
			parsed, err := parseCrossSigning(user, usage, raw)
			if err != nil {
				continue
			}
			full, err := store.AddSignatures(raw, signatures[target{user, parsed.keyID.Name()}])
			if err != nil {
				return err
			}
			switch {
			case usage == usageMaster:
				keys.Master[user] = full
			case usage == usageSelfSigning:
				keys.SelfSigning[user] = full
			case usage == usageUserSigning && user == asker:
				keys.UserSigning[user] = full
			}
		}
	}
	return nil
}

// target is a key that is signed: of a user, a device's ID or a cross-signing key.
type target struct {
	user id.UserID
	name string
}

// signatures are those of users' keys that asker may see: the owner's, and the asker's own.
func (e *E2EE) signatures(ctx context.Context, asker id.UserID, users []id.UserID) (map[target][]store.KeySignature, error) {
	all, err := e.store.KeySignatures(ctx, users)
	if err != nil {
		return nil, err
	}
	visible := map[target][]store.KeySignature{}
	for _, s := range all {
		if s.Signer == s.User || s.Signer == asker {
			visible[target{s.User, s.Target}] = append(visible[target{s.User, s.Target}], s)
		}
	}
	return visible, nil
}

// withName puts a device's name, "" for none, where clients look for it. They find unsigned there in any case, as from
// Synapse.
func withName(raw json.RawMessage, name string) (json.RawMessage, error) {
	var object map[string]json.RawMessage
	err := exactjson.Unmarshal(raw, &object)
	if err != nil {
		return nil, err
	}
	var unsigned struct {
		Name string `json:"device_display_name,omitempty"`
	}
	unsigned.Name = name
	if object["unsigned"], err = json.Marshal(unsigned); err != nil {
		return nil, err
	}
	return json.Marshal(object)
}
