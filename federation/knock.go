package federation

import (
	"encoding/json"

	"hanse/federation/exactjson"
)

// SendKnockResponse is the answer of PUT /send_knock: what the knocking user may see of the room.
//
// spec:server-server-api#knocking-rooms
type SendKnockResponse struct {
	KnockRoomState []json.RawMessage `json:"knock_room_state"`
}

// UnmarshalJSON reads an answer with at most MaxStrippedState events. Servers before Matrix 1.1 called the list
// knock_state_events.
func (r *SendKnockResponse) UnmarshalJSON(data []byte) error {
	var wire struct {
		KnockRoomState   json.RawMessage `json:"knock_room_state"`
		KnockStateEvents json.RawMessage `json:"knock_state_events"`
	}
	if err := exactjson.Unmarshal(data, &wire); err != nil {
		return err
	}
	raw := wire.KnockRoomState
	if len(raw) == 0 {
		raw = wire.KnockStateEvents
	}
	list, err := splitList(raw, MaxStrippedState, "knock_room_state")
	r.KnockRoomState = list
	return err
}

// MarshalJSON writes an empty list as [], not as null.
func (r SendKnockResponse) MarshalJSON() ([]byte, error) {
	dst := append(make([]byte, 0, size(r.KnockRoomState)+32), `{"knock_room_state":`...)
	return append(appendList(dst, r.KnockRoomState), '}'), nil
}
