package clientapi

import (
	"net/http"

	"hanse/federation/id"
)

func (a *API) presenceRoutes() []route {
	return []route{
		{http.MethodGet, "/presence/{userId}/status", stable, withUser, ordinary, a.getPresence},
		{http.MethodPut, "/presence/{userId}/status", stable, withUser, ordinary, a.setPresence},
	}
}

// getPresence answers as for a server whose presence is off: everybody is offline.
//
// todo spec: presence, in and out, by configuration
//
// spec:client-server-api#get_matrixclientv3presenceuseridstatus
func (a *API) getPresence(r *request) (any, error) {
	if _, err := id.ParseUserID(r.PathValue("userId")); err != nil {
		return nil, invalidParam("%q is not a user ID", r.PathValue("userId"))
	}
	return map[string]any{"presence": "offline"}, nil
}

// setPresence takes what clients send unasked, and forgets it.
//
// spec:client-server-api#put_matrixclientv3presenceuseridstatus
func (a *API) setPresence(r *request) (any, error) {
	if err := r.ownUser(); err != nil {
		return nil, err
	}
	var req struct {
		Presence string `json:"presence"`
		Status   string `json:"status_msg"`
	}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	switch req.Presence {
	case "online", "offline", "unavailable":
		return nil, nil
	case "":
		return nil, missingParam("presence")
	}
	return nil, badJSON("presence must be online, offline or unavailable")
}
