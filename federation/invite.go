package federation

import (
	"encoding/json"
	"errors"

	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

// InviteRequest is what PUT /invite brings, in either form. The event's format is for the handler to check.
type InviteRequest struct {
	RoomID          id.RoomID           // from the path
	EventID         id.EventID          // from the path
	RoomVersion     roomversion.Version // as the inviting server says; 1 in the v1 form
	Event           json.RawMessage
	InviteRoomState []json.RawMessage // what the invited user may see of the room
}

// InviteRequestV2 is the body of PUT /_matrix/federation/v2/invite.
//
// spec:server-server-api#inviting-to-a-room
type InviteRequestV2 struct {
	RoomVersion     roomversion.Version
	Event           json.RawMessage
	InviteRoomState []json.RawMessage
}

// UnmarshalJSON reads the body with at most MaxStrippedState events in invite_room_state.
func (r *InviteRequestV2) UnmarshalJSON(data []byte) error {
	var wire struct {
		RoomVersion     *string         `json:"room_version"`
		Event           json.RawMessage `json:"event"`
		InviteRoomState json.RawMessage `json:"invite_room_state"`
	}
	if err := exactjson.Unmarshal(data, &wire); err != nil {
		return err
	}
	if wire.RoomVersion == nil {
		return errors.New("room_version is missing")
	}
	if len(wire.Event) == 0 || wire.Event[0] != '{' {
		return errors.New("event is not an object")
	}
	list, err := splitList(wire.InviteRoomState, MaxStrippedState, "invite_room_state")
	*r = InviteRequestV2{RoomVersion: roomversion.Version(*wire.RoomVersion), Event: wire.Event, InviteRoomState: list}
	return err
}

// MarshalJSON writes the body; the events are written as they are.
func (r InviteRequestV2) MarshalJSON() ([]byte, error) {
	dst := make([]byte, 0, len(r.Event)+size(r.InviteRoomState)+80)
	dst = append(dst, `{"event":`...)
	dst = append(dst, r.Event...)
	dst = append(dst, `,"invite_room_state":`...)
	dst = appendList(dst, r.InviteRoomState)
	dst = append(dst, `,"room_version":`...)
	dst = appendString(dst, string(r.RoomVersion))
	return append(dst, '}'), nil
}

// InviteRequestV1 is the body of PUT /_matrix/federation/v1/invite: the event itself, with the room's stripped state
// in its unsigned part. The room's version is 1 or 2, which have the same format.
type InviteRequestV1 struct {
	Event           json.RawMessage
	InviteRoomState []json.RawMessage
}

// UnmarshalJSON reads the body; Event is all of it (event.Parse drops the unsigned part).
func (r *InviteRequestV1) UnmarshalJSON(data []byte) error {
	var wire struct {
		Unsigned json.RawMessage `json:"unsigned"`
	}
	if err := exactjson.Unmarshal(data, &wire); err != nil {
		return err
	}
	var unsigned struct {
		InviteRoomState json.RawMessage `json:"invite_room_state"`
	}
	if len(wire.Unsigned) > 0 {
		if err := exactjson.Unmarshal(wire.Unsigned, &unsigned); err != nil {
			return errors.New("unsigned is not an object")
		}
	}
	list, err := splitList(unsigned.InviteRoomState, MaxStrippedState, "invite_room_state")
	*r = InviteRequestV1{Event: append(json.RawMessage(nil), data...), InviteRoomState: list}
	return err
}

// MarshalJSON writes the event with invite_room_state in unsigned, in place of an unsigned part it may have.
func (r InviteRequestV1) MarshalJSON() ([]byte, error) {
	var members map[string]json.RawMessage
	if err := exactjson.Unmarshal(r.Event, &members); err != nil {
		return nil, err
	}
	unsigned := append([]byte(`{"invite_room_state":`), appendList(nil, r.InviteRoomState)...)
	members["unsigned"] = append(unsigned, '}')
	return json.Marshal(members)
}

// InviteResponse is the answer of PUT /invite (v2): the event with the invited server's signature.
type InviteResponse struct {
	Event json.RawMessage `json:"event"`
}

// UnmarshalJSON reads an answer; one without an event is an error.
func (r *InviteResponse) UnmarshalJSON(data []byte) error {
	var wire struct {
		Event json.RawMessage `json:"event"`
	}
	if err := exactjson.Unmarshal(data, &wire); err != nil {
		return err
	}
	if len(wire.Event) == 0 || wire.Event[0] != '{' {
		return errors.New("event is not an object")
	}
	r.Event = wire.Event
	return nil
}
