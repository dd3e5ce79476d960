package directory

import (
	"context"
	"slices"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/store"
)

// mayEnter says what a room's rules alone say about who may join or read it: everybody, or those in one of some rooms.
func mayEnter(s federation.RoomSummary) (everybody bool, members []id.RoomID) {
	switch s.JoinRule {
	case "", "public", "knock", "knock_restricted":
		return true, nil
	case "restricted":
		return s.WorldReadable, s.AllowedRoomIDs
	}
	return s.WorldReadable, nil
}

// shownToUser tells whether a user is shown a room: they are in it, are invited, or may join, knock or read.
//
// spec:client-server-api#get_matrixclientv1roomsroomidhierarchy
func (d *Directory) shownToUser(ctx context.Context, user id.UserID, s federation.RoomSummary) (bool, error) {
	member, ok, err := d.store.Membership(ctx, s.RoomID, user)
	switch {
	case err != nil:
		return false, err
	case ok && (member.Membership == "join" || member.Membership == "invite"):
		return true, nil
	case ok && member.Membership == "ban":
		return s.WorldReadable, nil
	}
	everybody, rooms := mayEnter(s)
	for _, room := range rooms {
		if everybody {
			break
		}
		member, ok, err := d.store.Membership(ctx, room, user)
		if err != nil {
			return false, err
		}
		everybody = ok && member.Membership == "join"
	}
	return everybody, nil
}

// shownToServer tells whether a server is told of a room: it is in it, has users who are invited, or its users may join,
// knock or read.
func (d *Directory) shownToServer(ctx context.Context, server id.ServerName, s federation.RoomSummary) (bool, error) {
	everybody, rooms := mayEnter(s)
	if everybody {
		return true, nil
	}
	for _, room := range append([]id.RoomID{s.RoomID}, rooms...) {
		servers, err := d.store.ServersIn(ctx, room)
		if err != nil {
			return false, err
		}
		if _, in := servers[server]; in {
			return true, nil
		}
	}
	invited, err := d.store.Members(ctx, s.RoomID, store.MemberFilter{Membership: "invite"})
	return slices.ContainsFunc(invited, func(m store.Membership) bool { return m.User.Server() == server }), err
}
