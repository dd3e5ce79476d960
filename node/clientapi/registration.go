package clientapi

import (
	"crypto/subtle"
	"encoding/json"
	"net/http"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/users"
)

// Registration says who may make an account. The zero value: nobody, but by the shared secret if there is one.
type Registration struct {
	// Open lets anybody register.
	Open bool
	// Guests lets anybody in as a guest, who needs no password and may do little.
	Guests bool
	// Tokens let those register who know one of them (m.login.registration_token), whether Open or not.
	Tokens []string
	// Email demands an e-mail address of those who register; it needs Config.Email, with which one may be given in any case.
	Email bool
	// SharedSecret is the key of /_synapse/admin/v1/register; "" closes that way.
	SharedSecret string
	// Hint tells people how to open the registration, in the error that says it is closed; "" is a sane text.
	Hint string
}

func (c Registration) validToken(token string) bool {
	good := 0
	for _, t := range c.Tokens {
		good |= subtle.ConstantTimeCompare([]byte(t), []byte(token))
	}
	return good == 1 && token != ""
}

// registrationFlows are what a registration asks for; none: it is closed.
func (a *API) registrationFlows() []uiaFlow {
	var first []string
	switch {
	case a.config.Registration.Open:
	case len(a.config.Registration.Tokens) > 0:
		first = []string{stageRegistrationToken}
	default:
		return nil
	}
	then := func(stage string) uiaFlow { return uiaFlow{append(first[:len(first):len(first)], stage)} }
	switch {
	case a.config.Email == nil && len(first) > 0:
		return []uiaFlow{{first}}
	case a.config.Email == nil:
		return []uiaFlow{then(stageDummy)}
	case a.config.Registration.Email:
		return []uiaFlow{then(stageEmail)}
	}
	return []uiaFlow{then(stageDummy), then(stageEmail)} // none is the beginning of the other
}

func (c Registration) closed() *federation.Error {
	if c.Hint != "" {
		return forbidden("%s", c.Hint)
	}
	return forbidden("Registration is closed on this server. Its operator opens it with registration.open: true, or for those who know a token with registration.tokens, in the configuration.")
}

func (a *API) registrationRoutes() []route {
	return []route{
		{http.MethodPost, "/register", stable, withoutUser, registers, a.register},
		{http.MethodGet, "/register/available", stable, withoutUser, logsIn, a.usernameAvailable},
		{http.MethodGet, "/register/m.login.registration_token/validity", v1, withoutUser, logsIn, a.registrationTokenValid},
	}
}

// registerRequest is the body of /register. Requests after the first repeat it, or have auth alone, as deployed clients do.
type registerRequest struct {
	Auth         json.RawMessage `json:"auth"`
	Username     string          `json:"username"`
	Password     string          `json:"password"`
	DeviceID     string          `json:"device_id"`
	DeviceName   string          `json:"initial_device_display_name"`
	InhibitLogin bool            `json:"inhibit_login"`
	Refresh      bool            `json:"refresh_token"`
	Type         string          `json:"type"`
	GuestToken   string          `json:"guest_access_token"`
}

// spec:client-server-api#post_matrixclientv3register
func (a *API) register(r *request) (any, error) {
	switch kind := r.URL.Query().Get("kind"); kind {
	case "", "user":
	case "guest":
		return a.registerGuest(r)
	default:
		return nil, invalidParam("kind must be user or guest, not %q", kind)
	}
	var req registerRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if req.Type == serviceLogin {
		return a.registerForService(r, req)
	}
	flows := a.registrationFlows()
	if flows == nil {
		return nil, a.config.Registration.closed()
	}
	begun, err := a.resumeRegistration(r, &req)
	if err != nil {
		return nil, err
	}
	if begun.registered != "" {
		return a.registerAgain(r, begun, req)
	}
	// What can be refused is refused before the client goes through the stages.
	var guest id.UserID
	switch {
	case req.GuestToken != "":
		guest, err = a.upgrading(r, req)
	case req.Username != "":
		_, err = a.config.Users.Available(r.Context(), req.Username)
	}
	if err != nil {
		return nil, err
	}
	session, ask, err := a.interactively(r, req.Auth, flows...)
	if err != nil {
		return nil, err
	}
	if ask != nil {
		a.keepRegistration(ask, req)
		return *ask, nil
	}
	if req.Password == "" {
		return nil, missingParam("password")
	}
	account := users.Registration{Username: req.Username, Password: req.Password, EmailSession: session.email, Login: a.firstDevice(r, req)}
	var login users.Login
	if guest != "" {
		login, err = a.config.Users.Upgrade(r.Context(), guest, account)
	} else {
		login, err = a.config.Users.Register(r.Context(), account)
	}
	if err != nil {
		return nil, err
	}
	a.closeRegistration(r, session.id, login.User)
	return a.loginAnswer(login), nil
}

