package federation

import (
	"encoding/json"
	"fmt"

	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

// MakeRequest is what GET /make_join, /make_leave and /make_knock ask: a template for a membership event. All of its
// identifiers are valid; that the user is the asking server's is for the handler to check.
type MakeRequest struct {
	RoomID   id.RoomID
	UserID   id.UserID
	Versions []roomversion.Version // what the asking server supports (join and knock); join without any means version 1
}

// MakeResponse is the answer of GET /make_join, /make_leave and /make_knock. Event is the unsigned template, to be
// read with event.ParseDraft: the asking server must check it (spec: type, room_id, sender, state_key, membership).
type MakeResponse struct {
	RoomVersion roomversion.Version `json:"room_version,omitempty"`
	Event       json.RawMessage     `json:"event"`
}

// MakeJoinResponse, MakeLeaveResponse and MakeKnockResponse have the same form.
//
// spec:server-server-api#joining-rooms spec:server-server-api#leaving-rooms-rejecting-invites spec:server-server-api#knocking-rooms
type (
	MakeJoinResponse  = MakeResponse
	MakeLeaveResponse = MakeResponse
	MakeKnockResponse = MakeResponse
)

// UnmarshalJSON reads an answer. A missing room version is version 1, as the spec says ("1" or "2", which have the
// same format); a missing template is an error.
func (r *MakeResponse) UnmarshalJSON(data []byte) error {
	var wire struct {
		RoomVersion *string         `json:"room_version"`
		Event       json.RawMessage `json:"event"`
	}
	if err := exactjson.Unmarshal(data, &wire); err != nil {
		return err
	}
	if len(wire.Event) == 0 || wire.Event[0] != '{' {
		return fmt.Errorf("event is not an object")
	}
	*r = MakeResponse{RoomVersion: roomversion.V1, Event: wire.Event}
	if wire.RoomVersion != nil {
		r.RoomVersion = roomversion.Version(*wire.RoomVersion)
	}
	return nil
}

// SendRequest is what PUT /send_join, /send_leave and /send_knock bring: a signed membership event, whose format only
// the handler can check, as it depends on the room's version.
type SendRequest struct {
	RoomID      id.RoomID  // from the path
	EventID     id.EventID // from the path
	Event       json.RawMessage
	OmitMembers bool // send_join v2: the asking server can do without the members' events
}
