package federation

import (
	"encoding/json"

	"hanse/federation/id"
)

// DeviceListUpdate is the content of m.device_list_update: one device of a user was added, changed or deleted.
//
// spec:server-server-api#device-management
type DeviceListUpdate struct {
	UserID      id.UserID       `json:"user_id"`
	DeviceID    string          `json:"device_id"`
	DisplayName string          `json:"device_display_name,omitempty"`
	StreamID    int64           `json:"stream_id"`
	PrevID      []int64         `json:"prev_id"`
	Deleted     bool            `json:"deleted,omitempty"`
	Keys        json.RawMessage `json:"keys,omitempty"`
}

// SigningKeyUpdate is the content of m.signing_key_update.
//
// spec:server-server-api#end-to-end-encryption
type SigningKeyUpdate struct {
	UserID         id.UserID       `json:"user_id"`
	MasterKey      json.RawMessage `json:"master_key,omitempty"`
	SelfSigningKey json.RawMessage `json:"self_signing_key,omitempty"`
}

// DirectToDevice is the content of m.direct_to_device: messages by user and device, "*" for all devices.
//
// spec:server-server-api#send-to-device-messaging
type DirectToDevice struct {
	Sender    id.UserID                                `json:"sender"`
	Type      string                                   `json:"type"`
	MessageID string                                   `json:"message_id"`
	Messages  map[id.UserID]map[string]json.RawMessage `json:"messages"`
}

// UserDevices is the answer of GET /user/devices.
//
// spec:server-server-api#get_matrixfederationv1userdevicesuserid
type UserDevices struct {
	UserID         id.UserID       `json:"user_id"`
	StreamID       int64           `json:"stream_id"`
	Devices        []UserDevice    `json:"devices"`
	MasterKey      json.RawMessage `json:"master_key,omitempty"`
	SelfSigningKey json.RawMessage `json:"self_signing_key,omitempty"`
}

// UserDevice is a device in UserDevices.
type UserDevice struct {
	DeviceID    string          `json:"device_id"`
	DisplayName string          `json:"device_display_name,omitempty"`
	Keys        json.RawMessage `json:"keys,omitempty"`
}

// DeviceKeysQuery asks for devices' keys by user; an empty list means all devices.
//
// spec:server-server-api#post_matrixfederationv1userkeysquery
type DeviceKeysQuery struct {
	DeviceKeys map[id.UserID][]string `json:"device_keys"`
}

// DeviceKeysAnswer is its answer.
type DeviceKeysAnswer struct {
	DeviceKeys      map[id.UserID]map[string]json.RawMessage `json:"device_keys"`
	MasterKeys      map[id.UserID]json.RawMessage            `json:"master_keys,omitempty"`
	SelfSigningKeys map[id.UserID]json.RawMessage            `json:"self_signing_keys,omitempty"`
}

// OneTimeKeysClaim asks for one-time keys: the algorithm wanted, by user and device.
//
// spec:server-server-api#post_matrixfederationv1userkeysclaim
type OneTimeKeysClaim struct {
	OneTimeKeys map[id.UserID]map[string]string `json:"one_time_keys"`
}

// OneTimeKeysAnswer is its answer: by user, device and the key's name.
type OneTimeKeysAnswer struct {
	OneTimeKeys map[id.UserID]map[string]map[string]json.RawMessage `json:"one_time_keys"`
}
