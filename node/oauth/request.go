package oauth

import (
	"net/url"
	"slices"
	"strings"
)

// maxStateBytes bounds what a client has handed back to it.
const maxStateBytes = 4096

// Request is an authorisation request that is good.
//
// spec:client-server-api#authorisation-code-flow
type Request struct {
	ClientID  string
	Client    Client
	Redirect  string
	Device    string
	Scope     string // what would be granted
	Challenge string // PKCE's, by S256
	Create    bool   // the user wants to make an account

	state    string
	hasState bool
	fragment bool
	issuer   string
}

// ReadRequest reads an authorisation request to the server of that issuer; find looks a client up. An *Error is for the person in front
// of the browser: it is not known where else to say it, or not safe. With a *Failure the user is sent to its URL.
func ReadRequest(query url.Values, issuer string, find func(clientID string) (Client, bool, error)) (Request, error) {
	one := func(name string) string { return query.Get(name) }
	r := Request{ClientID: one("client_id"), Redirect: one("redirect_uri"), issuer: issuer}
	for _, name := range []string{"client_id", "redirect_uri"} {
		switch len(query[name]) {
		case 0:
			return r, Refuse(InvalidRequest, "%s is missing", name)
		case 1:
		default:
			return r, Refuse(InvalidRequest, "%s is there more than once", name)
		}
	}
	client, ok, err := find(r.ClientID)
	switch {
	case err != nil:
		return r, err
	case !ok:
		return r, Refuse(InvalidClient, "this server doesn't know the client, or not any more; let it begin anew")
	case !client.allows(r.Redirect):
		return r, Refuse(InvalidRequest, "the client didn't register the address to which it wants to send you back")
	}
	r.Client = client
	mode := one("response_mode")
	r.fragment = mode == "fragment"
	if len(one("state")) <= maxStateBytes && len(query["state"]) == 1 {
		r.state, r.hasState = one("state"), true
	}
	for name, values := range query {
		if len(values) > 1 {
			return r, r.Fail(Refuse(InvalidRequest, "%s is there more than once", name))
		}
	}
	prompt := strings.Fields(one("prompt"))
	r.Create = slices.Contains(prompt, "create")
	switch {
	case query.Has("state") && !r.hasState:
		return r, r.Fail(Refuse(InvalidRequest, "state is too long"))
	case !client.May(GrantCode):
		return r, r.Fail(Refuse(UnauthorizedClient, "the client didn't register for the grant %s", GrantCode))
	case one("response_type") != "code":
		return r, r.Fail(Refuse(UnsupportedResponseType, "response_type must be code"))
	case mode != "" && mode != "query" && mode != "fragment":
		return r, r.Fail(Refuse(InvalidRequest, "response_mode must be query or fragment"))
	case query.Has("request"), query.Has("request_uri"):
		return r, r.Fail(Refuse("request_not_supported", "parameters come by themselves, not in an object"))
	case one("code_challenge") == "":
		return r, r.Fail(Refuse(InvalidRequest, "code_challenge is missing: PKCE is needed"))
	case one("code_challenge_method") != "S256":
		return r, r.Fail(Refuse(InvalidRequest, "code_challenge_method must be S256"))
	case !isChallenge(one("code_challenge")):
		return r, r.Fail(Refuse(InvalidRequest, "code_challenge is no SHA-256 hash in base64url"))
	case slices.Contains(prompt, "none"):
		return r, r.Fail(Refuse(InteractionRequired, "the user has to be asked"))
	}
	r.Challenge = one("code_challenge")
	if r.Device, r.Scope, err = ReadScope(one("scope")); err != nil {
		return r, r.Fail(err.(*Error)) //nolint:forcetypeassert // as ReadScope says
	}
	return r, nil
}

// Failure is why an authorisation failed, and where the user is sent to with that.
type Failure struct {
	Cause *Error
	URL   string
}

func (f *Failure) Error() string { return f.Cause.Error() }

// Fail is the failure of a request whose client and redirect URI are good.
func (r Request) Fail(e *Error) *Failure {
	return &Failure{Cause: e, URL: r.back(url.Values{"error": {e.Code}, "error_description": {e.Description}})}
}

// Succeed is where the user is sent with a code.
func (r Request) Succeed(code string) string { return r.back(url.Values{"code": {code}}) }

// back is the redirect URI with an answer. It says who answers, so that a client that talks to several servers takes no answer of
// one for another's: RFC 9207.
func (r Request) back(answer url.Values) string {
	answer.Set("iss", r.issuer)
	if r.hasState {
		answer.Set("state", r.state)
	}
	separator := "?"
	switch {
	case r.fragment:
		separator = "#"
	case strings.Contains(r.Redirect, "?"):
		separator = "&"
	}
	return r.Redirect + separator + answer.Encode()
}
