package clientapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/users"
)

func (a *API) loginRoutes() []route {
	return []route{
		{http.MethodGet, "/login", stable, withoutUser, ordinary, a.loginFlows},
		{http.MethodPost, "/login", stable, withoutUser, logsIn, a.login},
		{http.MethodPost, "/logout", stable, withUser, ordinary, a.logout},
		{http.MethodPost, "/logout/all", stable, withUser, ordinary, a.logoutAll},
		{http.MethodPost, "/refresh", stable, withoutUser, logsIn, a.refresh},
	}
}

// spec:client-server-api#get_matrixclientv3login
func (a *API) loginFlows(*request) (any, error) {
	return json.RawMessage(`{"flows":[{"type":"m.login.password"}]}`), nil
}

// userIdentifier is one of the identifier types.
//
// spec:client-server-api#identifier-types
type userIdentifier struct {
	Type    string `json:"type"`
	User    string `json:"user"`
	Medium  string `json:"medium"`
	Address string `json:"address"`
}

// loginRequest is the body of POST /login, with the forms older clients use.
type loginRequest struct {
	Type       string          `json:"type"`
	Identifier *userIdentifier `json:"identifier"`
	User       string          `json:"user"`
	Medium     string          `json:"medium"`
	Address    string          `json:"address"`
	Password   *string         `json:"password"`
	DeviceID   string          `json:"device_id"`
	DeviceName string          `json:"initial_device_display_name"`
}

// name is whom the client says it is.
func (l loginRequest) name() (string, error) {
	wrong := forbidden("wrong user name or password")
	switch {
	case l.Identifier == nil && l.User != "":
		return l.User, nil
	case l.Identifier == nil && l.Medium != "":
		return "", wrong
	case l.Identifier == nil:
		return "", missingParam("identifier")
	case l.Identifier.Type == "m.id.user" && l.Identifier.User == "":
		return "", missingParam("identifier.user")
	case l.Identifier.Type == "m.id.user":
		return l.Identifier.User, nil
	case l.Identifier.Type == "m.id.thirdparty", l.Identifier.Type == "m.id.phone":
		return "", wrong // no account here has an address or a number
	}
	return "", badRequest("M_UNKNOWN", "%q is not an identifier type that this server knows", l.Identifier.Type)
}

// spec:client-server-api#post_matrixclientv3login
func (a *API) login(r *request) (any, error) {
	var req loginRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	switch {
	case req.Type == "":
		return nil, missingParam("type")
	case req.Type != "m.login.password":
		return nil, badRequest("M_UNKNOWN", "%q is not a login type that this server knows", req.Type)
	}
	name, err := req.name()
	if err != nil {
		return nil, err
	}
	if req.Password == nil {
		return nil, missingParam("password")
	}
	// The password is checked for any name, so that neither the answer nor its time tells which accounts exist.
	user := a.loginUser(name)
	good, err := a.checkPassword(r.Context(), user, *req.Password)
	switch {
	case err != nil:
		return nil, err
	case !good:
		return nil, forbidden("wrong user name or password")
	}
	login, err := a.config.Users.Login(r.Context(), user, users.LoginDevice{ID: req.DeviceID, Name: req.DeviceName, Address: a.address(r.Request).String()})
	if err != nil {
		return nil, err
	}
	return a.loginAnswer(login), nil
}

// loginUser makes a user ID of ours from a whole one or a local part; "" if it can't be one.
func (a *API) loginUser(name string) id.UserID {
	if !strings.HasPrefix(name, "@") {
		name = "@" + name + ":" + string(a.config.Self)
	}
	user, err := id.ParseUserID(name)
	if err != nil || user.Server() != a.config.Self {
		return ""
	}
	return id.UserID("@" + strings.ToLower(user.Localpart()) + ":" + string(a.config.Self)) // as registration makes them
}

// checkPassword checks a password and counts wrong ones against the account, whatever addresses they come from.
func (a *API) checkPassword(ctx context.Context, user id.UserID, password string) (bool, error) {
	account := "account " + string(user)
	if err := a.limiter.left(logsIn, account); err != nil {
		return false, err
	}
	good, err := a.config.Users.CheckPassword(ctx, user, password)
	if err == nil && !good {
		_ = a.limiter.takeFor(logsIn, account) // it is this answer that is counted
	}
	return good, err
}

func (a *API) loginAnswer(l users.Login) any {
	body := map[string]any{
		"user_id": l.User, "access_token": l.AccessToken, "device_id": l.Device, "home_server": a.config.Self,
	}
	if known, err := a.wellKnown(nil); err == nil {
		body["well_known"] = known
	}
	return body
}

// spec:client-server-api#post_matrixclientv3logout
func (a *API) logout(r *request) (any, error) {
	return nil, a.config.Users.Logout(r.Context(), r.user, r.device)
}

// spec:client-server-api#post_matrixclientv3logoutall
func (a *API) logoutAll(r *request) (any, error) {
	return nil, a.config.Users.LogoutAll(r.Context(), r.user)
}

// refresh refuses: access tokens of this server don't expire, so no refresh token was ever given out.
//
// spec:client-server-api#refreshing-access-tokens
func (a *API) refresh(*request) (any, error) {
	return nil, &federation.Error{Status: http.StatusUnauthorized, Code: "M_UNKNOWN_TOKEN", Message: "this server gives out no refresh tokens"}
}
