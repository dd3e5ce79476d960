package e2ee

import (
	"encoding/json"
	"testing"

	"hanse/federation"
	"hanse/federation/canonicaljson"
	"hanse/federation/id"
)

const (
	fuzzSelf   = id.ServerName("example.org")
	fuzzOrigin = id.ServerName("far.test")
	fuzzUser   = id.UserID("@zoe:far.test")
)

// FuzzDirectToDevice reads messages to devices of another server: only its users send, only ours get, only objects.
func FuzzDirectToDevice(f *testing.F) {
	f.Add([]byte(`{"sender":"@zoe:far.test","type":"m.room_key","message_id":"a","messages":{"@alice:example.org":{"*":{"n":1}}}}`))
	f.Add([]byte(`{"sender":"@zoe:evil.test","type":"","message_id":"a","messages":{"@alice:example.org":{"":null}}}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		e := &E2EE{config: Config{Self: fuzzSelf}}
		request, ok := e.readDirectToDevice(fuzzOrigin, content)
		if ok != (len(request.Messages) > 0) {
			t.Errorf("%v, %d messages", ok, len(request.Messages))
		}
		for _, m := range request.Messages {
			var message struct {
				Sender  id.UserID       `json:"sender"`
				Type    string          `json:"type"`
				Content json.RawMessage `json:"content"`
			}
			err := json.Unmarshal(m.Message, &message)
			if err != nil || m.User.Server() != fuzzSelf || message.Sender.Server() != fuzzOrigin || message.Type == "" || !isObject(message.Content) {
				t.Errorf("%s gets %s (%v)", m.User, m.Message, err)
			}
		}
	})
}

// FuzzDeviceListUpdate reads changes of devices, and whose they are.
func FuzzDeviceListUpdate(f *testing.F) {
	f.Add([]byte(`{"user_id":"@zoe:far.test","device_id":"A","stream_id":6,"prev_id":[5],"keys":{"user_id":"@zoe:far.test","device_id":"A"}}`))
	f.Add([]byte(`{"user_id":"@zoe:far.test","device_id":"A","stream_id":1e400,"deleted":true}`))
	f.Add([]byte(`{"user_id":"@zoe:far.test","device_id":"A","stream_id":-1,"prev_id":null,"keys":[1.5]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		user, ok := about(fuzzOrigin, content)
		if ok && user.Server() != fuzzOrigin {
			t.Errorf("%s is not of %s", user, fuzzOrigin)
		}
		u := readDeviceListUpdate(fuzzUser, content)
		if u.Unreadable {
			return
		}
		if u.User != fuzzUser || u.Device == "" || u.Stream < 0 || u.Stream > maxStream {
			t.Errorf("%+v", u)
		}
		checkStored(t, u.Content)
	})
}

// checkStored looks whether a device can be stored and compared: what is read again is the same.
func checkStored(t *testing.T, content json.RawMessage) {
	t.Helper()
	if content == nil {
		return
	}
	var d federation.UserDevice
	if err := json.Unmarshal(content, &d); err != nil || len(content) > 2*maxKeyBytes {
		t.Fatalf("%d bytes: %v", len(content), err)
	}
	if d.Keys != nil {
		if canonical, err := canonicaljson.Append(nil, d.Keys, canonicaljson.Strict); err != nil || string(canonical) == "null" {
			t.Errorf("keys that can't be signed are kept: %s", d.Keys)
		}
	}
	if again := remoteDevice(d); string(again) != string(content) {
		t.Errorf("%s becomes %s", content, again)
	}
}

// FuzzKeysAnswer reads what another server answers about keys.
func FuzzKeysAnswer(f *testing.F) {
	f.Add([]byte(`{"device_keys":{"@zoe:far.test":{"A":{"user_id":"@zoe:far.test","device_id":"A"},"B":{"user_id":"@zoe:far.test","device_id":"A"}}},
		"master_keys":{"@zoe:far.test":{"user_id":"@zoe:far.test","usage":["master"],"keys":{"ed25519:x":"x"}}}}`))
	f.Add([]byte(`{"user_id":"@zoe:far.test","stream_id":3,"devices":[{"device_id":"A","keys":{"a":1}}],"self_signing_key":{}}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		var got federation.DeviceKeysAnswer
		if json.Unmarshal(content, &got) == nil {
			answer := federation.DeviceKeysAnswer{
				DeviceKeys: map[id.UserID]map[string]json.RawMessage{}, MasterKeys: map[id.UserID]json.RawMessage{}, SelfSigningKeys: map[id.UserID]json.RawMessage{},
			}
			take(answer, got, federation.DeviceKeysQuery{DeviceKeys: map[id.UserID][]string{fuzzUser: {}}})
			keys := newKeys()
			keys.add(map[id.UserID][]string{fuzzUser: nil}, answer)
			for user, devices := range keys.DeviceKeys {
				for device, raw := range devices {
					if user != fuzzUser || !namesNoOther(raw, user, device) {
						t.Errorf("%s %s: %s", user, device, raw)
					}
				}
			}
			for user, raw := range keys.Master {
				if _, err := parseCrossSigning(user, usageMaster, raw); err != nil || user != fuzzUser {
					t.Errorf("%s: %s", user, raw)
				}
			}
		}
		var list federation.UserDevices
		if json.Unmarshal(content, &list) == nil {
			for _, d := range list.Devices {
				checkStored(t, remoteDevice(d))
			}
		}
	})
}
