package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/email"
	"hanse/node/oauth"
	"hanse/node/users"
)

// Email is how mails are sent to users.
type Email struct {
	// Send hands a mail to the mail server: *node/email.Sender's, or a test's.
	Send func(context.Context, email.Mail) error
	// Site is what mails say of this server.
	Site email.Site
	// NextLinks are the hosts to which a confirmed page may lead on, as the client that asked for the mail wants it. Others are
	// not linked to: anybody can ask for a mail.
	NextLinks []string
}

func (a *API) thirdPartyIDRoutes() []route {
	routes := []route{
		{http.MethodGet, "/account/3pid", stable, withUser, ordinary, a.thirdPartyIDs},
		{http.MethodPost, "/account/3pid", stable, withUser, ordinary, a.bindThirdPartyID},
		{http.MethodPost, "/account/3pid/add", stable, withUser, ordinary, a.addThirdPartyID},
		{http.MethodPost, "/account/3pid/bind", stable, withUser, ordinary, a.bindThirdPartyID},
		{http.MethodPost, "/account/3pid/delete", stable, withUser, ordinary, a.deleteThirdPartyID},
		{http.MethodPost, "/account/3pid/unbind", stable, withUser, ordinary, unbindThirdPartyID},
		{http.MethodGet, emailPath, unversioned, withoutUser, ordinary, a.emailPage},
		{http.MethodPost, emailPath, unversioned, withoutUser, ordinary, a.emailPage},
		{http.MethodGet, oauth.PathStyle, unversioned, withoutUser, ordinary, a.pageStyle},
	}
	for path, purpose := range map[string]users.EmailPurpose{
		"/register": users.EmailRegisters, "/account/password": users.EmailResets, "/account/3pid": users.EmailAdds,
	} {
		routes = append(routes,
			route{http.MethodPost, path + "/email/requestToken", stable, withoutUser, registers, func(r *request) (any, error) { return a.requestEmail(r, purpose) }},
			route{http.MethodPost, path + "/msisdn/requestToken", stable, withoutUser, registers, noMedium})
	}
	return routes
}

// noMedium refuses what belongs to telephone numbers, and to e-mail addresses where no mails are sent.
//
// spec:client-server-api#post_matrixclientv3registermsisdnrequesttoken
func noMedium(*request) (any, error) {
	return nil, badRequest("M_THREEPID_MEDIUM_NOT_SUPPORTED", "this server sends no such messages")
}

// requestEmail sends a mail by which somebody shows that they read what is sent to an address. Whether the address is an account's changes
// the mail, not the answer: the specification lets servers do so, and else everybody could ask who has an account. The identity
// server that clients of old name is ignored, as the specification has it.
//
// spec:client-server-api#post_matrixclientv3registeremailrequesttoken
// spec:client-server-api#post_matrixclientv3accountpasswordemailrequesttoken
// spec:client-server-api#post_matrixclientv3account3pidemailrequesttoken
func (a *API) requestEmail(r *request, purpose users.EmailPurpose) (any, error) {
	switch {
	case a.config.Email == nil:
		return noMedium(r)
	case purpose == users.EmailRegisters && a.registrationFlows() == nil:
		return nil, a.config.Registration.closed()
	}
	var req struct {
		ClientSecret *string `json:"client_secret"`
		Email        *string `json:"email"`
		Attempt      *int64  `json:"send_attempt"`
		NextLink     string  `json:"next_link"`
	}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	switch {
	case req.ClientSecret == nil:
		return nil, missingParam("client_secret")
	case req.Email == nil:
		return nil, missingParam("email")
	case req.Attempt == nil:
		return nil, missingParam("send_attempt")
	case *req.Attempt < 1:
		return nil, invalidParam("send_attempt is counted from 1 on")
	}
	address, err := users.CanonicalEmail(*req.Email)
	if err != nil {
		return nil, err
	}
	sid, err := a.mail(r, users.EmailRequest{
		Purpose: purpose, Address: address, ClientSecret: *req.ClientSecret, Attempt: *req.Attempt, NextLink: a.nextLink(req.NextLink),
	})
	if err != nil {
		return nil, err
	}
	return map[string]string{"sid": sid}, nil
}

