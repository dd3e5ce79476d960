package server

import (
	"context"
	"errors"
	"net/http"
	"runtime/debug"

	"hanse/federation"
	"hanse/federation/id"
)

// request is one request on its way to its handler.
type request struct {
	*http.Request
	origin id.ServerName // who signed it; "" where no signature is asked for
	body   []byte        // the JSON object that came, canonical if it was signed; nil where there is none
}

// ctx is the request's context: it ends when the peer goes away.
func (r *request) ctx() context.Context { return r.Context() }

// serve takes a request through its stations: room for it, body, signature, handler, answer.
func (a *api) serve(w http.ResponseWriter, r *http.Request, name string, e endpoint) {
	defer func() {
		if fault := recover(); fault != nil {
			if fault == http.ErrAbortHandler {
				panic(fault) // an answer broke off half-way: the connection must end, so that the peer sees it
			}
			a.log.Error("a request made the server fail", "endpoint", name, "fault", fault, "stack", string(debug.Stack()))
			a.answerError(w, r, name, federation.Unknown())
		}
	}()
	defer a.inFlight.Add(-1)
	if a.inFlight.Add(1) > int64(a.limit.InFlight) {
		a.answerError(w, r, name, federation.LimitExceeded(a.limit.RetryAfter))
		return
	}
	q := &request{Request: r}
	answer, err := a.handle(w, q, e)
	if err != nil {
		a.answerError(w, r, name, a.wireError(q, name, err))
		return
	}
	a.answer(w, r, name, answer)
}

// handle checks and decodes a request as far as all endpoints have in common, and calls the endpoint.
func (a *api) handle(w http.ResponseWriter, q *request, e endpoint) (any, error) {
	var authorizations []federation.Authorization
	if !e.open {
		var err error
		if authorizations, err = a.authorizations(q.Request); err != nil { // before the body: it costs nothing
			return nil, err
		}
	}
	if e.body > 0 {
		body, release, err := a.readBody(w, q.Request, e.body)
		if err != nil {
			return nil, err
		}
		defer release()
		q.body = body
	}
	if !e.open {
		if err := a.authenticate(q, authorizations); err != nil {
			return nil, err
		}
		if a.OnRequest != nil {
			a.OnRequest(q.origin)
		}
		if !a.enter(q.origin) {
			return nil, federation.LimitExceeded(a.limit.RetryAfter)
		}
		defer a.leave(q.origin)
	}
	return e.handle(q)
}

// enter counts a request of a server; false means that it has too many under way.
func (a *api) enter(origin id.ServerName) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.origins[origin] >= a.limit.PerOrigin {
		return false
	}
	a.origins[origin]++
	return true
}

func (a *api) leave(origin id.ServerName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.origins[origin]--; a.origins[origin] == 0 {
		delete(a.origins, origin)
	}
}

// wireError is what the peer is told about an error.
func (a *api) wireError(q *request, name string, err error) *federation.Error {
	var wire *federation.Error
	if errors.As(err, &wire) {
		a.log.Debug("a request is refused", "endpoint", name, "origin", q.origin, "reason", wire)
		return wire
	}
	if q.ctx().Err() != nil { // the peer went away: nobody reads this
		a.log.Debug("a request was given up", "endpoint", name, "origin", q.origin, "reason", err)
		return federation.Unknown()
	}
	a.log.Error("a request failed", "endpoint", name, "origin", q.origin, "error", err)
	return federation.Unknown()
}
