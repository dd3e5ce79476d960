package server

import (
	"fmt"

	"hanse/federation"
	"hanse/federation/canonicaljson"
	"hanse/federation/roomversion"
)

// makeRequest reads what make_join, make_leave and make_knock have in common.
func makeRequest(q *request) (out federation.MakeRequest, err error) {
	if out.RoomID, err = q.roomID(); err != nil {
		return out, err
	}
	if out.UserID, err = q.userID(); err != nil {
		return out, err
	}
	versions := q.URL.Query()["ver"]
	if len(versions) > federation.MaxRoomVersions {
		return out, federation.InvalidParam(fmt.Sprintf("more than %d room versions", federation.MaxRoomVersions))
	}
	for _, version := range versions {
		out.Versions = append(out.Versions, roomversion.Version(version))
	}
	return out, nil
}

// sendRequest reads what send_join, send_leave and send_knock have in common.
func sendRequest(q *request) (out federation.SendRequest, err error) {
	if out.RoomID, err = q.roomID(); err != nil {
		return out, err
	}
	if out.EventID, err = q.eventID(); err != nil {
		if _, wrong := canonicaljson.Append(nil, q.body, canonicaljson.Strict); wrong != nil {
			err = wrongBody(q.body, wrong.Error()) // says more than the path that goes with it
		}
		return out, err
	}
	out.Event = q.body
	return out, nil
}

// makeJoin is GET /make_join/{roomID}/{userID}.
//
// spec:server-server-api#joining-rooms
func (a *api) makeJoin(q *request) (any, error) {
	wanted, err := makeRequest(q)
	if err != nil {
		return nil, err
	}
	if len(wanted.Versions) == 0 {
		wanted.Versions = []roomversion.Version{roomversion.V1} // the parameter's default
	}
	return a.Handlers.Joins.MakeJoin(q.ctx(), q.origin, wanted)
}

// sendJoinV2 is PUT /v2/send_join/{roomID}/{eventID}.
//
// spec:server-server-api#joining-rooms
func (a *api) sendJoinV2(q *request) (any, error) {
	join, err := sendRequest(q)
	if err != nil {
		return nil, err
	}
	if join.OmitMembers, err = q.truth("omit_members"); err != nil {
		return nil, err
	}
	answer, err := a.Handlers.Joins.SendJoin(q.ctx(), q.origin, join)
	return &answer, err
}

// sendJoinV1 is PUT /v1/send_join/{roomID}/{eventID}, as old servers call it.
//
// spec:server-server-api#joining-rooms
func (a *api) sendJoinV1(q *request) (any, error) {
	join, err := sendRequest(q)
	if err != nil {
		return nil, err
	}
	answer, err := a.Handlers.Joins.SendJoin(q.ctx(), q.origin, join)
	if answer.Origin == "" {
		answer.Origin = a.Self
	}
	return pair{&answer}, err
}

// makeLeave is GET /make_leave/{roomID}/{userID}.
//
// spec:server-server-api#leaving-rooms-rejecting-invites
func (a *api) makeLeave(q *request) (any, error) {
	wanted, err := makeRequest(q)
	if err != nil {
		return nil, err
	}
	return a.Handlers.Leaves.MakeLeave(q.ctx(), q.origin, wanted)
}

// sendLeaveV2 is PUT /v2/send_leave/{roomID}/{eventID}.
//
// spec:server-server-api#leaving-rooms-rejecting-invites
func (a *api) sendLeaveV2(q *request) (any, error) {
	leave, err := sendRequest(q)
	if err != nil {
		return nil, err
	}
	return federation.SendLeaveResponse{}, a.Handlers.Leaves.SendLeave(q.ctx(), q.origin, leave)
}

// sendLeaveV1 is PUT /v1/send_leave/{roomID}/{eventID}, as old servers call it.
//
// spec:server-server-api#leaving-rooms-rejecting-invites
func (a *api) sendLeaveV1(q *request) (any, error) {
	answer, err := a.sendLeaveV2(q)
	return pair{answer}, err
}

// makeKnock is GET /make_knock/{roomID}/{userID}.
//
// spec:server-server-api#knocking-rooms
func (a *api) makeKnock(q *request) (any, error) {
	wanted, err := makeRequest(q)
	if err != nil {
		return nil, err
	}
	if len(wanted.Versions) == 0 {
		return nil, federation.MissingParam("ver is missing")
	}
	return a.Handlers.Knocks.MakeKnock(q.ctx(), q.origin, wanted)
}

// sendKnock is PUT /send_knock/{roomID}/{eventID}.
//
// spec:server-server-api#knocking-rooms
func (a *api) sendKnock(q *request) (any, error) {
	knock, err := sendRequest(q)
	if err != nil {
		return nil, err
	}
	return a.Handlers.Knocks.SendKnock(q.ctx(), q.origin, knock)
}
