package e2ee

import (
	"context"
	"encoding/json"
	"errors"

	"golang.org/x/crypto/ed25519"

	"hanse/federation"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/federation/signedjson"
	"hanse/node/store"
)

// Refusals are errors by user and by device or key.
type Refusals map[id.UserID]map[string]*federation.Error

// UploadSignatures stores signatures that a user made of the own devices and master key, and of other users' master keys.
// What is not good is told; the rest counts.
//
// spec:client-server-api#post_matrixclientv3keyssignaturesupload
func (e *E2EE) UploadSignatures(ctx context.Context, signer id.UserID, upload map[id.UserID]map[string]json.RawMessage) (Refusals, error) {
	refused := Refusals{}
	var good []store.KeySignature
	if len(upload) > maxUsers {
		return nil, federation.TooLarge("these are too many users at once")
	}
	wanted := map[id.UserID][]string{signer: nil}
	for user := range upload {
		wanted[user] = nil
	}
	known, err := e.Query(ctx, signer, wanted, 0)
	if err != nil {
		return nil, err
	}
	for user, keys := range upload {
		for name, signed := range keys {
			signatures, err := known.check(signer, user, name, signed)
			var wire *federation.Error
			if errors.As(err, &wire) {
				if refused[user] == nil {
					refused[user] = map[string]*federation.Error{}
				}
				refused[user][name] = wire
				continue
			}
			good = append(good, signatures...)
		}
	}
	if len(good) == 0 {
		return refused, nil
	}
	return refused, e.store.SaveKeySignatures(ctx, signer, good)
}

// check finds the good signatures of signer in what was uploaded for a key.
func (k *Keys) check(signer, user id.UserID, name string, signed json.RawMessage) ([]store.KeySignature, error) {
	stored := k.DeviceKeys[user][name]
	if stored == nil || user != signer { // other users' devices are signed by themselves alone
		stored = k.Master[user]
		if m, err := parseCrossSigning(user, usageMaster, stored); err != nil || m.keyID.Name() != name {
			return nil, federation.NotFound("there is no such key")
		}
	}
	want, err1 := signedjson.SignedBytes(stored)
	got, err2 := signedjson.SignedBytes(signed)
	if err1 != nil || err2 != nil || string(want) != string(got) {
		return nil, federation.InvalidParam("what was signed is not the key as it is known here")
	}
	all, err := signedjson.Signatures(signed)
	if err != nil {
		return nil, federation.BadJSON("the signatures are not of the form they must have")
	}
	var good []store.KeySignature
	for keyID, signature := range all[string(signer)] {
		public := k.public(signer, keyID)
		if public == nil || signedjson.Verify(signed, string(signer), keyID, public) != nil {
			return nil, federation.NewError(400, "M_INVALID_SIGNATURE", "a signature is not good")
		}
		good = append(good, store.KeySignature{
			User: user, Target: name, Signer: signer, KeyID: string(keyID), Signature: signedjson.EncodeBase64(signature),
		})
	}
	if len(good) == 0 {
		return nil, federation.NewError(400, "M_INVALID_SIGNATURE", "there is no signature of yours")
	}
	return good, nil
}

// public finds the key of a user that a signature names; nil if there is none.
func (k *Keys) public(user id.UserID, keyID id.KeyID) ed25519.PublicKey {
	for usage, raw := range map[string]json.RawMessage{
		usageMaster: k.Master[user], usageSelfSigning: k.SelfSigning[user], usageUserSigning: k.UserSigning[user],
	} {
		if key, err := parseCrossSigning(user, usage, raw); err == nil && key.keyID == keyID {
			return key.public
		}
	}
	var device struct {
		Keys map[id.KeyID]string `json:"keys"`
	}
	if exactjson.Unmarshal(k.DeviceKeys[user][keyID.Name()], &device) != nil {
		return nil
	}
	public, err := signedjson.DecodeBase64(device.Keys[keyID])
	if err != nil || len(public) != ed25519.PublicKeySize {
		return nil
	}
	return public
}