// mail sends a mail that is asked for, if it may be and was not sent yet.
func (a *API) mail(r *request, asked users.EmailRequest) (sid string, err error) {
	from := a.address(r.Request)
	if err := a.limitMails(from, asked.Address); err != nil {
		return "", err
	}
	ctx, cancel := r.detached() // a client that goes away mustn't break off what then counts as sent
	defer cancel()
	c, err := a.config.Users.BeginEmail(ctx, asked)
	if err == nil && c.Send {
		err = a.sendEmail(ctx, asked.Purpose, c, from.String())
	}
	return c.SID, err
}

// limitMails counts a mail: for who asks, for who gets it, and for all. Who may send none takes none of the others'.
func (a *API) limitMails(from netip.Addr, to string) error {
	if err := a.limiter.take(mails, "", from); err != nil {
		return err
	}
	if err := a.limiter.takeFor(mails, "to "+to); err != nil {
		return err
	}
	return a.limiter.takeFor(allMails, "")
}

// sendEmail sends the mail of a challenge.
func (a *API) sendEmail(ctx context.Context, purpose users.EmailPurpose, c users.EmailChallenge, from string) error {
	site, about := a.config.Email.Site, email.Request{To: c.Address, From: from, User: string(c.User)}
	if c.Suits {
		about.Link = strings.TrimRight(a.config.BaseURL, "/") + emailPath + "?" + url.Values{"sid": {c.SID}, "token": {c.Token}}.Encode()
	}
	var letter email.Mail
	switch {
	case c.Suits && purpose == users.EmailRegisters:
		letter = site.Registration(about)
	case c.Suits && purpose == users.EmailAdds:
		letter = site.Addition(about)
	case c.Suits:
		letter = site.Reset(about)
	case purpose == users.EmailResets:
		letter = site.Unknown(about)
	default:
		letter = site.Taken(about)
	}
	err := a.config.Email.Send(ctx, letter)
	if err == nil {
		return nil
	}
	a.log.Warn("a mail to a user was not sent", "to", c.Address, "error", err)
	if again := a.config.Users.EmailNotSent(ctx, c.SID); again != nil {
		return again
	}
	switch {
	case errors.Is(err, email.ErrBusy):
		return &limitedError{after: busyRetry}
	case errors.Is(err, email.ErrRefusedAddress):
		return invalidParam("the mail server refuses this address")
	}
	return &federation.Error{Status: http.StatusBadGateway, Code: "M_UNKNOWN", Message: "the mail could not be sent; the server's operator finds the reason in the log"}
}

// nextLink is a link if it leads to where it may; "": it doesn't. It is no error: web clients name themselves in each.
func (a *API) nextLink(text string) string {
	link, err := url.Parse(text)
	if err != nil || link.Scheme != "https" || link.User != nil || len(text) > maxNextLinkBytes || !slices.Contains(a.config.Email.NextLinks, strings.ToLower(link.Host)) {
		return ""
	}
	return link.String()
}

// tryEmail tells whether the address of a session was confirmed, for what is asked.
//
// spec:client-server-api#email-based-identity--homeserver
func (a *API) tryEmail(r *request, auth uiaAuth, session uiaSession) (*federation.Error, error) {
	purpose := users.EmailResets
	if strings.HasSuffix(r.route, "/register") {
		purpose = users.EmailRegisters
	}
	proven, err := a.config.Users.EmailProven(r.Context(), auth.Credentials.SID, auth.Credentials.ClientSecret, purpose)
	if err != nil {
		return nil, err
	}
	if !proven { // clients ask again and again until it is
		return &federation.Error{Code: "M_UNAUTHORIZED", Message: "the e-mail address is not confirmed; follow the link in the mail"}, nil
	}
	a.uia.prove(session.id, auth.Credentials.SID)
	return nil, nil
}

// resetPassword is changePassword for somebody who can't log in, but reads the mail of an account.
func (a *API) resetPassword(r *request, req passwordRequest) (any, error) {
	if a.config.Email == nil {
		return nil, errMissingToken
	}
	session, ask, err := a.interactively(r, req.Auth, uiaFlow{Stages: []string{stageEmail}})
	if err != nil {
		return nil, err
	}
	if ask != nil {
		return *ask, nil
	}
	if req.NewPassword == "" {
		return nil, missingParam("new_password")
	}
	_, err = a.resetBySession(r.Context(), session.email, req.NewPassword, req.logsOut())
	if err == nil {
		a.uia.close(session.id)
	}
	return nil, err
}

