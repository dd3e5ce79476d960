package clientapi

import (
	"context"
	"encoding/json"
	"errors"
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
		{http.MethodPost, "/login/get_token", v1, withUser, logsIn, a.loginToken},
	}
}

// spec:client-server-api#get_matrixclientv3login
func (a *API) loginFlows(*request) (any, error) {
	if a.config.Services.Any() {
		return json.RawMessage(`{"flows":[{"type":"m.login.password"},{"type":"m.login.token","get_login_token":true},{"type":"m.login.application_service"}]}`), nil
	}
	return json.RawMessage(`{"flows":[{"type":"m.login.password"},{"type":"m.login.token","get_login_token":true}]}`), nil
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
	Token      *string         `json:"token"`
	Refresh    bool            `json:"refresh_token"`
	DeviceID   string          `json:"device_id"`
	DeviceName string          `json:"initial_device_display_name"`
}

// name is the user name by which the client says who it is.
func (l loginRequest) name() (string, error) {
	switch {
	case l.Identifier == nil && l.User != "":
		return l.User, nil
	case l.Identifier == nil:
		return "", missingParam("identifier")
	case l.Identifier.Type == "m.id.user" && l.Identifier.User == "":
		return "", missingParam("identifier.user")
	case l.Identifier.Type == "m.id.user":
		return l.Identifier.User, nil
	case l.Identifier.Type == "m.id.phone":
		return "", forbidden("wrong user name or password") // no account here has a number
	}
	return "", badRequest("M_UNKNOWN", "%q is not an identifier type that this server knows", l.Identifier.Type)
}

// thirdParty is the address by which the client says who it is instead. The specification's example of a login has no type.
func (l loginRequest) thirdParty() (medium, address string, given bool) {
	if l.Identifier == nil {
		return l.Medium, l.Address, l.User == "" && l.Medium != ""
	}
	kind := l.Identifier.Type
	return l.Identifier.Medium, l.Identifier.Address, kind == "m.id.thirdparty" || kind == "" && l.Identifier.Medium != ""
}

// claim is who somebody says they are.
type claim struct {
	user  id.UserID // "": nobody
	typed string    // a canonical form of that by which they say so
}

// claimed is who the client says it is.
func (a *API) claimed(ctx context.Context, l loginRequest) (claim, error) {
	if medium, address, given := l.thirdParty(); given {
		return a.claimedByEmail(ctx, medium, address)
	}
	name, err := l.name()
	return claimedByID(a.loginUser(name)), err
}

func claimedByID(user id.UserID) claim { return claim{user, string(user)} }

// spec:client-server-api#post_matrixclientv3login
func (a *API) login(r *request) (any, error) {
	var req loginRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	var user id.UserID
	var err error
	switch req.Type {
	case "":
		return nil, missingParam("type")
	case "m.login.password":
		user, err = a.byPassword(r.Context(), req)
	case "m.login.token":
		return a.logInByToken(r, req)
	case serviceLogin:
		user, err = a.byService(r, req)
	default:
		return nil, badRequest("M_UNKNOWN", "%q is not a login type that this server knows", req.Type)
	}
	if err != nil {
		return nil, err
	}
	return a.logIn(r, user, a.loginDevice(r, req.DeviceID, req.DeviceName, req.Refresh))
}

// byPassword tells who logs in with a password.
func (a *API) byPassword(ctx context.Context, req loginRequest) (id.UserID, error) {
	who, err := a.claimed(ctx, req)
	if err != nil {
		return "", err
	}
	if req.Password == nil {
		return "", missingParam("password")
	}
	// The password is checked for any name, so that neither the answer nor its time tells which accounts exist.
	good, err := a.checkPassword(ctx, who, *req.Password)
	if err == nil && !good {
		err = forbidden("wrong user name or password")
	}
	return who.user, err
}

// logInByToken logs in with a token that another of the user's clients asked for.
//
// spec:client-server-api#post_matrixclientv1loginget_token
func (a *API) logInByToken(r *request, req loginRequest) (any, error) {
	if req.Token == nil {
		return nil, missingParam("token")
	}
	login, err := a.config.Users.LogInByToken(r.Context(), *req.Token, a.loginDevice(r, req.DeviceID, req.DeviceName, req.Refresh))
	if errors.Is(err, users.ErrUnknownToken) {
		err = forbidden("this login token is not good, or not any more")
	}
	if err != nil {
		return nil, err
	}
	return a.loginAnswer(login), nil
}

