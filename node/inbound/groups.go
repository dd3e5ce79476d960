package inbound

import (
	"context"
	"encoding/json"
	"fmt"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/rooms"
)

// invites is server.InviteHandler.
type invites struct{ rooms *rooms.Rooms }

func (h invites) Invite(ctx context.Context, origin id.ServerName, q federation.InviteRequest) (json.RawMessage, error) {
	signed, err := h.rooms.ReceiveInvite(ctx, origin, q)
	if err != nil {
		return nil, err
	}
	return signed.JSON(), nil
}

// events is server.EventHandler.
type events struct{ rooms *rooms.Rooms }

func (h events) Event(ctx context.Context, origin id.ServerName, event id.EventID) (json.RawMessage, error) {
	return h.rooms.PDU(ctx, origin, event)
}

func (h events) State(ctx context.Context, origin id.ServerName, q federation.StateRequest) (federation.StateResponse, error) {
	return h.rooms.ServerState(ctx, origin, q)
}

func (h events) StateIDs(ctx context.Context, origin id.ServerName, q federation.StateRequest) (federation.StateIDsResponse, error) {
	return h.rooms.ServerStateIDs(ctx, origin, q)
}

func (h events) EventAuth(ctx context.Context, origin id.ServerName, q federation.EventAuthRequest) (federation.EventAuthResponse, error) {
	return h.rooms.EventAuth(ctx, origin, q)
}

func (h events) Backfill(ctx context.Context, origin id.ServerName, q federation.BackfillRequest) ([]json.RawMessage, error) {
	return h.rooms.ServerBackfill(ctx, origin, q)
}

func (h events) MissingEvents(ctx context.Context, origin id.ServerName, q federation.MissingEventsRequest) ([]json.RawMessage, error) {
	return h.rooms.ServerMissingEvents(ctx, origin, q)
}

func (h events) TimestampToEvent(ctx context.Context, origin id.ServerName, q federation.TimestampRequest) (federation.TimestampResponse, error) {
	return h.rooms.ServerTimestampToEvent(ctx, origin, q)
}

// directory is server.DirectoryHandler. What is published is published to all servers alike.
type directory struct{ of Directory }

func (h directory) Directory(ctx context.Context, _ id.ServerName, alias id.RoomAlias) (federation.DirectoryResponse, error) {
	return h.of.Local(ctx, alias)
}

func (h directory) PublicRooms(ctx context.Context, _ id.ServerName, q federation.PublicRoomsRequest) (federation.PublicRoomsResponse, error) {
	return h.of.PublicRooms(ctx, q)
}

// profiles is server.ProfileHandler.
type profiles struct {
	of   Profiles
	self id.ServerName
}

// Profile answers with the whole profile, or with one field of it. Without a display name or an avatar it is a profile all the same; another
// field that isn't set is not found: the specification says both of fields, and this is what Synapse does.
//
// spec:server-server-api#get_matrixfederationv1queryprofile
func (h profiles) Profile(ctx context.Context, _ id.ServerName, q federation.ProfileRequest) (federation.ProfileResponse, error) {
	if q.UserID.Server() != h.self {
		return nil, federation.NotFound(fmt.Sprintf("%s is not of this server", q.UserID))
	}
	fields, err := h.of.ProfileFields(ctx, q.UserID)
	if err != nil || q.Field == "" {
		return fields, err
	}
	value, set := fields[q.Field]
	switch {
	case set:
		return federation.ProfileResponse{q.Field: value}, nil
	case q.Field == "displayname" || q.Field == "avatar_url": // which every profile has, be it empty
		return federation.ProfileResponse{}, nil
	}
	return nil, federation.NotFound("this profile has no such field")
}
