package server

import (
	"errors"
	"net/http"

	"hanse/federation"
	"hanse/federation/canonicaljson"
	"hanse/federation/id"
	"hanse/keys"
)

// authorizations reads the X-Matrix headers of a request. All must come from one server and be for us. Headers of
// other schemes are none of ours.
//
// spec:server-server-api#request-authentication
func (a *api) authorizations(r *http.Request) ([]federation.Authorization, error) {
	var list []federation.Authorization
	for _, header := range r.Header.Values("Authorization") {
		one, err := federation.ParseAuthorization(header)
		switch {
		case errors.Is(err, federation.ErrOtherScheme):
			continue
		case errors.Is(err, federation.ErrOrigin): // as by Synapse: the request is no better with another signature
			return nil, federation.NewError(http.StatusBadRequest, federation.CodeUnauthorized, err.Error())
		case err != nil:
			return nil, federation.Unauthorized(err.Error())
		case one.Destination != "" && one.Destination != a.Self:
			return nil, federation.Unauthorized("the request is for another server than this one, " + string(a.Self))
		case len(list) > 0 && list[0].Origin != one.Origin:
			return nil, federation.Unauthorized("the request is signed by more than one server")
		case len(list) == maxAuthorizations:
			return nil, federation.Unauthorized("the request has too many signatures")
		}
		list = append(list, one)
	}
	if len(list) == 0 {
		return nil, federation.Unauthorized("the request is not signed: it has no X-Matrix Authorization header")
	}
	return list, nil
}

// authenticate checks the signatures: all by keys that we know must be good, and one at least. The signed destination is always our name, also where an
// old server left it out of the header.
func (a *api) authenticate(q *request, list []federation.Authorization) error {
	origin := list[0].Origin
	message, err := a.requestBytes(q, origin)
	if err != nil {
		return err
	}
	signatures := make(map[id.KeyID][]byte, len(list))
	for _, one := range list {
		signatures[one.Key] = one.Signature
	}
	check := keys.Request{Server: origin, Message: message, Signatures: signatures, EnforceValidity: true}
	if err := a.Verifier.Verify(q.ctx(), []keys.Request{check})[0]; err != nil {
		a.log.Debug("a request's signature is not good", "origin", origin, "path", q.URL.Path, "reason", err)
		return federation.Unauthorized(refusal(origin, err))
	}
	q.origin = origin
	if q.body != nil { // what was signed is what is read, in canonical form
		q.body, _ = canonicaljson.Get(message, "content")
	}
	return nil
}

// requestBytes is what was signed. Of large bodies only as many at a time as there are processors are put in canonical form: it
// takes several times their memory, before anybody has proven to be who they say they are.
func (a *api) requestBytes(q *request, origin id.ServerName) ([]byte, error) {
	if len(q.body) > largeBody {
		select {
		case a.large <- struct{}{}:
			defer func() { <-a.large }()
		case <-q.ctx().Done():
			return nil, q.ctx().Err()
		}
	}
	message, err := federation.RequestBytes(q.Method, target(q.Request), origin, a.Self, q.body)
	if err != nil {
		return nil, wrongBody(q.body, err.Error())
	}
	return message, nil
}

// target is the request's path and query as they were sent.
func target(r *http.Request) string {
	if r.RequestURI != "" && r.RequestURI[0] == '/' {
		return r.RequestURI
	}
	return r.URL.RequestURI() // HTTP/1.1's absolute form, or a request made by hand
}

// refusal says why a signature was not accepted, without what happened inside.
func refusal(origin id.ServerName, err error) string {
	var reason *keys.Error
	if errors.As(err, &reason) {
		return "the request's signature is not accepted: " + reason.Kind.String() + " (" + string(origin) + ")"
	}
	return "the request's signature by " + string(origin) + " can't be checked"
}