// loginDevice is the device of who asks. It is the application service's that asks.
func (a *API) loginDevice(r *request, device, name string, refreshes bool) users.LoginDevice {
	d := users.LoginDevice{ID: device, Name: name, Address: a.address(r.Request).String(), Agent: r.UserAgent(), Refreshes: refreshes}
	if r.service != nil {
		d.Service = r.service.ID
	}
	return d
}

// logIn makes a device, with an access token that ends if the client can refresh it.
func (a *API) logIn(r *request, user id.UserID, d users.LoginDevice) (any, error) {
	login, err := a.config.Users.Login(r.Context(), user, d)
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

// checkPassword checks a password and counts wrong ones against the user name or e-mail address that was typed, whatever addresses they come
// from; not against the account, by which it would be seen whose an e-mail address is. Those who guess at once are asked for what is left when
// their turn comes, too: else as many as can wait would be tried.
func (a *API) checkPassword(ctx context.Context, who claim, password string) (bool, error) {
	account := "account " + who.typed
	left := func() error { return a.limiter.left(logsIn, account) }
	if err := left(); err != nil {
		return false, err
	}
	count := func() { _ = a.limiter.takeFor(logsIn, account) } // it is this answer that is counted
	return a.config.Users.CheckPassword(ctx, who.user, password, left, count)
}

// loginAnswer tells of a login, or of a new account alone.
func (a *API) loginAnswer(l users.Login) any {
	if l.AccessToken == "" {
		return map[string]any{"user_id": l.User, "home_server": a.config.Self}
	}
	body := map[string]any{
		"user_id": l.User, "access_token": l.AccessToken, "device_id": l.Device, "home_server": a.config.Self,
	}
	if l.RefreshToken != "" {
		body["refresh_token"], body["expires_in_ms"] = l.RefreshToken, l.Life.Milliseconds()
	}
	if known, err := a.wellKnown(nil); err == nil {
		body["well_known"] = known
	}
	return body
}

// spec:client-server-api#post_matrixclientv3logout
func (a *API) logout(r *request) (any, error) {
	err := a.config.Users.Logout(r.Context(), r.user, r.device)
	if err == nil {
		a.config.Ephemeral.DevicesGone(r.user, func(device string) bool { return device == r.device })
	}
	return nil, err
}

// spec:client-server-api#post_matrixclientv3logoutall
func (a *API) logoutAll(r *request) (any, error) {
	return nil, a.logOutEverywhere(r.Context(), r.user)
}

// logOutEverywhere ends all devices of a user, and the logins of browsers.
func (a *API) logOutEverywhere(ctx context.Context, user id.UserID) error {
	a.browsers.closeAllOf(user)
	err := a.config.Users.LogoutAll(ctx, user)
	if err == nil {
		a.config.Ephemeral.DevicesGone(user, func(string) bool { return true })
	}
	return err
}

// spec:client-server-api#post_matrixclientv3refresh
func (a *API) refresh(r *request) (any, error) {
	var req struct {
		Token *string `json:"refresh_token"`
	}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if req.Token == nil {
		return nil, missingParam("refresh_token")
	}
	login, err := a.config.Users.Refresh(r.Context(), *req.Token)
	if errors.Is(err, users.ErrUnknownToken) {
		return nil, &federation.Error{Status: http.StatusUnauthorized, Code: federation.CodeUnknownToken,
			Message: "the refresh token is not known, or no longer good"}
	}
	return map[string]any{
		"access_token": login.AccessToken, "refresh_token": login.RefreshToken, "expires_in_ms": login.Life.Milliseconds(),
	}, err
}

// loginToken gives a token with which another client of the user's logs in.
//
// spec:client-server-api#post_matrixclientv1loginget_token
func (a *API) loginToken(r *request) (any, error) {
	return a.withPasswordOnly(r, func() (any, error) {
		token, life, err := a.config.Users.LoginToken(r.Context(), r.user)
		return map[string]any{"login_token": token, "expires_in_ms": life.Milliseconds()}, err
	})
}