// firstDevice is the device that a registration asks for; nil if it asks for none.
func (a *API) firstDevice(r *request, req registerRequest) *users.LoginDevice {
	if req.InhibitLogin {
		return nil
	}
	device := a.loginDevice(r, req.DeviceID, req.DeviceName, req.Refresh)
	return &device
}

// resumeRegistration finds the session that a request goes on with, if any. A request that has nothing but auth, as Element for Android
// sends it, is what the session was begun with.
func (a *API) resumeRegistration(r *request, req *registerRequest) (uiaSession, error) {
	auth, _, err := parseAuth(req.Auth)
	if err != nil {
		return uiaSession{}, err
	}
	begun, ok := a.uia.find(auth.Session)
	if !ok || begun.purpose != purposeOf(r) {
		return uiaSession{}, nil
	}
	if begun.registration != nil && req.Username == "" && req.Password == "" {
		kept := *begun.registration
		kept.Auth = req.Auth
		*req = kept
	}
	return begun, nil
}

// maxKeptRegistration bounds the bytes of a request to /register that a session keeps.
const maxKeptRegistration = 2048

// keepRegistration keeps the first request of a session for those after it. One that is long is not kept: clients repeat it or not, but
// nobody fills the memory.
func (a *API) keepRegistration(ask *answer, req registerRequest) {
	req.Auth = nil
	if req.Password == "" || len(req.Username)+len(req.Password)+len(req.DeviceID)+len(req.DeviceName)+len(req.GuestToken) > maxKeptRegistration {
		return
	}
	if form, ok := ask.body.(map[string]any); ok {
		session, _ := form["session"].(string)
		a.uia.change(session, func(s *uiaSession) {
			if s.registration == nil {
				s.registration = &req
			}
		})
	}
}

// closeRegistration notes whom a session has registered, for a client that doesn't get the answer. What is secret of the request goes.
func (a *API) closeRegistration(r *request, session string, user id.UserID) {
	account, _, _ := a.config.Users.AccountState(r.Context(), user) // nothing where it can't be read: who asks again must say the password
	a.uia.change(session, func(s *uiaSession) {
		s.registered, s.account = user, account
		if s.registration != nil {
			kept := *s.registration
			kept.Password, kept.GuestToken = "", ""
			s.registration = &kept
		}
	})
}

// registerAgain answers a client that didn't get the answer to its registration, and so asks again by the same session: whom it has
// registered is logged in, if the password is still that user's. To others the name is taken.
func (a *API) registerAgain(r *request, begun uiaSession, req registerRequest) (any, error) {
	user := begun.registered
	if req.Username == "" || a.loginUser(req.Username) == user {
		right, err := a.registeredBy(r, begun, req.Password)
		if err != nil {
			return nil, err
		}
		if device := a.firstDevice(r, req); right && device != nil {
			return a.logIn(r, user, *device)
		}
		if right {
			return a.loginAnswer(users.Login{User: user}), nil
		}
	}
	return nil, badRequest("M_USER_IN_USE", "this session has registered %s, by another password", user)
}

// registeredBy tells whether the password of whom a session has registered is the given one; "" is the one of the request that was kept.
func (a *API) registeredBy(r *request, begun uiaSession, password string) (bool, error) {
	if password == "" && begun.registration != nil {
		account, usable, err := a.config.Users.AccountState(r.Context(), begun.registered)
		return usable && account == begun.account, err
	}
	return a.checkPassword(r.Context(), claimedByID(begun.registered), password)
}

// spec:client-server-api#get_matrixclientv3registeravailable
func (a *API) usernameAvailable(r *request) (any, error) {
	username := r.URL.Query().Get("username")
	if username == "" {
		return nil, missingParam("username")
	}
	flows := a.registrationFlows()
	if flows == nil {
		return nil, a.config.Registration.closed()
	}
	if _, err := a.config.Users.Available(r.Context(), username); err != nil {
		return nil, err
	}
	return map[string]bool{"available": true}, nil
}

// spec:client-server-api#get_matrixclientv1registermloginregistration_tokenvalidity
func (a *API) registrationTokenValid(r *request) (any, error) {
	if !r.URL.Query().Has("token") {
		return nil, missingParam("token")
	}
	if len(a.config.Registration.Tokens) == 0 {
		return nil, forbidden("this server has no registration tokens")
	}
	return map[string]bool{"valid": a.config.Registration.validToken(r.URL.Query().Get("token"))}, nil
}
