package clientapi

import (
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"hanse/federation/canonicaljson"
	"hanse/federation/event"
	"hanse/node/clientsync"
	"hanse/node/rooms"
)

// readRoutes are the questions about one room's events and state: rooms.yaml of the specification.
func (a *API) readRoutes() []route {
	return []route{
		{http.MethodGet, "/rooms/{roomId}/event/{eventId}", stable, withUser, ordinary, a.event},
		{http.MethodGet, "/rooms/{roomId}/state", stable, withUser, ordinary, a.state},
		{http.MethodGet, "/rooms/{roomId}/state/{eventType}", stable, withUser, ordinary, a.stateEvent},
		{http.MethodGet, "/rooms/{roomId}/state/{eventType}/{$}", stable, withUser, ordinary, a.stateEvent},
		{http.MethodGet, "/rooms/{roomId}/state/{eventType}/{stateKey}", stable, withUser, ordinary, a.stateEvent},
		{http.MethodGet, "/rooms/{roomId}/members", stable, withUser, ordinary, a.members},
		{http.MethodGet, "/rooms/{roomId}/joined_members", stable, withUser, ordinary, a.joinedMembers},
	}
}

// spec:client-server-api#get_matrixclientv3roomsroomideventeventid
func (a *API) event(r *request) (any, error) {
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	eventID, err := r.eventID()
	if err != nil {
		return nil, err
	}
	row, err := a.config.Rooms.Event(r.Context(), r.user, room, eventID)
	if err != nil {
		return nil, err
	}
	return r.one(row)
}

// one formats one event.
func (r *request) one(row clientsync.EventRow) (any, error) {
	formatted, err := r.decorated([]clientsync.EventRow{row})
	if err != nil {
		return nil, err
	}
	return formatted[0], nil
}

// spec:client-server-api#get_matrixclientv3roomsroomidstate
func (a *API) state(r *request) (any, error) {
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	state, err := a.config.Rooms.StateMap(r.Context(), r.user, room)
	if err != nil {
		return nil, err
	}
	return r.laterState(room, state), nil
}

// spec:client-server-api#get_matrixclientv3roomsroomidstateeventtypestatekey
func (a *API) stateEvent(r *request) (any, error) {
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	format := r.URL.Query().Get("format")
	if !slices.Contains([]string{"", "content", "event"}, format) {
		return nil, invalidParam("format must be content or event")
	}
	e, err := a.config.Rooms.StateEvent(r.Context(), r.user, room, r.PathValue("eventType"), r.PathValue("stateKey"))
	if err != nil {
		return nil, err
	}
	if format != "event" {
		return json.RawMessage(e.Content()), nil
	}
	row, err := a.config.Sync.Row(r.Context(), e)
	if err != nil {
		return nil, err
	}
	return r.one(row)
}

// spec:client-server-api#get_matrixclientv3roomsroomidmembers
func (a *API) members(r *request) (any, error) {
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	req := rooms.MembersRequest{User: r.user, Room: room, Membership: query.Get("membership"), NotMembership: query.Get("not_membership")}
	for _, membership := range []string{req.Membership, req.NotMembership} {
		if !slices.Contains([]string{"", "join", "invite", "knock", "leave", "ban"}, membership) {
			return nil, invalidParam("%q is no membership", membership)
		}
	}
	if req.At, err = point("at", query.Get("at")); err != nil {
		return nil, err
	}
	now := time.Now()
	return map[string]any{"chunk": r.later('[', r.stateSize(req.Room), func(add addLater) error {
		return a.config.Rooms.EachMember(r.Context(), req, func(e *event.Event) error {
			return add(func(dst []byte) ([]byte, error) { return appendPlain(dst, e, now) })
		})
	})}, nil
}

// spec:client-server-api#get_matrixclientv3roomsroomidjoined_members
func (a *API) joinedMembers(r *request) (any, error) {
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	type profile struct {
		DisplayName string `json:"display_name,omitempty"`
		AvatarURL   string `json:"avatar_url"` // "" where there is none: many clients expect the member
	}
	return map[string]any{"joined": r.later('{', r.stateSize(room), func(add addLater) error {
		return a.config.Rooms.EachJoined(r.Context(), r.user, room, func(member *event.Event) error {
			return add(func(dst []byte) ([]byte, error) {
				user, _ := member.StateKey()
				shown, err := marshal(profile{contentText(member, "displayname"), contentText(member, "avatar_url")})
				return append(append(canonicaljson.AppendString(dst, user), ':'), shown...), err
			})
		})
	})}, nil
}
