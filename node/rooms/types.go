package rooms

import (
	"encoding/json"

	"hanse/federation/canonicaljson"
	"hanse/federation/exactjson"
)

// The event types and memberships that this package makes or reads.
const (
	typeCreate            = "m.room.create"
	typeMember            = "m.room.member"
	typePowerLevels       = "m.room.power_levels"
	typeJoinRules         = "m.room.join_rules"
	typeHistoryVisibility = "m.room.history_visibility"
	typeGuestAccess       = "m.room.guest_access"
	typeCanonicalAlias    = "m.room.canonical_alias"
	typeName              = "m.room.name"
	typeTopic             = "m.room.topic"
	typeAvatar            = "m.room.avatar"
	typeEncryption        = "m.room.encryption"
	typeTombstone         = "m.room.tombstone"
	typeServerACL         = "m.room.server_acl"
	typeRedaction         = "m.room.redaction"

	join   = "join"
	invite = "invite"
	knock  = "knock"
	leave  = "leave"
	ban    = "ban"

	authorisedVia = "join_authorised_via_users_server"
)

// object is a JSON object whose members are taken over as they are.
type object map[string]json.RawMessage

// parseObject reads a JSON object; nothing is the empty one.
func parseObject(raw json.RawMessage) (object, error) {
	o := object{}
	if len(raw) == 0 {
		return o, nil
	}
	if err := exactjson.Unmarshal(raw, &o); err != nil {
		return nil, err
	}
	if o == nil { // null
		o = object{}
	}
	return o, nil
}

// set sets a member; nothing of it can fail to encode.
func (o object) set(key string, value any) {
	raw, err := json.Marshal(value)
	if err != nil {
		panic("rooms: " + err.Error()) // our own texts, numbers, lists and maps of these
	}
	o[key] = raw
}

func (o object) raw() json.RawMessage {
	raw, err := json.Marshal(map[string]json.RawMessage(o))
	if err != nil {
		panic("rooms: " + err.Error()) // its members were valid JSON
	}
	return raw
}

// field reads a string member of an event's content; "" when there is none.
func field(content []byte, key string) string {
	value, ok := canonicaljson.Get(content, key)
	if !ok {
		return ""
	}
	text, _ := canonicaljson.String(value)
	return text
}

func ptr[T any](v T) *T { return &v }
