package server

import (
	"hanse/federation"
	"hanse/federation/id"
)

// directory is GET /query/directory.
//
// spec:server-server-api#querying-for-information
func (a *api) directory(q *request) (any, error) {
	text := q.URL.Query().Get("room_alias")
	if text == "" {
		return nil, federation.MissingParam("room_alias is missing")
	}
	alias, err := id.ParseRoomAlias(text)
	if err != nil {
		return nil, federation.InvalidParam("room_alias is not a room alias")
	}
	return a.Handlers.Directory.Directory(q.ctx(), q.origin, alias)
}

// profile is GET /query/profile.
//
// spec:server-server-api#querying-for-information
func (a *api) profile(q *request) (any, error) {
	text := q.URL.Query().Get("user_id")
	if text == "" {
		return nil, federation.MissingParam("user_id is missing")
	}
	user, err := id.ParseUserID(text)
	if err != nil {
		return nil, federation.InvalidParam("user_id is not a user ID")
	}
	field, err := q.text("field")
	if err != nil {
		return nil, err
	}
	answer, err := a.Handlers.Profiles.Profile(q.ctx(), q.origin, federation.ProfileRequest{UserID: user, Field: field})
	if answer == nil {
		answer = federation.ProfileResponse{}
	}
	return answer, err
}

// publicRooms is GET /publicRooms.
//
// spec:server-server-api#published-room-directory
func (a *api) publicRooms(q *request) (any, error) {
	var wanted federation.PublicRoomsRequest
	limit, _, err := q.number("limit")
	if err != nil {
		return nil, err
	}
	wanted.Limit = int(min(limit, federation.MaxListPDUs))
	if wanted.Since, err = q.text("since"); err != nil {
		return nil, err
	}
	if wanted.ThirdPartyInstanceID, err = q.text("third_party_instance_id"); err != nil {
		return nil, err
	}
	if wanted.IncludeAllNetworks, err = q.truth("include_all_networks"); err != nil {
		return nil, err
	}
	return a.Handlers.Directory.PublicRooms(q.ctx(), q.origin, wanted)
}

// filteredPublicRooms is POST /publicRooms.
//
// spec:server-server-api#published-room-directory
func (a *api) filteredPublicRooms(q *request) (any, error) {
	var wanted federation.PublicRoomsRequest
	if err := decode(q, &wanted); err != nil {
		return nil, err
	}
	wanted.Limit = min(max(wanted.Limit, 0), federation.MaxListPDUs)
	return a.Handlers.Directory.PublicRooms(q.ctx(), q.origin, wanted)
}
