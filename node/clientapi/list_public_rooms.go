package clientapi

import (
	"net/http"

	"hanse/federation"
	"hanse/federation/id"
)

func (a *API) publicRoomsRoutes() []route {
	return []route{
		{http.MethodGet, "/publicRooms", stable, maybeUser, ordinary, a.publicRooms},
		{http.MethodPost, "/publicRooms", stable, withUser, ordinary, a.queryPublicRooms},
		{http.MethodGet, "/directory/list/room/{roomId}", stable, withoutUser, ordinary, a.roomVisibility},
		{http.MethodPut, "/directory/list/room/{roomId}", stable, withUser, ordinary, a.setRoomVisibility},
	}
}

// spec:client-server-api#get_matrixclientv3publicrooms
func (a *API) publicRooms(r *request) (any, error) {
	limit, err := r.queryInt("limit", defaultPublicRooms, maxPublicRooms)
	if err != nil {
		return nil, err
	}
	return a.listRooms(r, federation.PublicRoomsRequest{Limit: max(limit, 1), Since: r.URL.Query().Get("since")})
}

// spec:client-server-api#post_matrixclientv3publicrooms
func (a *API) queryPublicRooms(r *request) (any, error) {
	var req federation.PublicRoomsRequest
	if err := r.decodeOptional(&req); err != nil {
		return nil, err
	}
	if req.Limit < 0 {
		return nil, invalidParam("limit must not be negative")
	}
	return a.listRooms(r, req)
}

// listRooms asks the server named in the query, or our own list. Only those who are logged in can make us ask another.
func (a *API) listRooms(r *request, req federation.PublicRoomsRequest) (any, error) {
	text := r.URL.Query().Get("server")
	if text == "" || id.ServerName(text) == a.config.Self {
		list, err := a.config.Directory.PublicRooms(r.Context(), req)
		return list, err
	}
	server, err := id.ParseServerName(text)
	switch {
	case err != nil:
		return nil, invalidParam("%q is not a server name", text)
	case r.user == "":
		return nil, &federation.Error{Status: http.StatusUnauthorized, Code: federation.CodeMissingToken,
			Message: "an access token is needed to ask another server"}
	}
	if err := a.limiter.take(joins, r.user, a.address(r.Request)); err != nil {
		return nil, err
	}
	list, err := a.config.Directory.RemotePublicRooms(r.Context(), server, req)
	return list, err
}

// spec:client-server-api#get_matrixclientv3directorylistroomroomid
func (a *API) roomVisibility(r *request) (any, error) {
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	public, err := a.config.Directory.Published(r.Context(), room)
	visibility := "private"
	if public {
		visibility = "public"
	}
	return map[string]string{"visibility": visibility}, err
}

// spec:client-server-api#put_matrixclientv3directorylistroomroomid
func (a *API) setRoomVisibility(r *request) (any, error) {
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	public, err := r.visibility("public")
	if err != nil {
		return nil, err
	}
	return nil, a.config.Directory.Publish(r.Context(), room, r.user, r.admin, public)
}

// visibility reads a body that says whether a room is to be in a list; fallback is what is meant by none, "" if it is needed.
func (r *request) visibility(fallback string) (public bool, err error) {
	req := struct {
		Visibility string `json:"visibility"`
	}{Visibility: fallback}
	if err := r.decode(&req); err != nil {
		return false, err
	}
	if req.Visibility != "public" && req.Visibility != "private" {
		return false, invalidParam("visibility must be public or private")
	}
	return req.Visibility == "public", nil
}
