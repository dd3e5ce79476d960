package federation

import (
	"encoding/json"

	"hanse/federation/exactjson"
	"hanse/federation/id"
)

// PublicRoomsRequest is the body of POST /publicRooms, and the query of GET.
//
// spec:server-server-api#published-room-directory
type PublicRoomsRequest struct {
	Limit                int                `json:"limit,omitempty"` // 0 = no limit of the asking server's
	Since                string             `json:"since,omitempty"` // a token from an earlier answer
	Filter               *PublicRoomsFilter `json:"filter,omitempty"`
	IncludeAllNetworks   bool               `json:"include_all_networks,omitempty"`
	ThirdPartyInstanceID string             `json:"third_party_instance_id,omitempty"`
}

// UnmarshalJSON reads a request. include_all_networks may be a text, as in the query: Synapse takes it so.
func (r *PublicRoomsRequest) UnmarshalJSON(data []byte) error {
	var wire struct {
		Limit                int                `json:"limit"`
		Since                string             `json:"since"`
		Filter               *PublicRoomsFilter `json:"filter"`
		IncludeAllNetworks   any                `json:"include_all_networks"`
		ThirdPartyInstanceID string             `json:"third_party_instance_id"`
	}
	if err := exactjson.Unmarshal(data, &wire); err != nil {
		return err
	}
	all := false
	switch wire.IncludeAllNetworks {
	case true, "true":
		all = true
	case false, "false", nil:
	default:
		return BadJSON("include_all_networks is neither true nor false")
	}
	*r = PublicRoomsRequest{wire.Limit, wire.Since, wire.Filter, all, wire.ThirdPartyInstanceID}
	return nil
}

// PublicRoomsFilter narrows what is listed.
type PublicRoomsFilter struct {
	GenericSearchTerm string `json:"generic_search_term,omitempty"`
	// RoomTypes are the wanted types; nil in the list means rooms without one; an absent list means all.
	RoomTypes []*string `json:"room_types,omitempty"`
}

// PublicRoomsResponse is the answer of /publicRooms, here and in the client-server API.
//
// spec:server-server-api#published-room-directory
type PublicRoomsResponse struct {
	Chunk                  []PublicRoom `json:"chunk"`
	NextBatch              string       `json:"next_batch,omitempty"`
	PrevBatch              string       `json:"prev_batch,omitempty"`
	TotalRoomCountEstimate int          `json:"total_room_count_estimate"`
}

// PublicRoom is one published room.
type PublicRoom struct {
	RoomID           id.RoomID    `json:"room_id"`
	CanonicalAlias   id.RoomAlias `json:"canonical_alias,omitempty"`
	Name             string       `json:"name,omitempty"`
	Topic            string       `json:"topic,omitempty"`
	AvatarURL        string       `json:"avatar_url,omitempty"`
	JoinRule         string       `json:"join_rule,omitempty"` // "" = public
	RoomType         string       `json:"room_type,omitempty"`
	NumJoinedMembers int          `json:"num_joined_members"`
	WorldReadable    bool         `json:"world_readable"`
	GuestCanJoin     bool         `json:"guest_can_join"`
}

// UnmarshalJSON reads an answer tolerantly: rooms that can't be read are left out, and an alias that is none is empty.
func (r *PublicRoomsResponse) UnmarshalJSON(data []byte) error {
	var wire struct {
		Chunk                  json.RawMessage `json:"chunk"`
		NextBatch              string          `json:"next_batch"`
		PrevBatch              string          `json:"prev_batch"`
		TotalRoomCountEstimate int             `json:"total_room_count_estimate"`
	}
	if err := exactjson.Unmarshal(data, &wire); err != nil {
		return err
	}
	list, err := splitList(wire.Chunk, MaxListPDUs, "chunk")
	if err != nil {
		return err
	}
	out := PublicRoomsResponse{NextBatch: wire.NextBatch, PrevBatch: wire.PrevBatch, TotalRoomCountEstimate: wire.TotalRoomCountEstimate}
	for _, raw := range list {
		var room PublicRoom
		if exactjson.Unmarshal(raw, &room) != nil {
			continue
		}
		if _, err := id.ParseRoomID(string(room.RoomID)); err != nil {
			continue
		}
		if _, err := id.ParseRoomAlias(string(room.CanonicalAlias)); err != nil {
			room.CanonicalAlias = ""
		}
		out.Chunk = append(out.Chunk, room)
	}
	*r = out
	return nil
}

// MarshalJSON writes an empty list as [], not as null.
func (r PublicRoomsResponse) MarshalJSON() ([]byte, error) {
	type plain PublicRoomsResponse
	if r.Chunk == nil {
		r.Chunk = []PublicRoom{}
	}
	return json.Marshal(plain(r))
}
