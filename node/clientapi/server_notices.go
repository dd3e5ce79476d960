package clientapi

import (
	"context"
	"encoding/json"
	"net/http"

	"hanse/federation"
	"hanse/federation/canonicaljson"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/node/rooms"
)

// Server notices: what the server itself has to say to one of its users, in a room of that user's for it. How they are ordered is no
// part of the specification; administrators' tools know this form.
//
// spec:client-server-api/modules/server_notices#server-behaviour
func (a *API) serverNoticeRoutes() []route {
	return []route{
		{http.MethodPost, noticePath, unversioned, withUser, sendsEvent, a.sendNotice},
		{http.MethodPut, noticePath + "/{txnId}", unversioned, withUser, sendsEvent, a.sendNotice},
	}
}

const (
	noticePath = "/_synapse/admin/v1/send_server_notice"
	noticeTag  = "m.server_notice"
	noticeName = "Server notices" // of the room, and of who speaks in it
	// noticeLevels has nobody but the server speak, invite or change anything.
	noticeLevels = `{"users_default":-10}`
)

// noticeUser is who sends notices. Nobody can log in as them: user names that begin with _ aren't given to people.
func (a *API) noticeUser() id.UserID { return id.UserID("@_server:" + string(a.config.Self)) }

func (a *API) sendNotice(r *request) (any, error) {
	if !r.admin {
		return nil, forbidden("this is for administrators of the server alone")
	}
	txn, err := r.txnID()
	if err != nil {
		return nil, err
	}
	var req struct {
		User     string          `json:"user_id"`
		Content  json.RawMessage `json:"content"`
		Type     string          `json:"type"` // "": m.room.message
		StateKey *string         `json:"state_key"`
	}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	switch {
	case req.User == "":
		return nil, missingParam("user_id")
	case len(req.Content) == 0:
		return nil, missingParam("content")
	case req.Type == "":
		req.Type = "m.room.message"
	}
	target, err := id.ParseUserID(req.User)
	if err != nil || target.Server() != a.config.Self || target == a.noticeUser() {
		return nil, invalidParam("user_id must be a user of this server")
	}
	content, err := canonicaljson.Append(nil, req.Content, canonicaljson.Lenient)
	if err != nil || !canonicaljson.IsObject(content) {
		return nil, badJSON("content must be an object of JSON as Matrix has it")
	}
	if active, err := a.config.Users.Active(r.Context(), target); err != nil || !active {
		if err == nil {
			err = notFound("there is no user %s", target)
		}
		return nil, err
	}
	ctx, cancel := r.detached() // the room is made once
	defer cancel()
	room, err := a.inviteToNotices(ctx, target)
	if err != nil {
		return nil, err
	}
	return r.send(rooms.SendRequest{
		Room: room, Sender: a.noticeUser(), Type: req.Type, StateKey: req.StateKey, Content: content,
		Device: string(r.user) + " " + r.txnDevice(), TxnID: txn,
	})
}

// noticeRoom is the room in which a user gets notices; "" if there is none yet. The server's own user remembers it, in account data
// whose type is the user.
func (a *API) noticeRoom(ctx context.Context, user id.UserID) (id.RoomID, error) {
	data, err := a.config.Users.AccountData(ctx, a.noticeUser(), "", string(user))
	if err != nil {
		if isNotFound(err) {
			err = nil
		}
		return "", err
	}
	var room struct {
		ID id.RoomID `json:"room_id"`
	}
	return room.ID, exactjson.Unmarshal(data, &room)
}

// inviteToNotices makes the room in which a user gets notices, unless it is there, and invites them, unless they are in it.
func (a *API) inviteToNotices(ctx context.Context, user id.UserID) (id.RoomID, error) {
	a.noticing.Lock()
	defer a.noticing.Unlock()
	room, err := a.noticeRoom(ctx, user)
	if err == nil && room == "" {
		room, err = a.makeNoticeRoom(ctx, user)
	}
	if err != nil {
		return "", err
	}
	membership, err := a.config.Users.MembershipIn(ctx, user, room)
	if err != nil || membership == "invite" || membership == "join" {
		return room, err
	}
	return room, a.config.Rooms.Invite(ctx, rooms.MembershipRequest{Room: room, Sender: a.noticeUser(), Target: user})
}

func (a *API) makeNoticeRoom(ctx context.Context, user id.UserID) (id.RoomID, error) {
	if err := a.config.Users.EnsureServiceUser(ctx, a.noticeUser()); err != nil {
		return "", err
	}
	if _, err := a.config.Users.SetProfileField(ctx, a.noticeUser(), "displayname", json.RawMessage(`"`+noticeName+`"`)); err != nil {
		return "", err
	}
	room, err := a.config.Rooms.Create(ctx, rooms.CreateRequest{
		Creator: a.noticeUser(), Version: a.config.DefaultRoomVersion, Preset: "private_chat", Name: noticeName,
		PowerLevelOverride: json.RawMessage(noticeLevels),
	})
	if err != nil {
		return "", err
	}
	if err := a.config.Users.KeepAccountData(ctx, user, room, tagType, json.RawMessage(`{"tags":{"`+noticeTag+`":{}}}`)); err != nil {
		return "", err
	}
	content, err := marshal(map[string]any{"room_id": room})
	if err != nil {
		return "", err
	}
	return room, a.config.Users.KeepAccountData(ctx, a.noticeUser(), "", string(user), content)
}

// mayLeave is nil unless the room is that of the user's notices, to which they are invited: such an invite can't be rejected. Who has
// joined may leave.
//
// spec:client-server-api/modules/server_notices#client-behaviour
func (a *API) mayLeave(ctx context.Context, user id.UserID, room id.RoomID) error {
	if notices, err := a.noticeRoom(ctx, user); err != nil || notices != room {
		return err
	}
	if membership, err := a.config.Users.MembershipIn(ctx, user, room); err != nil || membership != "invite" {
		return err
	}
	return &federation.Error{Status: http.StatusForbidden, Code: "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM",
		Message: "an invite to the server's notices can't be rejected; join the room, then you can leave it"}
}
