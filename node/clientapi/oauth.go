package clientapi

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"hanse/federation/id"
	"hanse/node/oauth"
	"hanse/node/users"
)

// oauthRoutes are the endpoints of the OAuth 2.0 API; its pages are in oauth_pages.go.
//
// spec:client-server-api#oauth-20-api
func (a *API) oauthRoutes() []route {
	metadata := []route{
		{http.MethodGet, "/auth_metadata", v1, withoutUser, ordinary, a.authMetadata},
		{http.MethodGet, "/_matrix/client/unstable/org.matrix.msc2965/auth_metadata", unversioned, withoutUser, ordinary, a.authMetadata},
	}
	if !a.config.OAuth {
		return metadata
	}
	return append(append(metadata, a.pageRoutes()...),
		route{http.MethodPost, oauth.PathRegister, unversioned, withoutUser, logsIn, a.registerClient},
		route{http.MethodPost, oauth.PathToken, unversioned, withoutUser, ordinary, a.oauthToken}, // what comes can't be guessed
		route{http.MethodPost, oauth.PathRevoke, unversioned, withoutUser, ordinary, a.revokeToken},
		route{http.MethodPost, oauth.PathDevice, unversioned, withoutUser, logsIn, a.authorizeDevice},
	)
}

// base is the address of this API without a slash at its end.
func (a *API) base() string { return strings.TrimRight(a.config.BaseURL, "/") }

// spec:client-server-api#get_matrixclientv1auth_metadata
func (a *API) authMetadata(*request) (any, error) {
	if !a.config.OAuth {
		return nil, unrecognized(http.StatusNotFound, "this server has no OAuth 2.0 API; use /login")
	}
	return oauth.MetadataAt(a.base(), a.pageRegistration().open), nil
}

// oauthAnswer makes the answer of an error of OAuth 2.0, which has a form of its own; others are the caller's.
func oauthAnswer(err error) (any, error) {
	var refused *oauth.Error
	if !errors.As(err, &refused) {
		return nil, err
	}
	status := http.StatusBadRequest
	switch refused.Code {
	case oauth.InvalidClient:
		status = http.StatusUnauthorized
	case oauth.TemporarilyUnavailable:
		status = http.StatusServiceUnavailable
	}
	return answer{status: status, body: refused}, nil
}

// form reads the body of a request that is a form. The error is an *oauth.Error, or of the connection.
func (r *request) form() (url.Values, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, oauth.Refuse(oauth.InvalidRequest, "the body must be application/x-www-form-urlencoded")
	}
	raw, err := r.oauthBody()
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(raw))
	if err != nil {
		return nil, oauth.Refuse(oauth.InvalidRequest, "the body is no form")
	}
	for name, values := range form {
		if len(values) > 1 {
			return nil, oauth.Refuse(oauth.InvalidRequest, "%s is there more than once", name)
		}
	}
	return form, nil
}

func (r *request) oauthBody() ([]byte, error) {
	raw, err := r.body()
	if err == nil && len(raw) > maxOAuthBytes {
		err = oauth.Refuse(oauth.InvalidRequest, "the body is larger than %d bytes", maxOAuthBytes)
	}
	return raw, err
}

// registerClient has a client tell what it is. Anybody can, and need not tell the truth: what it says is shown to people as its word alone, and
// where it sends them as what counts.
//
// spec:client-server-api#dynamic-client-registration-flow
func (a *API) registerClient(r *request) (any, error) {
	raw, err := r.oauthBody()
	if err != nil {
		return oauthAnswer(err)
	}
	client, err := oauth.ReadClient(raw)
	if err != nil {
		return oauthAnswer(err)
	}
	clientID, stored, err := client.Stored()
	if err != nil {
		return nil, err
	}
	if err := a.config.Users.SetOAuthClient(r.Context(), clientID, stored); err != nil {
		if errors.Is(err, users.ErrFull) {
			err = oauth.Refuse(oauth.TemporarilyUnavailable, "too many clients are logged in here")
		}
		return oauthAnswer(err)
	}
	return answer{status: http.StatusCreated, body: struct {
		ClientID string `json:"client_id"`
		oauth.Client
	}{clientID, client}}, nil
}

// oauthClient finds a client.
func (a *API) oauthClient(ctx context.Context, clientID string) (client oauth.Client, known bool, err error) {
	if len(clientID) > maxTokenBytes {
		return client, false, nil
	}
	metadata, known, err := a.config.Users.OAuthClient(ctx, clientID)
	if err == nil && known {
		client, err = oauth.StoredClient(metadata)
	}
	return client, known, err
}

// askingClient is the client that a form is from.
func (a *API) askingClient(r *request, form url.Values) (oauth.Client, error) {
	if !form.Has("client_id") {
		return oauth.Client{}, oauth.Refuse(oauth.InvalidRequest, "client_id is missing")
	}
	client, known, err := a.oauthClient(r.Context(), form.Get("client_id"))
	if err == nil && !known {
		err = oauth.Refuse(oauth.InvalidClient, "this server doesn't know the client, or not any more")
	}
	return client, err
}

