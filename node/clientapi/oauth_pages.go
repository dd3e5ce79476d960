package clientapi

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/oauth"
	"hanse/node/users"
)

// pageRoutes are the pages that a person sees. They need no script.
func (a *API) pageRoutes() []route {
	return []route{
		{http.MethodGet, oauth.PathAuthorize, unversioned, withoutUser, ordinary, a.page(a.authorizePage)},
		{http.MethodPost, oauth.PathAuthorize, unversioned, withoutUser, logsIn, a.page(a.authorizePage)},
		{http.MethodGet, oauth.PathLink, unversioned, withoutUser, ordinary, a.page(a.linkPage)},
		{http.MethodPost, oauth.PathLink, unversioned, withoutUser, logsIn, a.page(a.linkPage)},
		{http.MethodGet, oauth.PathAccount, unversioned, withoutUser, ordinary, a.page(a.accountPage)},
		{http.MethodPost, oauth.PathAccount, unversioned, withoutUser, logsIn, a.page(a.accountPage)},
	}
}

func isPage(route string) bool {
	return route == emailPath || route == oauth.PathAuthorize || route == oauth.PathLink || route == oauth.PathAccount
}

// visit is a request for a page.
type visit struct {
	*request
	browser browser
	sent    url.Values // the form; nil if a page is asked for
	leadsTo string     // where a form's answer may lead besides here, in the words of a Content-Security-Policy
}

// page is what a page shows: a template's name, and what it needs.
type page struct {
	status   int // 0: 200
	template string

	Title, Error, Notice string
	Detail               string // of a message
	Warning              string
	Typed                string // what was typed already
	Client               *shownClient
	Device, UserCode     string
	SendsTo              string  // where the user is sent afterwards
	Back                 address // where a client waits for the user
	Replaces             bool
	NeedsToken           bool
	Other                string // the address of the other of login and registration
	Forgotten            string // the address of the page for a new password
	SID                  string // of a session that proves an e-mail address
	Emails               []shownEmail
	Account              bool // the page is one of the account's
	Devices              []shownDevice
	Shown                *shownDevice

	// These are filled in for all pages.
	Server      id.ServerName
	Base, Style string
	User        id.UserID
	Token       string
	Mails       bool // this server sends mails
	Body        rendered
}

// shownClient is a client as a person sees it: by its own word.
type shownClient struct{ Name, Host, TermsURI, PolicyURI string }

func shownOf(c oauth.Client) *shownClient {
	return &shownClient{Name: c.Name, Host: c.Host(), TermsURI: c.TermsURI, PolicyURI: c.PolicyURI}
}

// leave is the answer that sends the browser elsewhere.
type leave struct{ to string }

// page serves a page: it finds out who is there, and takes forms from pages of ours alone.
func (a *API) page(show func(*visit) (any, error)) func(*request) (any, error) {
	return func(r *request) (any, error) {
		v := &visit{request: r}
		var err error
		if v.browser, err = a.browser(r); err != nil {
			return nil, err
		}
		if r.Method == http.MethodPost {
			if v.sent, err = r.form(); err != nil {
				return nil, err
			}
			if !v.browser.sentByUs(r.Request, v.sent.Get("token")) {
				return a.writePage(v, page{status: http.StatusForbidden, template: "stale", Title: "This page is too old", Other: v.address(v.URL.Query())})
			}
			if v.sent.Get("do") == "leave" {
				a.browsers.close(v.browser.secret)
				return a.writePage(v, leave{to: v.here()})
			}
		}
		if v.browser.secret == "" {
			v.browser.secret = newBrowserSecret()
			a.setCookie(r.writer, v.browser.secret)
		}
		r.user = v.browser.user
		shown, err := show(v)
		if err != nil {
			return nil, err
		}
		return a.writePage(v, shown)
	}
}

// here is the address of the page itself, without what says that the user is to log in, make an account or get a new password.
func (v *visit) here() string {
	query := v.URL.Query()
	query.Del("prompt")
	query.Del("forgotten")
	return v.address(query)
}

