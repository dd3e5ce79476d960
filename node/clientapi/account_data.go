package clientapi

import (
	"encoding/json"
	"net/http"

	"hanse/federation"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/node/push"
)

func (a *API) accountDataRoutes() []route {
	return []route{
		{http.MethodGet, "/user/{userId}/account_data/{type}", stable, withUser, ordinary, a.getAccountData},
		{http.MethodPut, "/user/{userId}/account_data/{type}", stable, withUser, ordinary, a.setAccountData},
		{http.MethodGet, "/user/{userId}/rooms/{roomId}/account_data/{type}", stable, withUser, ordinary, a.getRoomAccountData},
		{http.MethodPut, "/user/{userId}/rooms/{roomId}/account_data/{type}", stable, withUser, ordinary, a.setRoomAccountData},
	}
}

// spec:client-server-api#get_matrixclientv3useruseridaccount_datatype
func (a *API) getAccountData(r *request) (any, error) {
	if err := r.ownUser(); err != nil {
		return nil, err
	}
	if r.PathValue("type") == push.AccountDataType {
		return a.pushRules(r)
	}
	return a.config.Users.AccountData(r.Context(), r.user, "", r.PathValue("type"))
}

// spec:client-server-api#put_matrixclientv3useruseridaccount_datatype
func (a *API) setAccountData(r *request) (any, error) {
	if err := r.ownUser(); err != nil {
		return nil, err
	}
	return a.putAccountData(r, "")
}

// spec:client-server-api#get_matrixclientv3useruseridroomsroomidaccount_datatype
func (a *API) getRoomAccountData(r *request) (any, error) {
	if err := r.ownUser(); err != nil {
		return nil, err
	}
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	return a.config.Users.AccountData(r.Context(), r.user, room, r.PathValue("type"))
}

// spec:client-server-api#put_matrixclientv3useruseridroomsroomidaccount_datatype
func (a *API) setRoomAccountData(r *request) (any, error) {
	if err := r.ownUser(); err != nil {
		return nil, err
	}
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	return a.putAccountData(r, room)
}

func (a *API) putAccountData(r *request, room id.RoomID) (any, error) {
	typ := r.PathValue("type")
	if typ == "m.push_rules" || typ == "m.fully_read" {
		return nil, &federation.Error{Status: http.StatusMethodNotAllowed, Code: "M_BAD_JSON",
			Message: typ + " is the server's; it has an endpoint of its own"}
	}
	content, err := r.object()
	if err != nil {
		return nil, err
	}
	return nil, a.config.Users.SetAccountData(r.Context(), r.user, room, typ, content)
}

// sets reads an account data content that is a map of things, as far as it is one.
func sets(raw json.RawMessage, key string) map[string]json.RawMessage {
	var whole map[string]json.RawMessage
	var inner map[string]json.RawMessage
	if exactjson.Unmarshal(raw, &whole) != nil || exactjson.Unmarshal(whole[key], &inner) != nil || inner == nil {
		return make(map[string]json.RawMessage)
	}
	return inner
}
