package clientapi

import (
	"context"
	"encoding/json"
	"net/http"

	"hanse/federation/id"
	"hanse/node/rooms"
)

// memberRoutes are what a user does to the membership of another: inviting.yaml, kicking.yaml and banning.yaml of the
// specification, which differ in one word.
func (a *API) memberRoutes() []route {
	return []route{
		{http.MethodPost, "/rooms/{roomId}/invite", stable, withUser, joins, a.invite},
		{http.MethodPost, "/rooms/{roomId}/kick", stable, withUser, sendsEvent, a.kick},
		{http.MethodPost, "/rooms/{roomId}/ban", stable, withUser, sendsEvent, a.ban},
		{http.MethodPost, "/rooms/{roomId}/unban", stable, withUser, sendsEvent, a.unban},
	}
}

// spec:client-server-api#post_matrixclientv3roomsroomidinvite
func (a *API) invite(r *request) (any, error) { return a.changeMember(r, a.config.Rooms.Invite) }

// spec:client-server-api#post_matrixclientv3roomsroomidkick
func (a *API) kick(r *request) (any, error) {
	return a.changeMember(r, func(ctx context.Context, req rooms.MembershipRequest) error {
		if req.Target == req.Sender {
			if err := a.mayLeave(ctx, req.Sender, req.Room); err != nil {
				return err
			}
		}
		return a.config.Rooms.Kick(ctx, req)
	})
}

// spec:client-server-api#post_matrixclientv3roomsroomidban
func (a *API) ban(r *request) (any, error) { return a.changeMember(r, a.config.Rooms.Ban) }

// spec:client-server-api#post_matrixclientv3roomsroomidunban
func (a *API) unban(r *request) (any, error) { return a.changeMember(r, a.config.Rooms.Unban) }

func (a *API) changeMember(r *request, change func(context.Context, rooms.MembershipRequest) error) (any, error) {
	var req struct {
		UserID  string          `json:"user_id"`
		Reason  string          `json:"reason"`
		Medium  string          `json:"medium"`
		Address json.RawMessage `json:"address"`
	}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	switch {
	case req.UserID == "" && (req.Medium != "" || len(req.Address) > 0):
		return nil, forbidden("this server has no identity server: invite by user ID, not by address")
	case req.UserID == "":
		return nil, missingParam("user_id")
	case len(req.Reason) > maxReasonBytes:
		return nil, invalidParam("the reason has at most %d bytes", maxReasonBytes)
	}
	target, err := id.ParseUserID(req.UserID)
	if err != nil {
		return nil, invalidParam("%q is not a user ID", req.UserID)
	}
	return nil, change(r.Context(), rooms.MembershipRequest{Room: room, Sender: r.user, Target: target, Reason: req.Reason})
}