// oauthToken gives tokens for a code or a refresh token.
//
// spec:client-server-api#grant-types
func (a *API) oauthToken(r *request) (any, error) {
	login, err := a.grantTokens(r)
	switch {
	case errors.Is(err, users.ErrLocked): // clients throw their data away at any 4xx
		err = oauth.Refuse(oauth.TemporarilyUnavailable, "the account is locked")
	case errors.Is(err, users.ErrUnknownToken):
		err = oauth.Refuse(oauth.InvalidGrant, "the code or token is not good, or not any more")
	}
	if err != nil {
		return oauthAnswer(err)
	}
	return map[string]any{
		"access_token": login.AccessToken, "token_type": "Bearer", "expires_in": int64(login.Life.Seconds()), "refresh_token": login.RefreshToken,
		"scope": login.Scope,
	}, nil
}

func (a *API) grantTokens(r *request) (users.OAuthLogin, error) {
	form, err := r.form()
	if err != nil {
		return users.OAuthLogin{}, err
	}
	client, err := a.askingClient(r, form)
	if err != nil {
		return users.OAuthLogin{}, err
	}
	grant := form.Get("grant_type")
	switch {
	case grant == "":
		return users.OAuthLogin{}, oauth.Refuse(oauth.InvalidRequest, "grant_type is missing")
	case grant == oauth.GrantRefresh: // also for clients that didn't say that they use it
	case grant != oauth.GrantCode && grant != oauth.GrantDevice:
		return users.OAuthLogin{}, oauth.Refuse(oauth.UnsupportedGrantType, "this server doesn't support this grant_type")
	case !client.May(grant):
		return users.OAuthLogin{}, oauth.Refuse(oauth.UnauthorizedClient, "the client didn't register for this grant_type")
	}
	proof := map[string]string{oauth.GrantRefresh: "refresh_token", oauth.GrantCode: "code", oauth.GrantDevice: "device_code"}[grant]
	secret := form.Get(proof)
	if secret == "" || len(secret) > maxTokenBytes {
		return users.OAuthLogin{}, oauth.Refuse(oauth.InvalidRequest, "%s is missing, or too long", proof)
	}
	ctx, clientID := r.Context(), form.Get("client_id")
	device := users.LoginDevice{Name: client.Name, Address: a.address(r.Request).String(), Agent: r.UserAgent()}
	switch grant {
	case oauth.GrantRefresh:
		return a.config.Users.RefreshGrant(ctx, clientID, secret)
	case oauth.GrantDevice:
		return a.pollDevice(r, secret, clientID, device)
	}
	return a.config.Users.LogInByCode(ctx, secret, func(asked users.OAuthRequest) bool {
		return asked.Client == clientID && asked.Challenge != "" && asked.Redirect == form.Get("redirect_uri") &&
			oauth.Proves(form.Get("code_verifier"), asked.Challenge)
	}, device)
}

// authorizeDevice gives a client that has no browser the code with which it asks for tokens, and the one that a person types.
//
// spec:client-server-api#device-authorisation-flow
func (a *API) authorizeDevice(r *request) (any, error) {
	form, err := r.form()
	if err != nil {
		return oauthAnswer(err)
	}
	client, err := a.askingClient(r, form)
	if err != nil {
		return oauthAnswer(err)
	}
	if !client.May(oauth.GrantDevice) {
		return oauthAnswer(oauth.Refuse(oauth.UnauthorizedClient, "the client didn't register for the grant %s", oauth.GrantDevice))
	}
	device, scope, err := oauth.ReadScope(form.Get("scope"))
	if err != nil {
		return oauthAnswer(err)
	}
	asked := users.OAuthRequest{Client: form.Get("client_id"), Device: device, Scope: scope}
	err = users.ErrUserCodeTaken
	for tries := 0; errors.Is(err, users.ErrUserCodeTaken) && tries < userCodeTries; tries++ {
		random := make([]byte, 64)
		_, _ = rand.Read(random) // never fails
		userCode := oauth.UserCode(random)
		if userCode == "" {
			continue
		}
		var code string
		var life time.Duration
		if code, life, err = a.config.Users.AskForDevice(r.Context(), asked, userCode); err == nil {
			shown := oauth.ShownUserCode(userCode)
			return map[string]any{
				"device_code": code, "user_code": shown, "verification_uri": a.base() + oauth.PathLink,
				"verification_uri_complete": a.base() + oauth.PathLink + "?user_code=" + shown,
				"expires_in":                int64(life.Seconds()), "interval": int64(pollInterval.Seconds()),
			}, nil
		}
	}
	return oauthAnswer(err)
}

