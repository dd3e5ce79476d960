package clientapi

import (
	"net/http"
	"slices"

	"hanse/node/rooms"
)

func (a *API) initialSyncRoutes() []route {
	return []route{{http.MethodGet, "/rooms/{roomId}/initialSync", stable, withUser, ordinary, a.roomInitialSync}}
}

// roomInitialSync is a look into a room that the user is in, was in, or may read without.
//
// spec:client-server-api#get_matrixclientv3roomsroomidinitialsync
func (a *API) roomInitialSync(r *request) (any, error) {
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	state, err := a.config.Rooms.State(r.Context(), r.user, room)
	if err != nil {
		return nil, err
	}
	page, err := a.config.Rooms.Messages(r.Context(), rooms.MessagesRequest{User: r.user, Room: room, Backwards: true, Limit: previewMessages})
	if err != nil {
		return nil, err
	}
	slices.Reverse(page.Events)
	chunk, err := r.decorated(page.Events)
	if err != nil {
		return nil, err
	}
	published, err := a.config.Directory.Published(r.Context(), room)
	if err != nil {
		return nil, err
	}
	visibility := "private"
	if published {
		visibility = "public"
	}
	answer := map[string]any{
		"room_id": room, "state": plainEvents(state), "visibility": visibility,
		"messages": map[string]any{"chunk": chunk, "start": formatPoint(page.End), "end": formatPoint(page.Start)},
	}
	if membership, err := a.config.Users.MembershipIn(r.Context(), r.user, room); err != nil {
		return nil, err
	} else if membership != "" {
		answer["membership"] = membership
	}
	return answer, nil
}
