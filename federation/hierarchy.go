package federation

import (
	"encoding/json"

	"hanse/federation/exactjson"
	"hanse/federation/id"
)

const (
	// MaxSpaceChildren bounds the children of a space that are told or taken: clients show some tens.
	MaxSpaceChildren = 500
	// maxAllowedRooms bounds the rooms of a restricted room's conditions.
	maxAllowedRooms = 100
)

// HierarchyRequest is the path and query of GET /hierarchy/{roomId}.
type HierarchyRequest struct {
	RoomID        id.RoomID
	SuggestedOnly bool
}

// RoomSummary is what a room shows of itself to those who may join it, here and in the client-server API.
//
// spec:server-server-api#spaces
type RoomSummary struct {
	PublicRoom
	// AllowedRoomIDs are the rooms whose members may join a restricted room.
	AllowedRoomIDs []id.RoomID `json:"allowed_room_ids,omitempty"`
	Encryption     string      `json:"encryption,omitempty"` // the algorithm
	RoomVersion    string      `json:"room_version,omitempty"`
}

// SpaceRoom is a room of a space, a space itself perhaps.
type SpaceRoom struct {
	RoomSummary
	// ChildrenState are the m.space.child events as stripped state with origin_server_ts; empty for rooms that are no space.
	ChildrenState []SpaceChild `json:"children_state"`
}

// SpaceChild is an m.space.child event of a space. spec:client-server-api#mspacechild
type SpaceChild struct {
	Type           string          `json:"type"`
	StateKey       string          `json:"state_key"`
	Content        json.RawMessage `json:"content"`
	Sender         id.UserID       `json:"sender"`
	OriginServerTS int64           `json:"origin_server_ts"`
}

// HierarchyResponse is the answer of GET /hierarchy/{roomId}.
//
// spec:server-server-api#get_matrixfederationv1hierarchyroomid
type HierarchyResponse struct {
	Room                 SpaceRoom     `json:"room"`
	Children             []RoomSummary `json:"children"`
	InaccessibleChildren []id.RoomID   `json:"inaccessible_children"`
}

// UnmarshalJSON reads a room tolerantly: what is no room ID, alias or child event is left out. The room's own ID must be one.
func (r *SpaceRoom) UnmarshalJSON(data []byte) error {
	var wire struct {
		PublicRoom
		AllowedRoomIDs json.RawMessage `json:"allowed_room_ids"`
		Encryption     json.RawMessage `json:"encryption"`
		RoomVersion    json.RawMessage `json:"room_version"`
		ChildrenState  json.RawMessage `json:"children_state"`
	}
	if err := exactjson.Unmarshal(data, &wire); err != nil {
		return err
	}
	if _, err := id.ParseRoomID(string(wire.RoomID)); err != nil {
		return err
	}
	if _, err := id.ParseRoomAlias(string(wire.CanonicalAlias)); err != nil {
		wire.CanonicalAlias = ""
	}
	out := SpaceRoom{RoomSummary: RoomSummary{PublicRoom: wire.PublicRoom, AllowedRoomIDs: roomIDs(wire.AllowedRoomIDs, maxAllowedRooms)}}
	_ = exactjson.Unmarshal(wire.Encryption, &out.Encryption)   // what is no text is none
	_ = exactjson.Unmarshal(wire.RoomVersion, &out.RoomVersion) // likewise
	children, err := splitList(wire.ChildrenState, MaxListPDUs, "children_state")
	if err != nil {
		return err
	}
	for _, raw := range children[:min(len(children), MaxSpaceChildren)] {
		var child SpaceChild
		if exactjson.Unmarshal(raw, &child) == nil && child.Type == "m.space.child" {
			out.ChildrenState = append(out.ChildrenState, child)
		}
	}
	*r = out
	return nil
}

// MarshalJSON writes an empty list as [], not as null.
func (r SpaceRoom) MarshalJSON() ([]byte, error) {
	type plain SpaceRoom
	if r.ChildrenState == nil {
		r.ChildrenState = []SpaceChild{}
	}
	return json.Marshal(plain(r))
}

// UnmarshalJSON reads an answer: the room must be there; children that can't be read are left out.
func (r *HierarchyResponse) UnmarshalJSON(data []byte) error {
	var wire struct {
		Room                 SpaceRoom       `json:"room"`
		Children             json.RawMessage `json:"children"`
		InaccessibleChildren json.RawMessage `json:"inaccessible_children"`
	}
	if err := exactjson.Unmarshal(data, &wire); err != nil {
		return err
	}
	if _, err := id.ParseRoomID(string(wire.Room.RoomID)); err != nil {
		return err
	}
	children, err := splitList(wire.Children, MaxListPDUs, "children")
	if err != nil {
		return err
	}
	out := HierarchyResponse{Room: wire.Room, InaccessibleChildren: roomIDs(wire.InaccessibleChildren, MaxSpaceChildren)}
	for _, raw := range children[:min(len(children), MaxSpaceChildren)] {
		var child SpaceRoom
		if exactjson.Unmarshal(raw, &child) == nil {
			out.Children = append(out.Children, child.RoomSummary)
		}
	}
	*r = out
	return nil
}

// MarshalJSON writes empty lists as [], not as null.
func (r HierarchyResponse) MarshalJSON() ([]byte, error) {
	type plain HierarchyResponse
	if r.Children == nil {
		r.Children = []RoomSummary{}
	}
	if r.InaccessibleChildren == nil {
		r.InaccessibleChildren = []id.RoomID{}
	}
	return json.Marshal(plain(r))
}

// roomIDs reads a list of room IDs; what is none is left out, and what is no list is empty.
func roomIDs(raw json.RawMessage, most int) []id.RoomID {
	var texts []string
	if exactjson.Unmarshal(raw, &texts) != nil {
		return nil
	}
	var rooms []id.RoomID
	for _, text := range texts[:min(len(texts), most)] {
		if room, err := id.ParseRoomID(text); err == nil {
			rooms = append(rooms, room)
		}
	}
	return rooms
}
