package clientapi

import (
	"net/http"
	"strings"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/directory"
)

func (a *API) spaceRoutes() []route {
	return []route{
		{http.MethodGet, "/rooms/{roomId}/hierarchy", v1, withUser, ordinary, a.hierarchy},
		{http.MethodGet, "/room_summary/{roomIdOrAlias}", v1, maybeUser, ordinary, a.roomSummary},
		// As mautrix-go and clients from before Matrix 1.15 call it; Synapse answers it too.
		{http.MethodGet, "/_matrix/client/unstable/im.nheko.summary/summary/{roomIdOrAlias}", unversioned, maybeUser, ordinary, a.roomSummary},
		{http.MethodGet, "/_matrix/client/unstable/im.nheko.summary/rooms/{roomIdOrAlias}/summary", unversioned, maybeUser, ordinary, a.roomSummary},
	}
}

// spec:client-server-api#get_matrixclientv1roomsroomidhierarchy
func (a *API) hierarchy(r *request) (any, error) {
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	req := directory.HierarchyQuery{User: r.user, Room: room, MaxDepth: -1, From: query.Get("from")}
	if req.Limit, err = r.pageSize(defaultSpaceRooms, maxSpaceRooms); err != nil {
		return nil, err
	}
	if query.Get("max_depth") != "" {
		if req.MaxDepth, err = r.queryInt("max_depth", 0, 1000); err != nil {
			return nil, err
		}
	}
	if req.SuggestedOnly, err = r.queryBool("suggested_only"); err != nil {
		return nil, err
	}
	rooms, next, err := a.config.Directory.RoomsOf(r.Context(), req)
	if err != nil {
		return nil, err
	}
	answer := map[string]any{"rooms": append([]federation.SpaceRoom{}, rooms...)}
	if next != "" {
		answer["next_batch"] = next
	}
	return answer, nil
}

// roomSummary shows a room to whoever may know of it; who isn't logged in may, where everybody may join, knock or read.
//
// spec:client-server-api#get_matrixclientv1room_summaryroomidoralias
func (a *API) roomSummary(r *request) (any, error) {
	text := r.PathValue("roomIdOrAlias")
	via := servers(r.URL.Query()["via"]...)
	if err := a.limitStranger(r); err != nil {
		return nil, err
	}
	room, err := id.ParseRoomID(text)
	if strings.HasPrefix(text, "#") {
		var alias id.RoomAlias
		if alias, err = id.ParseRoomAlias(text); err != nil {
			return nil, invalidParam("%q is not an alias", text)
		}
		found, err := a.config.Directory.Resolve(r.Context(), alias)
		if err != nil {
			return nil, err
		}
		room, via = found.RoomID, append(via, found.Servers...)
	} else if err != nil {
		return nil, invalidParam("%q is neither a room ID nor an alias", text)
	}
	return a.config.Directory.Preview(r.Context(), r.user, room, via)
}