// resetBySession gives a new password to the account whose address a session has proven.
func (a *API) resetBySession(ctx context.Context, sid, password string, logsOut bool) (id.UserID, error) {
	user, err := a.config.Users.ResetPassword(ctx, sid, password)
	if err != nil {
		return "", err
	}
	a.log.Info("a user has set a new password by e-mail", "user", user)
	if logsOut {
		err = a.logOutEverywhere(ctx, user)
	}
	return user, err
}

// claimedByEmail is who has an address, or nobody: a password can be checked for that all the same, so that neither the answer nor its time
// tells which accounts exist. What can be no address, however long it is, is as good as none.
func (a *API) claimedByEmail(ctx context.Context, medium, address string) (claim, error) {
	canonical, err := users.CanonicalEmail(address)
	if medium != "email" || err != nil {
		return claim{}, nil //nolint:nilerr // nobody has it
	}
	user, _, err := a.config.Users.EmailUser(ctx, canonical)
	return claim{user, "email " + canonical}, err
}

// spec:client-server-api#get_matrixclientv3account3pid
func (a *API) thirdPartyIDs(r *request) (any, error) {
	type form struct {
		Medium    string `json:"medium"`
		Address   string `json:"address"`
		Validated int64  `json:"validated_at"`
		Added     int64  `json:"added_at"`
	}
	list := []form{}
	all, err := a.config.Users.Emails(r.Context(), r.user)
	for _, e := range all {
		list = append(list, form{"email", e.Address, e.Proven.UnixMilli(), e.Added.UnixMilli()})
	}
	return map[string]any{"threepids": list}, err
}

// mayChangeThirdPartyIDs refuses as the capability m.3pid_changes says it.
//
// spec:client-server-api#m3pid_changes-capability
func (a *API) mayChangeThirdPartyIDs() error {
	if a.config.Email == nil {
		return forbidden("this server sends no mails, so that accounts get addresses from its operator alone")
	}
	return nil
}

// spec:client-server-api#post_matrixclientv3account3pidadd
func (a *API) addThirdPartyID(r *request) (any, error) {
	var req struct {
		Auth         json.RawMessage `json:"auth"`
		ClientSecret string          `json:"client_secret"`
		SID          string          `json:"sid"`
	}
	if err := a.mayChangeThirdPartyIDs(); err != nil {
		return nil, err
	}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	switch {
	case req.SID == "":
		return nil, missingParam("sid")
	case req.ClientSecret == "":
		return nil, missingParam("client_secret")
	}
	return a.withPassword(r, req.Auth, func() (any, error) {
		proven, err := a.config.Users.EmailProven(r.Context(), req.SID, req.ClientSecret, users.EmailAdds)
		switch {
		case err != nil:
			return nil, err
		case !proven:
			return nil, badRequest("M_THREEPID_AUTH_FAILED", "the e-mail address is not confirmed; follow the link in the mail first")
		}
		return nil, a.config.Users.AddProvenEmail(r.Context(), r.user, req.SID)
	})
}

// deleteThirdPartyID takes an address from the account. One that it doesn't have is as good as deleted, as with other deployed servers.
//
// spec:client-server-api#post_matrixclientv3account3piddelete
func (a *API) deleteThirdPartyID(r *request) (any, error) {
	var req struct {
		Medium  string `json:"medium"`
		Address string `json:"address"`
	}
	if err := a.mayChangeThirdPartyIDs(); err != nil {
		return nil, err
	}
	if r.oauth {
		return nil, a.onAccountPage()
	}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	switch {
	case req.Medium == "":
		return nil, missingParam("medium")
	case req.Address == "":
		return nil, missingParam("address")
	case req.Medium != "email":
		return unbound, nil
	}
	if err := a.config.Users.RemoveEmail(r.Context(), r.user, req.Address); err != nil && !isNotFound(err) {
		return nil, err
	}
	return unbound, nil
}

// bindThirdPartyID refuses: this server trusts no identity server, through which others would find its users by their addresses.
//
// spec:client-server-api#post_matrixclientv3account3pidbind
func (a *API) bindThirdPartyID(*request) (any, error) {
	return nil, badRequest("M_SERVER_NOT_TRUSTED", "this server uses no identity server")
}

// unbound is what is said of identifiers that no identity server was given by this server.
var unbound = json.RawMessage(`{"id_server_unbind_result":"no-support"}`)

// spec:client-server-api#post_matrixclientv3account3pidunbind
func unbindThirdPartyID(*request) (any, error) { return unbound, nil }
