package clientapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"

	"hanse/federation/id"
	"hanse/node/rooms"
)

func (a *API) joiningRoutes() []route {
	return []route{
		{http.MethodPost, "/join/{roomIdOrAlias}", stable, withUser, joins, a.joinByIDOrAlias},
		{http.MethodPost, "/rooms/{roomId}/join", stable, withUser, joins, a.joinByID},
		{http.MethodPost, "/knock/{roomIdOrAlias}", stable, withUser, joins, a.knock},
		{http.MethodGet, "/joined_rooms", stable, withUser, ordinary, a.joinedRooms},
	}
}

// joinRequest is the body of a join or knock.
type joinRequest struct {
	Reason           string          `json:"reason"`
	ThirdPartySigned json.RawMessage `json:"third_party_signed"`

	content json.RawMessage // all of it, as the content of an event; nil: there is no body
}

// decodeJoin reads the body of a join or knock, which many clients leave out.
func decodeJoin(r *request) (joinRequest, error) {
	var req joinRequest
	if err := r.decodeOptional(&req); err != nil {
		return req, err
	}
	if len(req.Reason) > maxReasonBytes {
		return req, invalidParam("the reason has at most %d bytes", maxReasonBytes)
	}
	if len(req.ThirdPartySigned) > 0 && string(req.ThirdPartySigned) != "null" {
		return req, forbidden("this server takes no third-party invites")
	}
	if len(bytes.TrimSpace(r.read)) == 0 {
		return req, nil
	}
	raw, err := r.content()
	if err != nil {
		return req, err
	}
	var content map[string]json.RawMessage
	if err := decodeObject(raw, &content); err != nil {
		return req, err
	}
	delete(content, "third_party_signed") // it is null
	req.content, err = marshal(content)
	return req, err
}

// target finds the room that the path's {roomIdOrAlias} stands for, and the servers to go there by.
func (a *API) target(r *request) (id.RoomID, []id.ServerName, error) {
	query := r.URL.Query()
	via := servers(append(query["via"], query["server_name"]...)...)
	text := r.PathValue("roomIdOrAlias")
	if !strings.HasPrefix(text, "#") {
		room, err := id.ParseRoomID(text)
		if err != nil {
			return "", nil, invalidParam("%q is neither a room ID nor an alias", text)
		}
		return room, via, nil
	}
	alias, err := id.ParseRoomAlias(text)
	if err != nil {
		return "", nil, invalidParam("%q is not an alias", text)
	}
	found, err := a.resolve(r, alias)
	if err != nil {
		return "", nil, err
	}
	for _, server := range found.Servers {
		if len(via) < maxVia {
			via = append(via, server)
		}
	}
	return found.RoomID, via, nil
}

// spec:client-server-api#post_matrixclientv3joinroomidoralias
func (a *API) joinByIDOrAlias(r *request) (any, error) {
	req, err := decodeJoin(r)
	if err != nil {
		return nil, err
	}
	room, via, err := a.target(r)
	if err != nil {
		return nil, err
	}
	return a.join(r, room, via, req)
}

// spec:client-server-api#post_matrixclientv3roomsroomidjoin
func (a *API) joinByID(r *request) (any, error) {
	req, err := decodeJoin(r)
	if err != nil {
		return nil, err
	}
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	return a.join(r, room, servers(append(query["via"], query["server_name"]...)...), req)
}

// join joins a room. What else is in the body goes into the membership event, as with other deployed servers: by
// m.room.member itself a client can say the same.
func (a *API) join(r *request, room id.RoomID, via []id.ServerName, req joinRequest) (any, error) {
	if err := a.config.Rooms.Join(r.Context(), rooms.JoinRequest{User: r.user, Room: room, Via: via, Content: req.content}); err != nil {
		return nil, err
	}
	ctx, cancel := r.detached() // the user is in the room, and won't come into it again
	defer cancel()
	a.inherit(ctx, r.user, room)
	return map[string]any{"room_id": room}, nil
}

// spec:client-server-api#post_matrixclientv3knockroomidoralias
func (a *API) knock(r *request) (any, error) {
	req, err := decodeJoin(r)
	if err != nil {
		return nil, err
	}
	room, via, err := a.target(r)
	if err != nil {
		return nil, err
	}
	err = a.config.Rooms.Knock(r.Context(), rooms.KnockRequest{User: r.user, Room: room, Via: via, Reason: req.Reason})
	return map[string]any{"room_id": room}, err
}

// spec:client-server-api#get_matrixclientv3joined_rooms
func (a *API) joinedRooms(r *request) (any, error) {
	joined, err := a.config.Users.JoinedRooms(r.Context(), r.user)
	return map[string]any{"joined_rooms": joined}, err
}