// with is the address of the page with a parameter.
func (v *visit) with(name, value string) string {
	query := v.URL.Query()
	query.Set(name, value)
	return v.address(query)
}

func (v *visit) address(query url.Values) string {
	if len(query) == 0 {
		return v.URL.Path
	}
	return v.URL.Path + "?" + query.Encode()
}

// writePage writes what a page's handler gave. Nothing of a page may be in a frame, kept, or told to whom a link leads.
func (a *API) writePage(v *visit, shown any) (any, error) {
	h := v.writer.Header()
	for _, name := range []string{"Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Expose-Headers"} {
		h.Del(name)
	}
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Content-Security-Policy", strings.TrimSpace("default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self' "+v.leadsTo))
	if to, ok := shown.(leave); ok {
		h.Set("Location", to.to)
		v.writer.WriteHeader(http.StatusSeeOther)
		return served{http.StatusSeeOther}, nil
	}
	p := shown.(page) //nolint:forcetypeassert // a handler gives one of the two
	p.Server, p.Base, p.Style, p.User, p.Token = a.config.Self, a.base(), oauth.PathStyle, v.browser.user, v.browser.formToken()
	p.Mails = a.config.Email != nil
	var err error
	if p.Body, err = render(p.template, p); err != nil {
		return nil, err
	}
	whole, err := render("page", p)
	if err != nil {
		return nil, err
	}
	if p.status == 0 {
		p.status = http.StatusOK
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	v.writer.WriteHeader(p.status)
	_, _ = io.WriteString(v.writer, string(whole)) // the browser is gone: nothing to do
	return served{p.status}, nil
}

// writeErrorPage is writeError for a person.
func (a *API) writeErrorPage(r *request, err error) int {
	p := page{status: http.StatusBadRequest, template: "message", Title: "This didn't work"}
	var refused *oauth.Error
	var limited *limitedError
	switch {
	case errors.As(err, &limited):
		p.status, p.Detail = http.StatusTooManyRequests, "There were too many tries. Wait a moment, then try again."
	case errors.As(err, &refused):
		p.Detail = refused.Description
	default:
		wire, ours := wireError(err)
		if ours {
			a.log.Error("a page could not be shown", "route", r.route, "error", err)
		}
		p.status, p.Detail = wire.Status, wire.Message
	}
	shown, err := a.writePage(&visit{request: r}, p)
	done, ok := shown.(served)
	if err != nil || !ok {
		a.log.Error("a page could not be shown", "route", r.route, "error", err)
		return http.StatusInternalServerError
	}
	return done.status
}

func (a *API) pageStyle(r *request) (any, error) {
	style, err := pageFiles.ReadFile("pages/style.css")
	if err != nil {
		return nil, err
	}
	r.writer.Header().Set("Content-Type", "text/css; charset=utf-8")
	r.writer.Header().Set("Cache-Control", "max-age=3600")
	_, _ = r.writer.Write(style) // the browser is gone: nothing to do
	return served{http.StatusOK}, nil
}

// pressed is the button by which the form was sent, if it is one of these.
func (v *visit) pressed(buttons ...string) string {
	if button := v.sent.Get("do"); slices.Contains(buttons, button) {
		return button
	}
	return ""
}

// lockedAccount is said to who has the password of an account that is locked.
const lockedAccount = "This account has been locked by an administrator of the server."

// pageRegistration is how accounts are made on a page: by the first way that /register has.
type pageRegistration struct{ open, token, email bool }

func (a *API) pageRegistration() pageRegistration {
	flows := a.registrationFlows()
	if len(flows) == 0 {
		return pageRegistration{}
	}
	stages := flows[0].Stages
	return pageRegistration{open: true, token: slices.Contains(stages, stageRegistrationToken), email: slices.Contains(stages, stageEmail)}
}

// logInPage has somebody log in, or make an account where that is asked for and may be.
func (a *API) logInPage(v *visit, client *shownClient, create bool) (any, error) {
	registration := a.pageRegistration()
	button := v.pressed("login", "create")
	if registration.open && (create && button != "login" || button == "create") {
		return a.createPage(v, client, registration)
	}
	if a.config.Email != nil && v.URL.Query().Has("forgotten") && button == "" {
		return a.forgottenPage(v, client)
	}
	p := page{template: "login", Title: "Log in", Client: client, Typed: v.sent.Get("user")}
	if hint, ok := strings.CutPrefix(v.URL.Query().Get("login_hint"), "mxid:"); ok && p.Typed == "" && a.loginUser(hint) != "" {
		p.Typed = hint
	}
	if registration.open && v.route == oauth.PathAuthorize {
		p.Other = v.with("prompt", "create")
	}
	if a.config.Email != nil {
		p.Forgotten = v.with("forgotten", "yes")
	}
	if button == "" {
		return p, nil
	}
	who, err := a.typedUser(v)
	if err != nil {
		return nil, err
	}
	good, err := a.checkPassword(v.Context(), who, v.sent.Get("password"))
	if err != nil {
		return nil, err
	}
	if !good {
		p.status, p.Error = http.StatusForbidden, "Wrong user name or password."
		return p, nil
	}
	return a.loggedIn(v, who.user, p)
}

// typedUser is who somebody says they are: by a user name, or an e-mail address.
func (a *API) typedUser(v *visit) (claim, error) {
	typed := strings.TrimSpace(v.sent.Get("user"))
	if strings.LastIndexByte(typed, '@') > 0 {
		return a.claimedByEmail(v.Context(), "email", typed)
	}
	return claimedByID(a.loginUser(typed)), nil
}

// loggedIn goes on with somebody who has said who they are.
func (a *API) loggedIn(v *visit, user id.UserID, p page) (any, error) {
	a.browsers.close(v.browser.secret)
	ok, err := a.logInBrowser(v.request, user)
	switch {
	case err != nil:
		return nil, err
	case a.config.Users.Restrictions(user).Locked:
		p.status, p.Error = http.StatusForbidden, lockedAccount
		return p, nil
	case !ok:
		p.status, p.Error = http.StatusForbidden, "This account can't be used here."
		return p, nil
	}
	return leave{to: v.here()}, nil
}

// createPage has somebody make an account, once they have shown that they read an e-mail address where one is needed.
func (a *API) createPage(v *visit, client *shownClient, registration pageRegistration) (any, error) {
	p := page{template: "create", Title: "Create an account", Client: client, Typed: v.sent.Get("user"), NeedsToken: registration.token, Other: v.here()}
	if registration.email {
		sid, shown, err := a.byEmail(v, users.EmailRegisters, page{
			Title: p.Title, Client: client, Detail: "An account here needs an e-mail address. You get a mail there, by which you show that it is yours.", Other: p.Other,
		})
		if err != nil || sid == "" {
			return shown, err
		}
		p.SID = sid
	}
	if v.pressed("create") == "" {
		return p, nil
	}
	user, refusal, err := a.createOnPage(v, registration, p.SID)
	if err != nil || refusal != "" {
		p.status, p.Error = http.StatusForbidden, refusal
		return p, err
	}
	return a.loggedIn(v, user, p)
}

// createOnPage makes an account, with the address of a session unless that is ""; the refusal is for the person.
func (a *API) createOnPage(v *visit, registration pageRegistration, sid string) (user id.UserID, refusal string, err error) {
	password := v.sent.Get("password")
	switch {
	case password != v.sent.Get("again"):
		return "", "The two passwords differ.", nil
	case strings.TrimSpace(v.sent.Get("user")) == "":
		return "", "A user name is needed.", nil
	case password == "":
		return "", "A password is needed.", nil
	}
	if err := a.limiter.take(registers, "", a.address(v.Request)); err != nil {
		return "", "", err
	}
	if registration.token && !a.config.Registration.validToken(v.sent.Get("registration")) {
		return "", "This registration token is not valid.", nil
	}
	account, err := a.config.Users.Register(v.Context(), users.Registration{
		Username: strings.TrimSpace(v.sent.Get("user")), Password: password, EmailSession: sid,
	})
	return account.User, sentence(&err), err
}

// sentence makes an error that is the person's a sentence, and takes it away.
func sentence(err *error) string {
	var refused *federation.Error
	if !errors.As(*err, &refused) || refused.Status >= http.StatusInternalServerError || refused.Status == http.StatusTooManyRequests || refused.Message == "" {
		return ""
	}
	*err = nil
	return strings.ToUpper(refused.Message[:1]) + refused.Message[1:] + "."
}

// authorizePage has a user decide whether a client that has sent them here gets in.
//
// spec:client-server-api#authorisation-code-flow
func (a *API) authorizePage(v *visit) (any, error) {
	asked, err := oauth.ReadRequest(v.URL.Query(), a.base()+"/", func(clientID string) (oauth.Client, bool, error) {
		return a.oauthClient(v.Context(), clientID)
	})
	var failure *oauth.Failure
	switch {
	case errors.As(err, &failure):
		return page{status: http.StatusBadRequest, template: "failure", Title: "This client can't be let in", Detail: failure.Cause.Description,
			Back: address(failure.URL), SendsTo: sendsTo(asked.Redirect)}, nil
	case err != nil:
		return nil, err
	}
	again := slices.Contains(strings.Fields(v.URL.Query().Get("prompt")), "login")
	if v.browser.user == "" || asked.Create || again || v.pressed("login", "create") != "" {
		return a.logInPage(v, shownOf(asked.Client), asked.Create)
	}
	v.leadsTo = oauth.FormTarget(asked.Redirect)
	request := users.OAuthRequest{Client: asked.ClientID, Device: asked.Device, Scope: asked.Scope, Redirect: asked.Redirect, Challenge: asked.Challenge}
	switch v.pressed("allow", "refuse") {
	case "allow":
		if err := a.limiter.takeFor(logsIn, "codes of "+string(v.browser.user)); err != nil {
			return nil, err
		}
		code, err := a.config.Users.Allow(v.Context(), v.browser.user, request)
		if err != nil {
			return nil, err
		}
		return leave{to: asked.Succeed(code)}, nil
	case "refuse":
		return leave{to: asked.Fail(oauth.Refuse(oauth.AccessDenied, "the user has refused")).URL}, nil
	}
	p, err := a.consentPage(v, asked.Client, asked.Device)
	p.SendsTo = sendsTo(asked.Redirect)
	return p, err
}

// sendsTo is where a user is sent to, for them to read.
func sendsTo(redirect string) string {
	uri, err := url.Parse(redirect)
	if err != nil || uri.Host == "" {
		return "an app on this device"
	}
	return uri.Host
}

func (a *API) consentPage(v *visit, client oauth.Client, device string) (page, error) {
	_, err := a.config.Users.Device(v.Context(), v.browser.user, device)
	if err != nil && !isNotFound(err) {
		return page{}, err
	}
	return page{template: "consent", Title: "Let this client in?", Client: shownOf(client), Device: device, Replaces: err == nil}, nil
}

// linkPage has a user let a client in that runs on another device and shows a code. Only who is logged in may try codes, and not
// often: they can't be guessed.
//
// spec:client-server-api#device-authorisation-flow
func (a *API) linkPage(v *visit) (any, error) {
	if v.browser.user == "" {
		return a.logInPage(v, nil, false)
	}
	typed := v.URL.Query().Get("user_code")
	if v.sent != nil {
		typed = v.sent.Get("user_code")
	}
	p := page{template: "link", Title: "Log another device in", Typed: typed}
	if typed == "" {
		return p, nil
	}
	if err := a.limiter.takeFor(logsIn, "user codes by "+string(v.browser.user)); err != nil {
		return nil, err
	}
	code := oauth.ReadUserCode(typed)
	request, found, err := a.config.Users.AskedForDevice(v.Context(), code)
	if err != nil {
		return nil, err
	}
	client, known, err := a.oauthClient(v.Context(), request.Client)
	if err != nil {
		return nil, err
	}
	if !found || !known {
		p.status, p.Error = http.StatusForbidden, "This code is not good, or not any more."
		return p, nil
	}
	if button := v.pressed("allow", "refuse"); button != "" {
		done, err := a.config.Users.DecideForDevice(v.Context(), v.browser.user, code, button == "allow")
		switch {
		case err != nil:
			return nil, err
		case !done:
			p.status, p.Error = http.StatusForbidden, "This code is not good, or not any more."
			return p, nil
		case button == "allow":
			return page{template: "message", Title: "Your other device is being logged in", Detail: "You can close this page."}, nil
		}
		return page{template: "message", Title: "The other device was not let in", Detail: "You can close this page."}, nil
	}
	consent, err := a.consentPage(v, client, request.Device)
	consent.UserCode = oauth.ShownUserCode(code)
	return consent, err
}

// shownDevice is a device as its owner sees it.
type shownDevice struct {
	ID, Name, Seen, Address, Agent string
	From                           string // the client that logged in by OAuth 2.0
	View                           string // the query of its page
}

// accountPage is where users who log in by OAuth 2.0 manage their accounts.
//
// spec:client-server-api#account-management-url-parameters
func (a *API) accountPage(v *visit) (any, error) {
	if v.browser.user == "" || v.pressed("login") != "" {
		return a.logInPage(v, nil, false)
	}
	action := oauth.Action(v.URL.Query().Get("action"))
	switch action {
	case oauth.ActionProfile:
		return a.profilePage(v)
	case oauth.ActionDeviceView, oauth.ActionDeviceDelete:
		return a.devicePage(v)
	case "password":
		return a.passwordPage(v)
	case "emails":
		if a.config.Email != nil {
			return a.emailsPage(v)
		}
	case oauth.ActionDeactivate:
		return a.deactivatePage(v)
	case oauth.ActionCrossSigningReset:
		return a.resetPage(v)
	}
	return a.devicesPage(v, "")
}

func (a *API) profilePage(v *visit) (any, error) {
	p := page{template: "profile", Title: "Your profile"}
	var err error
	if v.pressed("profile") != "" {
		p.Typed = v.sent.Get("name")
		if a.config.Users.Restrictions(v.user).Suspended {
			p.status, p.Error = http.StatusForbidden, "This can't be done while the account is suspended."
			return p, nil
		}
		value, err := json.Marshal(p.Typed)
		if err != nil {
			return nil, err
		}
		changed, err := a.config.Users.SetProfileField(v.Context(), v.user, "displayname", value)
		if p.Error = sentence(&err); p.Error != "" {
			p.status = http.StatusBadRequest
			return p, nil
		}
		if err != nil {
			return nil, err
		}
		if changed {
			a.announceProfile(v.request, "displayname")
		}
		p.Notice = "Saved."
		return p, nil
	}
	p.Typed, _, err = a.config.Users.Profile(v.Context(), v.user)
	return p, err
}

// shownDevices are the user's devices, those used last first.
func (a *API) shownDevices(v *visit) ([]shownDevice, error) {
	devices, err := a.config.Users.Devices(v.Context(), v.user)
	if err != nil {
		return nil, err
	}
	clients, err := a.config.Users.OAuthDevices(v.Context(), v.user)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(devices, func(x, y users.Device) int { return int(y.LastSeenTS/1000 - x.LastSeenTS/1000) })
	names := map[string]string{} // by client ID: many devices are of few clients
	shown := make([]shownDevice, 0, len(devices))
	for _, d := range devices {
		one := shownDevice{ID: d.ID, Name: d.DisplayName, Address: d.LastSeenIP, Agent: d.UserAgent,
			View: url.Values{"action": {oauth.ActionDeviceView}, "device_id": {d.ID}}.Encode()}
		if d.LastSeenTS > 0 {
			one.Seen = time.UnixMilli(d.LastSeenTS).UTC().Format("2 January 2006, 15:04 UTC")
		}
		if clientID, ok := clients[d.ID]; ok {
			if _, known := names[clientID]; !known {
				client, _, err := a.oauthClient(v.Context(), clientID)
				if err != nil {
					return nil, err
				}
				names[clientID] = strings.TrimSpace(client.Name + " from " + client.Host())
			}
			one.From = names[clientID]
		}
		shown = append(shown, one)
	}
	return shown, nil
}

func (a *API) devicesPage(v *visit, notice string) (any, error) {
	devices, err := a.shownDevices(v)
	return page{template: "devices", Title: "Your devices", Devices: devices, Notice: notice}, err
}

func (a *API) devicePage(v *visit) (any, error) {
	device := v.URL.Query().Get("device_id")
	if v.pressed("end") != "" {
		device := v.sent.Get("device_id")
		if err := a.config.Users.DeleteDevices(v.Context(), v.user, []string{device}); err != nil {
			return nil, err
		}
		a.config.Ephemeral.DevicesGone(v.user, func(d string) bool { return d == device })
		return a.devicesPage(v, "The device is logged out.")
	}
	devices, err := a.shownDevices(v)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(devices, func(d shownDevice) bool { return d.ID == device }); i >= 0 {
		return page{template: "device", Title: "Your device", Shown: &devices[i]}, nil
	}
	return page{status: http.StatusNotFound, template: "devices", Title: "Your devices", Devices: devices, Error: "You have no such device."}, nil
}

// confirmed tells whether the form has the user's password; else the page says that it hasn't.
func (a *API) confirmed(v *visit, p *page) (bool, error) {
	good, err := a.checkPassword(v.Context(), claimedByID(v.user), v.sent.Get("password"))
	if err == nil && !good {
		p.status, p.Error = http.StatusForbidden, "Wrong password."
	}
	return good, err
}

func (a *API) passwordPage(v *visit) (any, error) {
	p := page{template: "password", Title: "Change the password"}
	if v.pressed("password") == "" {
		return p, nil
	}
	if v.sent.Get("new") != v.sent.Get("again") {
		p.status, p.Error = http.StatusBadRequest, "The two new passwords differ."
		return p, nil
	}
	if good, err := a.confirmed(v, &p); err != nil || !good {
		return p, err
	}
	err := a.config.Users.SetPassword(v.Context(), v.user, v.sent.Get("new"))
	if p.Error = sentence(&err); p.Error != "" {
		p.status = http.StatusBadRequest
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	if v.sent.Get("others") == "yes" {
		if err := a.logOutEverywhere(v.Context(), v.user); err != nil {
			return nil, err
		}
	}
	if _, err := a.logInBrowser(v.request, v.user); err != nil { // all browsers were logged out
		return nil, err
	}
	return leave{to: oauth.PathAccount}, nil
}

func (a *API) deactivatePage(v *visit) (any, error) {
	p := page{template: "deactivate", Title: "Deactivate your account"}
	if v.pressed("deactivate") == "" || v.sent.Get("sure") != "yes" {
		return p, nil
	}
	if good, err := a.confirmed(v, &p); err != nil || !good {
		return p, err
	}
	if err := a.endAccount(v.request, v.sent.Get("erase") == "yes"); err != nil {
		return nil, err
	}
	a.browsers.close(v.browser.secret)
	v.browser.user = ""
	return page{template: "message", Title: "Your account has ended", Detail: "You can close this page."}, nil
}

func (a *API) resetPage(v *visit) (any, error) {
	device := v.URL.Query().Get("device_id")
	p := page{template: "reset", Title: "Replace your keys?", Device: device}
	if v.pressed("reset") == "" {
		return p, nil
	}
	if good, err := a.confirmed(v, &p); err != nil || !good {
		return p, err
	}
	a.resets.allow(v.user, device)
	return page{template: "message", Title: "Go back to your client", Detail: "It may replace your keys in the next ten minutes."}, nil
}
