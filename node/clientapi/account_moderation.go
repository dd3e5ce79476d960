package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"hanse/federation"
	"hanse/federation/canonicaljson"
	"hanse/federation/id"
	"hanse/node/rooms"
	"hanse/node/users"
)

func (a *API) accountModerationRoutes() []route {
	return []route{
		{http.MethodGet, "/admin/lock/{userId}", v1, withUser, ordinary, a.isLocked},
		{http.MethodPut, "/admin/lock/{userId}", v1, withUser, ordinary, a.setLocked},
		{http.MethodGet, "/admin/suspend/{userId}", v1, withUser, ordinary, a.isSuspended},
		{http.MethodPut, "/admin/suspend/{userId}", v1, withUser, ordinary, a.setSuspended},
	}
}

// spec:client-server-api#get_matrixclientv1adminlockuserid
func (a *API) isLocked(r *request) (any, error) {
	user, err := a.moderated(r)
	return map[string]bool{"locked": a.config.Users.Restrictions(user).Locked}, err
}

// spec:client-server-api#put_matrixclientv1adminlockuserid
func (a *API) setLocked(r *request) (any, error) {
	return a.moderate(r, "locked", a.config.Users.Lock)
}

// spec:client-server-api#get_matrixclientv1adminsuspenduserid
func (a *API) isSuspended(r *request) (any, error) {
	user, err := a.moderated(r)
	return map[string]bool{"suspended": a.config.Users.Restrictions(user).Suspended}, err
}

// spec:client-server-api#put_matrixclientv1adminsuspenduserid
func (a *API) setSuspended(r *request) (any, error) {
	return a.moderate(r, "suspended", a.config.Users.Suspend)
}

// moderated reads the path's {userId}: a user of this server whom the one who asks may look after. That it is an administrator who
// asks is checked first, so that nobody else learns which accounts there are.
func (a *API) moderated(r *request) (id.UserID, error) {
	if !r.admin {
		return "", forbidden("this is for administrators of the server alone")
	}
	user, err := id.ParseUserID(r.PathValue("userId"))
	switch {
	case err != nil:
		return "", invalidParam("%q is not a user ID", r.PathValue("userId"))
	case user.Server() != a.config.Self:
		return "", invalidParam("%s is not a user of this server", user)
	}
	admin, err := a.config.Users.Administrator(r.Context(), user)
	if err == nil && admin && user != r.user {
		err = forbidden("%s is an administrator too", user)
	}
	return user, err
}

// moderate carries out the body, which has one member.
func (a *API) moderate(r *request, member string, set func(context.Context, id.UserID, bool) error) (any, error) {
	user, err := a.moderated(r)
	switch {
	case err != nil:
		return nil, err
	case user == r.user:
		return nil, forbidden("you can't do this to your own account")
	}
	var body map[string]json.RawMessage
	if err := r.decode(&body); err != nil {
		return nil, err
	}
	var on bool
	switch string(body[member]) {
	case "":
		return nil, missingParam(member)
	case "true":
		on = true
	case "false":
	default:
		return nil, badJSON("%s must be true or false", member)
	}
	return map[string]bool{member: on}, set(r.Context(), user, on)
}

// unrestricted is nil if the account is not locked, suspended or a guest's, or what is asked is allowed all the same.
func (a *API) unrestricted(r *request, route route) error {
	switch now := a.config.Users.Restrictions(r.user); {
	case now.Locked && !lockedMay(route):
		return users.ErrLocked
	case now.Suspended && suspendedMayNot(route):
		return suspended("this can't be done while the account is suspended")
	case now.Guest && !guestMay(r, route):
		return guestsMayNot()
	}
	return nil
}

// whileUnlocked is the error of a request that has waited: that of the lock if that ended it, whatever else came of it.
func whileUnlocked(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), users.ErrLocked) {
		return users.ErrLocked
	}
	return err
}

// lockedMay tells what a locked user may still do.
//
// spec:client-server-api#account-locking
func lockedMay(route route) bool { return route.path == "/logout" || route.path == "/logout/all" }

// suspendedMayNot tells what a suspended user may not do; of events that are sent maySend decides. To the specification's list are
// added what comes to the same (making rooms, changing others' memberships), and what is made for others: files, aliases,
// published rooms. That somebody reads, types or is there may be seen.
//
// spec:client-server-api#account-suspension
func suspendedMayNot(route route) bool {
	switch route.method + " " + route.path {
	case "POST /join/{roomIdOrAlias}", "POST /rooms/{roomId}/join", "POST /knock/{roomIdOrAlias}",
		"POST /rooms/{roomId}/invite", "POST /rooms/{roomId}/kick", "POST /rooms/{roomId}/ban", "POST /rooms/{roomId}/unban",
		"POST /createRoom", "POST /rooms/{roomId}/upgrade",
		"PUT /profile/{userId}/{keyName}", "DELETE /profile/{userId}/{keyName}",
		"POST /upload", "PUT /upload/{serverName}/{mediaId}", "POST /create",
		"PUT /directory/room/{roomAlias}", "DELETE /directory/room/{roomAlias}", "PUT /directory/list/room/{roomId}",
		"PUT /directory/list/appservice/{networkId}/{roomId}", "DELETE /directory/list/appservice/{networkId}/{roomId}",
		"POST " + noticePath, "PUT " + noticePath + "/{txnId}":
		return true
	}
	return false
}

func suspended(message string) *federation.Error {
	return &federation.Error{Status: http.StatusForbidden, Code: federation.CodeUserSuspended, Message: message}
}

// maySend is nil unless the sender is suspended or a guest, and for what such may send. A suspended user may say that they leave, and
// redact what they said; who leaves by it must be one who may. A guest may not invite, kick, ban or knock by state, as the endpoints for
// these are not among those for guests.
//
// spec:client-server-api#account-suspension
// spec:client-server-api#guest-access
func (a *API) maySend(ctx context.Context, req rooms.SendRequest) error {
	now, own := a.config.Users.Restrictions(req.Sender), ""
	if req.Type == "m.room.member" && req.StateKey != nil && *req.StateKey == string(req.Sender) {
		value, _ := canonicaljson.Get(req.Content, "membership")
		own, _ = canonicaljson.String(value)
	}
	switch {
	case own == "leave":
		return a.mayLeave(ctx, req.Sender, req.Room)
	case now.Guest && req.StateKey != nil && (req.Type == "m.room.member" && own != "join" || req.Type == "m.room.third_party_invite"):
		return guestsMayNot()
	case !now.Suspended:
		return nil
	case req.Type == "m.room.redaction" && req.StateKey == nil:
		target, err := a.config.Rooms.Event(ctx, req.Sender, req.Room, req.Redacts)
		if _, told := errors.AsType[*federation.Error](err); err != nil && !told {
			return err // whose it is isn't known
		} else if err == nil && target.Event.Sender() == req.Sender {
			return nil
		}
		return suspended("only what you said yourself can be redacted while the account is suspended")
	}
	return suspended("nothing can be sent while the account is suspended")
}
