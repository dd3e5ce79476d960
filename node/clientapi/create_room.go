package clientapi

import (
	"encoding/json"
	"net/http"

	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/node/rooms"
)

func (a *API) createRoomRoutes() []route {
	return []route{{http.MethodPost, "/createRoom", stable, withUser, joins, a.createRoom}}
}

// createRoomRequest is the body of /createRoom.
type createRoomRequest struct {
	Visibility      string             `json:"visibility"`
	Alias           string             `json:"room_alias_name"`
	Name            string             `json:"name"`
	Topic           string             `json:"topic"`
	Invite          []string           `json:"invite"`
	Invite3PID      []json.RawMessage  `json:"invite_3pid"`
	Version         string             `json:"room_version"`
	CreationContent json.RawMessage    `json:"creation_content"`
	InitialState    []initialStateForm `json:"initial_state"`
	Preset          string             `json:"preset"`
	Direct          bool               `json:"is_direct"`
	PowerLevels     json.RawMessage    `json:"power_level_content_override"`
}

type initialStateForm struct {
	Type     string          `json:"type"`
	StateKey string          `json:"state_key"`
	Content  json.RawMessage `json:"content"`
}

// spec:client-server-api#post_matrixclientv3createroom
func (a *API) createRoom(r *request) (any, error) {
	var req createRoomRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	create, err := a.creation(r, req)
	if err != nil {
		return nil, err
	}
	room, err := a.config.Rooms.Create(r.Context(), create)
	if err != nil {
		return nil, err
	}
	answer := map[string]any{"room_id": room}
	if req.Alias != "" { // not in the specification any more, but Synapse gives it, and tools look for it
		answer["room_alias"] = "#" + req.Alias + ":" + string(a.config.Self)
	}
	return answer, nil
}

// creation checks the forms of a request; what the room's rules say is for node/rooms.
func (a *API) creation(r *request, req createRoomRequest) (rooms.CreateRequest, error) {
	create := rooms.CreateRequest{
		Creator: r.user, Version: roomversion.Version(req.Version), Preset: req.Preset, Visibility: req.Visibility,
		Alias: req.Alias, Name: req.Name, Topic: req.Topic, Invite3PID: len(req.Invite3PID), Direct: req.Direct,
	}
	if create.Version == "" {
		create.Version = a.config.DefaultRoomVersion
	}
	if req.Alias != "" {
		alias, err := id.ParseRoomAlias("#" + req.Alias + ":" + string(a.config.Self))
		if err != nil || alias.Localpart() != req.Alias {
			return create, invalidParam("room_alias_name is not the local part of an alias")
		}
		if err := a.config.Directory.CheckNew(alias); err != nil {
			return create, err
		}
		if err := a.mayName(r, alias); err != nil {
			return create, err
		}
	}
	switch {
	case len(req.Invite) > maxInvites:
		return create, invalidParam("at most %d users can be invited at once", maxInvites)
	case len(req.InitialState) > maxInitialState:
		return create, invalidParam("initial_state has at most %d events", maxInitialState)
	}
	for _, text := range req.Invite {
		user, err := id.ParseUserID(text)
		if err != nil {
			return create, invalidParam("invite: %q is not a user ID", text)
		}
		create.Invite = append(create.Invite, user)
	}
	for i, e := range req.InitialState {
		if e.Type == "" || !isObject(e.Content) {
			return create, badJSON("initial_state[%d] needs a type and a content that is an object", i)
		}
		create.InitialState = append(create.InitialState, rooms.StateEvent{Type: e.Type, StateKey: e.StateKey, Content: e.Content})
	}
	var err error
	if create.CreationContent, err = optionalObject("creation_content", req.CreationContent); err != nil {
		return create, err
	}
	create.PowerLevelOverride, err = optionalObject("power_level_content_override", req.PowerLevels)
	return create, err
}

// optionalObject takes an object, or null for none.
func optionalObject(name string, raw json.RawMessage) (json.RawMessage, error) {
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return nil, nil
	case !isObject(raw):
		return nil, badJSON("%s is not an object", name)
	}
	return raw, nil
}
