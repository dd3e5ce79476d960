package federation

import (
	"encoding/json"
	"fmt"

	"hanse/federation/exactjson"
	"hanse/federation/id"
)

// maxDirectoryServers bounds the servers of a directory answer that are kept: joining asks them in turn.
const maxDirectoryServers = 1000

// DirectoryResponse is the answer of GET /query/directory: where an alias leads.
//
// spec:server-server-api#querying-for-information
type DirectoryResponse struct {
	RoomID  id.RoomID       `json:"room_id"`
	Servers []id.ServerName `json:"servers"`
}

// UnmarshalJSON reads an answer. The room ID must be one; servers that are no server names are left out.
func (r *DirectoryResponse) UnmarshalJSON(data []byte) error {
	var wire struct {
		RoomID  string   `json:"room_id"`
		Servers []string `json:"servers"`
	}
	if err := exactjson.Unmarshal(data, &wire); err != nil {
		return err
	}
	room, err := id.ParseRoomID(wire.RoomID)
	if err != nil {
		return fmt.Errorf("room_id: %w", err)
	}
	*r = DirectoryResponse{RoomID: room, Servers: serverNames(wire.Servers, maxDirectoryServers)}
	return nil
}

// MarshalJSON writes an empty list as [], not as null.
func (r DirectoryResponse) MarshalJSON() ([]byte, error) {
	type plain DirectoryResponse
	if r.Servers == nil {
		r.Servers = []id.ServerName{}
	}
	return json.Marshal(plain(r))
}
