package e2ee

import (
	"context"
	"encoding/json"
	"math"
	"sync"

	"hanse/federation"
	"hanse/federation/canonicaljson"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/node/store"
)

// HandleEDU takes an EDU of another server: messages to devices, changes of devices and of cross-signing keys. What a
// server says about users of another is ignored. After an error, which is our own trouble, it must be sent again.
func (e *E2EE) HandleEDU(ctx context.Context, origin id.ServerName, edu federation.EDU) error {
	return e.HandleEDUs(ctx, origin, []federation.EDU{edu})
}

// HandleEDUs takes many, in their order: messages to devices in one transaction, what is about different users at a time.
func (e *E2EE) HandleEDUs(ctx context.Context, origin id.ServerName, edus []federation.EDU) error {
	var messages []federation.EDU
	updates := map[id.UserID][]federation.EDU{}
	for _, edu := range edus {
		switch edu.Type {
		case federation.EDUDirectToDevice:
			messages = append(messages, edu)
		case federation.EDUDeviceListUpdate, federation.EDUSigningKeyUpdate:
			if user, ok := about(origin, edu.Content); ok {
				updates[user] = append(updates[user], edu)
			}
		}
	}
	if err := e.receiveToDevice(ctx, origin, messages); err != nil {
		return err
	}
	var mu sync.Mutex
	var failed error
	var group sync.WaitGroup
	for user, edus := range updates { // at most as many as a transaction has
		group.Go(func() {
			for _, edu := range edus {
				if err := e.receiveUpdate(ctx, user, edu); err != nil {
					mu.Lock()
					defer mu.Unlock()
					failed = err
					return
				}
			}
		})
	}
	group.Wait()
	return failed
}

// about is the user that an EDU is about, if its server may speak of that user. Clients don't hear of historical IDs outside of events.
//
// spec:appendices#historical-user-ids
func about(origin id.ServerName, content json.RawMessage) (id.UserID, bool) {
	var edu struct {
		UserID id.UserID `json:"user_id"`
	}
	if exactjson.Unmarshal(content, &edu) != nil {
		return "", false
	}
	user, err := id.ParseUserID(string(edu.UserID))
	return user, err == nil && user.Server() == origin && user.Compliant()
}

func (e *E2EE) receiveUpdate(ctx context.Context, user id.UserID, edu federation.EDU) error {
	if edu.Type == federation.EDUSigningKeyUpdate {
		return e.receiveSigningKeys(ctx, user, edu.Content)
	}
	return e.receiveDevice(ctx, user, edu.Content)
}

// receiveDevice takes m.device_list_update: applied if nothing between was missed, else the list is fetched again. One that
// can't be read says at least that something has changed.
//
// spec:server-server-api#device-management
func (e *E2EE) receiveDevice(ctx context.Context, user id.UserID, content json.RawMessage) error {
	update := readDeviceListUpdate(user, content)
	if update.Unreadable {
		e.note(user, math.MaxInt64)
	} else {
		e.note(user, update.Stream)
	}
	missed, err := e.store.RemoteDeviceUpdated(ctx, update)
	if missed {
		e.lookForStale()
	}
	return err
}

func readDeviceListUpdate(user id.UserID, content json.RawMessage) store.RemoteDeviceUpdate {
	var u federation.DeviceListUpdate
	if exactjson.Unmarshal(content, &u) != nil || u.DeviceID == "" || len(u.DeviceID) > maxNameBytes ||
		u.StreamID < 0 || u.StreamID > maxStream || len(u.PrevID) > maxDevices || len(u.Keys) > maxKeyBytes {
		return store.RemoteDeviceUpdate{User: user, Unreadable: true}
	}
	update := store.RemoteDeviceUpdate{User: user, Device: u.DeviceID, Stream: u.StreamID, Prev: u.PrevID}
	if !u.Deleted {
		update.Content = remoteDevice(federation.UserDevice{DeviceID: u.DeviceID, DisplayName: u.DisplayName, Keys: u.Keys})
	}
	return update
}

// remoteDevice is a device as it is stored: always the same text for the same. What isn't JSON as Matrix has it can't be
// signed, and is no key.
func remoteDevice(d federation.UserDevice) json.RawMessage {
	keys, err := canonicaljson.Append(nil, d.Keys, canonicaljson.Strict)
	if d.Keys = keys; err != nil || string(keys) == "null" {
		d.Keys = nil
	}
	content, err := json.Marshal(d)
	if err != nil {
		return json.RawMessage("{}")
	}
	return content
}

// receiveSigningKeys takes m.signing_key_update.
//
// spec:server-server-api#end-to-end-encryption
func (e *E2EE) receiveSigningKeys(ctx context.Context, user id.UserID, content json.RawMessage) error {
	var u federation.SigningKeyUpdate
	if exactjson.Unmarshal(content, &u) != nil || len(content) > maxKeyBytes {
		return nil
	}
	e.note(user, math.MaxInt64)
	missed, err := e.store.RemoteSigningKeysUpdated(ctx, user, remoteKeys(user, u.MasterKey, u.SelfSigningKey))
	if missed {
		e.lookForStale()
	}
	return err
}

// remoteKeys are the cross-signing keys that another server names, without those of a wrong form.
func remoteKeys(user id.UserID, master, selfSigning json.RawMessage) []store.CrossSigningKey {
	var all []store.CrossSigningKey
	for usage, raw := range map[string]json.RawMessage{usageMaster: master, usageSelfSigning: selfSigning} {
		canonical, err := canonicaljson.Append(nil, raw, canonicaljson.Strict)
		if err != nil {
			continue
		}
		if _, err := parseCrossSigning(user, usage, canonical); err == nil {
			all = append(all, store.CrossSigningKey{User: user, Usage: usage, Keys: canonical})
		}
	}
	return all
}
