package server

import (
	"hanse/federation"
	"hanse/federation/roomversion"
)

// inviteV2 is PUT /v2/invite/{roomID}/{eventID}.
//
// spec:server-server-api#inviting-to-a-room
func (a *api) inviteV2(q *request) (any, error) {
	sent, err := sendRequest(q)
	if err != nil {
		return nil, err
	}
	var body federation.InviteRequestV2
	if err := decode(q, &body); err != nil {
		return nil, err
	}
	return a.invite(q, federation.InviteRequest{
		RoomID: sent.RoomID, EventID: sent.EventID,
		RoomVersion: body.RoomVersion, Event: body.Event, InviteRoomState: body.InviteRoomState,
	})
}

// inviteV1 is PUT /v1/invite/{roomID}/{eventID}, as old servers call it.
//
// spec:server-server-api#inviting-to-a-room
func (a *api) inviteV1(q *request) (any, error) {
	sent, err := sendRequest(q)
	if err != nil {
		return nil, err
	}
	var body federation.InviteRequestV1
	if err := decode(q, &body); err != nil {
		return nil, err
	}
	answer, err := a.invite(q, federation.InviteRequest{
		RoomID: sent.RoomID, EventID: sent.EventID,
		RoomVersion: roomversion.V1, Event: body.Event, InviteRoomState: body.InviteRoomState,
	})
	return pair{answer}, err
}

func (a *api) invite(q *request, invite federation.InviteRequest) (any, error) {
	event, err := a.Handlers.Invites.Invite(q.ctx(), q.origin, invite)
	return federation.InviteResponse{Event: event}, err
}
