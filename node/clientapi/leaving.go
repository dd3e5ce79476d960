package clientapi

import "net/http"

func (a *API) leavingRoutes() []route {
	return []route{
		{http.MethodPost, "/rooms/{roomId}/leave", stable, withUser, ordinary, a.leave},
		{http.MethodPost, "/rooms/{roomId}/forget", stable, withUser, ordinary, a.forget},
	}
}

// spec:client-server-api#post_matrixclientv3roomsroomidleave
func (a *API) leave(r *request) (any, error) {
	var req struct {
		Reason string `json:"reason"`
	}
	if err := r.decodeOptional(&req); err != nil {
		return nil, err
	}
	if len(req.Reason) > maxReasonBytes {
		return nil, invalidParam("the reason has at most %d bytes", maxReasonBytes)
	}
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	if err := a.mayLeave(r.Context(), r.user, room); err != nil {
		return nil, err
	}
	return nil, a.config.Rooms.Leave(r.Context(), r.user, room, req.Reason)
}

// spec:client-server-api#post_matrixclientv3roomsroomidforget
func (a *API) forget(r *request) (any, error) {
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	return nil, a.config.Rooms.Forget(r.Context(), r.user, room)
}
