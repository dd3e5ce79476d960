package server

import "hanse/federation"

// hierarchy is GET /hierarchy/{roomId}.
//
// spec:server-server-api#get_matrixfederationv1hierarchyroomid
func (a *api) hierarchy(q *request) (any, error) {
	room, err := q.roomID()
	if err != nil {
		return nil, err
	}
	wanted := federation.HierarchyRequest{RoomID: room}
	if wanted.SuggestedOnly, err = q.truth("suggested_only"); err != nil {
		return nil, err
	}
	return a.Handlers.Spaces.Hierarchy(q.ctx(), q.origin, wanted)
}
