package server

import (
	"strconv"

	"hanse/federation"
)

// hierarchy is GET /hierarchy/{roomId}.
//
// spec:server-server-api#get_matrixfederationv1hierarchyroomid
func (a *api) hierarchy(q *request) (any, error) {
	room, err := q.roomID()
	if err != nil {
		return nil, err
	}
	wanted := federation.HierarchyRequest{RoomID: room}
	if text := q.URL.Query().Get("suggested_only"); text != "" {
		if wanted.SuggestedOnly, err = strconv.ParseBool(text); err != nil {
			return nil, federation.InvalidParam("suggested_only is neither true nor false")
		}
	}
	return a.Handlers.Spaces.Hierarchy(q.ctx(), q.origin, wanted)
}
