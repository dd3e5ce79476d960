package clientapi

import (
	"net/http"

	"hanse/federation/id"
)

func (a *API) reportRoutes() []route {
	return []route{
		{http.MethodPost, "/rooms/{roomId}/report", stable, withUser, ordinary, a.reportRoom},
		{http.MethodPost, "/rooms/{roomId}/report/{eventId}", stable, withUser, ordinary, a.reportEvent},
		{http.MethodPost, "/users/{userId}/report", stable, withUser, ordinary, a.reportUser},
	}
}

// reason reads why something is reported; needed says that it must be there, be it empty.
func (r *request) reason(needed bool) (string, error) {
	var req struct {
		Reason *string `json:"reason"`
	}
	switch err := r.decodeOptional(&req); {
	case err != nil:
		return "", err
	case req.Reason == nil && needed:
		return "", missingParam("reason")
	case req.Reason == nil:
		return "", nil
	}
	return *req.Reason, nil
}

// reportRoom takes a report of any room that this server knows; who reports need not be in it.
//
// spec:client-server-api#post_matrixclientv3roomsroomidreport
func (a *API) reportRoom(r *request) (any, error) {
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	reason, err := r.reason(true)
	if err != nil {
		return nil, err
	}
	if _, known, err := a.config.Rooms.Info(r.Context(), room); err != nil || !known {
		return nil, orNotFound(err, "this server doesn't know the room")
	}
	return nil, a.config.Users.Report(r.Context(), r.user, room, "", "", reason)
}

// reportEvent takes a report of an event that the user may see, of a room that they are in.
//
// spec:client-server-api#post_matrixclientv3roomsroomidreporteventid
func (a *API) reportEvent(r *request) (any, error) {
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	event, err := r.eventID()
	if err != nil {
		return nil, err
	}
	reason, err := r.reason(false)
	if err != nil {
		return nil, err
	}
	membership, err := a.config.Users.MembershipIn(r.Context(), r.user, room)
	if err != nil || membership != "join" {
		return nil, orNotFound(err, "there is no such event, or you are not in its room")
	}
	if _, err := a.config.Rooms.Event(r.Context(), r.user, room, event); err != nil {
		return nil, err
	}
	return nil, a.config.Users.Report(r.Context(), r.user, room, event, "", reason)
}

// reportUser takes a report of a user of ours, or of any user of another server: which of those exist is not for us to tell.
//
// spec:client-server-api#post_matrixclientv3usersuseridreport
func (a *API) reportUser(r *request) (any, error) {
	user, err := id.ParseUserID(r.PathValue("userId"))
	if err != nil {
		return nil, invalidParam("%q is not a user ID", r.PathValue("userId"))
	}
	reason, err := r.reason(true)
	if err != nil {
		return nil, err
	}
	if user.Server() == a.config.Self {
		if there, err := a.config.Users.Exists(r.Context(), user); err != nil || !there {
			return nil, orNotFound(err, "there is no such user")
		}
	}
	return nil, a.config.Users.Report(r.Context(), r.user, "", "", user, reason)
}

// orNotFound is our own trouble if there was any, else M_NOT_FOUND.
func orNotFound(err error, message string) error {
	if err != nil {
		return err
	}
	return notFound("%s", message)
}