// pollDevice gives a client tokens once a person has let it in.
func (a *API) pollDevice(r *request, code, clientID string, d users.LoginDevice) (users.OAuthLogin, error) {
	login, err := a.config.Users.LogInByCode(r.Context(), code, func(asked users.OAuthRequest) bool {
		return asked.Client == clientID && asked.Redirect == "" && asked.Challenge == ""
	}, d)
	switch {
	case errors.Is(err, users.ErrUndecided) && a.polls.tooSoon(code):
		return login, oauth.Refuse(oauth.SlowDown, "ask at most every %d seconds", int(pollInterval.Seconds()))
	case errors.Is(err, users.ErrUndecided):
		return login, oauth.Refuse(oauth.AuthorizationPending, "nobody has typed the code yet")
	case errors.Is(err, users.ErrRefused):
		return login, oauth.Refuse(oauth.AccessDenied, "the user has refused")
	case errors.Is(err, users.ErrExpiredCode):
		return login, oauth.Refuse(oauth.ExpiredToken, "the code has expired")
	}
	return login, err
}

// polls are when clients last asked whether somebody has typed their code. The zero value is ready. Safe for concurrent use.
type polls struct {
	mu   sync.Mutex
	last map[string]time.Time // guarded by mu
}

// tooSoon tells whether a client asks before its time. Some of a second is given to the way of its request.
func (p *polls) tooSoon(code string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	last, again := p.last[code]
	if p.last == nil || len(p.last) >= maxPolls && !again {
		p.last = map[string]time.Time{}
	}
	p.last[code] = now
	return again && now.Sub(last) < pollInterval-pollInterval/5
}

// revokeToken logs a device out. Whoever has a token may: it is no secret any more if it isn't the client.
//
// spec:client-server-api#token-revocation
func (a *API) revokeToken(r *request) (any, error) {
	form, err := r.form()
	if err != nil {
		return oauthAnswer(err)
	}
	token := form.Get("token")
	switch {
	case token == "":
		return oauthAnswer(oauth.Refuse(oauth.InvalidRequest, "token is missing"))
	case len(token) > maxTokenBytes:
		return nil, nil // it is none of ours
	}
	user, device, done, err := a.config.Users.Revoke(r.Context(), token)
	if err == nil && done {
		a.config.Ephemeral.DevicesGone(user, func(d string) bool { return d == device })
	}
	return nil, err
}

// The stages of interactive authentication by the account page: the specification's, and what deployed clients know from before it.
const (
	stageOAuth       = "m.oauth"
	stageOAuthBefore = "org.matrix.cross_signing_reset"
)

// onAccountPage is why a client that logged in by OAuth 2.0 can't do what needs the password.
func (a *API) onAccountPage() error {
	return forbidden("this is done on the account page: %s", a.base()+oauth.PathAccount)
}

// withAccountPage does the work of a request once the user has allowed it on the account page, which needs the password.
//
// spec:client-server-api#oauth-authentication
func (a *API) withAccountPage(r *request, raw json.RawMessage, work func() (any, error)) (any, error) {
	auth, _, err := parseAuth(raw)
	if err != nil {
		return nil, err
	}
	session, ok := a.uia.find(auth.Session)
	if ok && session.purpose != purposeOf(r) {
		return nil, forbidden("this authentication session was begun for something else")
	}
	if !a.resets.allowed(r.user, r.device) {
		if !ok {
			session = a.uia.open(purposeOf(r))
		}
		ask := session.ask([]uiaFlow{{Stages: []string{stageOAuth}}, {Stages: []string{stageOAuthBefore}}}, nil)
		page := map[string]string{"url": a.base() + oauth.PathAccount + "?" + url.Values{
			"action": {oauth.ActionCrossSigningReset}, "device_id": {r.device},
		}.Encode()}
		ask.body.(map[string]any)["params"] = map[string]any{stageOAuth: page, stageOAuthBefore: page}
		return *ask, nil
	}
	done, err := work()
	if err == nil {
		a.resets.spend(r.user)
		a.uia.close(session.id)
	}
	return done, err
}

// resets are the users who let a client replace their cross-signing keys. The zero value is ready. Safe for concurrent use.
type resets struct {
	mu  sync.Mutex
	all map[id.UserID]reset // guarded by mu
}

type reset struct {
	device string // whose client may; "": that of any
	until  time.Time
}

func (s *resets) allow(user id.UserID, device string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for other, r := range s.all { // few do that, and each only for itself
		if now.After(r.until) {
			delete(s.all, other)
		}
	}
	if s.all == nil {
		s.all = map[id.UserID]reset{}
	}
	s.all[user] = reset{device, now.Add(resetLife)}
}

func (s *resets) allowed(user id.UserID, device string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.all[user]
	return ok && time.Now().Before(r.until) && (r.device == "" || r.device == device)
}

func (s *resets) spend(user id.UserID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, user)
}
