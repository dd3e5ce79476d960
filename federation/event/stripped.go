package event

import (
	"encoding/json"

	"hanse/federation/canonicaljson"
)

// Stripped is the stripped form of a state event, of which a room is described to users who
// are not in it: type, state_key, content and sender. For an event that is not a state event
// it has no state_key.
//
// spec:client-server-api#stripped-state
func Stripped(e *Event) json.RawMessage {
	return canonicaljson.Filter(make([]byte, 0, len(e.content)+256), e.json, func(key []byte) bool {
		switch string(key) {
		case "type", "state_key", "content", "sender":
			return true
		}
		return false
	})
}
