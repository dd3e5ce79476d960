package clientapi

import (
	"errors"
	"net/http"
	"strings"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/users"
)

// guestsMay are what guests may ask with their access token. Beside the specification's list: the older forms of what is in it, to join
// by an alias, and to log out.
//
// spec:client-server-api#guest-access
var guestsMay = map[string]struct{}{
	"GET /rooms/{roomId}/state": {}, "GET /rooms/{roomId}/state/{eventType}": {}, "GET /rooms/{roomId}/state/{eventType}/{$}": {},
	"GET /rooms/{roomId}/state/{eventType}/{stateKey}": {}, "GET /rooms/{roomId}/context/{eventId}": {},
	"GET /rooms/{roomId}/event/{eventId}": {}, "GET /rooms/{roomId}/messages": {}, "GET /rooms/{roomId}/members": {},
	"GET /rooms/{roomId}/initialSync": {}, "GET /sync": {}, "GET /events": {},
	"GET /media/download/{serverName}/{mediaId}": {}, "GET /media/download/{serverName}/{mediaId}/{fileName}": {},
	"GET /media/thumbnail/{serverName}/{mediaId}": {},
	"POST /join/{roomIdOrAlias}":                  {}, "POST /rooms/{roomId}/join": {}, "POST /rooms/{roomId}/leave": {},
	"PUT /rooms/{roomId}/send/{eventType}/{txnId}": {}, "POST /rooms/{roomId}/send/{eventType}": {},
	"PUT /rooms/{roomId}/state/{eventType}": {}, "PUT /rooms/{roomId}/state/{eventType}/{$}": {},
	"PUT /rooms/{roomId}/state/{eventType}/{stateKey}": {}, "PUT /sendToDevice/{eventType}/{txnId}": {},
	"PUT /profile/{userId}/{keyName}": {}, "DELETE /profile/{userId}/{keyName}": {},
	"GET /devices": {}, "GET /devices/{deviceId}": {}, "PUT /devices/{deviceId}": {}, "GET /account/whoami": {},
	"POST /keys/upload": {}, "POST /keys/query": {}, "POST /keys/claim": {},
	"POST /logout": {}, "POST /logout/all": {},
}

// guestMay tells whether a guest may do what is asked; of a profile only the display name, and of the events of one room only.
func guestMay(r *request, route route) bool {
	switch _, listed := guestsMay[route.method+" "+route.path]; {
	case !listed:
		return route.auth == maybeUser // others may without a token
	case route.path == "/events":
		return r.URL.Query().Has("room_id")
	case strings.HasPrefix(route.path, "/profile/"):
		return r.PathValue("keyName") == "displayname"
	}
	return true
}

// registerGuest makes a guest. Of what the client sends only the device's name counts.
//
// spec:client-server-api#post_matrixclientv3register
func (a *API) registerGuest(r *request) (any, error) {
	if !a.config.Registration.Guests {
		return nil, forbidden("this server has no guest accounts; register with kind=user")
	}
	var req registerRequest
	if err := r.decodeOptional(&req); err != nil {
		return nil, err
	}
	device := a.loginDevice(r, "", req.DeviceName, req.Refresh)
	login, err := a.config.Users.Register(r.Context(), users.Registration{Guest: true, Login: &device})
	if err != nil {
		return nil, err
	}
	return a.loginAnswer(login), nil
}

// upgrading finds the guest who asks by a registration to become a user, in which they name themselves.
//
// spec:client-server-api#guest-access
func (a *API) upgrading(r *request, req registerRequest) (id.UserID, error) {
	if req.Username == "" {
		return "", missingParam("username")
	}
	session, err := a.config.Users.Authenticate(r.Context(), req.GuestToken, a.address(r.Request), r.UserAgent())
	switch {
	case errors.Is(err, users.ErrUnknownToken), errors.Is(err, users.ErrExpiredToken):
	case err != nil:
		return "", err
	case a.config.Users.Restrictions(session.User).Locked:
		return "", users.ErrLocked
	case a.config.Users.Restrictions(session.User).Guest && session.User == a.loginUser(req.Username):
		return session.User, nil
	}
	return "", forbidden("the guest access token is not that of a guest of this name")
}

func guestsMayNot() *federation.Error {
	return &federation.Error{Status: http.StatusForbidden, Code: federation.CodeGuestAccessForbidden, Message: "guests may not do this; register an account"}
}
