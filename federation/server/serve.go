package server

import (
	"context"
	"errors"
	"net/http"
	"runtime/debug"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/federation/places"
)

// request is one request on its way to its handler.
type request struct {
	*http.Request
	origin id.ServerName // who signed it; "" where no signature is asked for
	claims id.ServerName // who says to have signed it
	left   func()        // ends what lasts until the answer was read; nil: nothing does
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
	q := &request{Request: r}
	defer func() {
		if q.left != nil {
			q.left()
		}
	}()
	answer, err := a.handle(w, q, e)
	if err != nil {
		wire := a.wireError(q, name, err)
		if a.Refused != nil && q.ctx().Err() == nil {
			a.Refused(q.claims, name, wire)
		}
		a.answerError(w, r, name, wire)
		return
	}
	if e.places != nil {
		w = e.places.Writer(w, pace, q.origin)
	}
	a.answer(w, r, name, answer)
}

// handle takes a request through what all endpoints have in common, and calls the endpoint.
func (a *api) handle(w http.ResponseWriter, q *request, e endpoint) (any, error) {
	if e.open {
		w.Header().Set("Access-Control-Allow-Origin", "*") // for pages that look whether a server federates
		return a.handleOpen(w, q, e)
	}
	authorizations, err := a.authorizations(q.Request) // before the body: it costs nothing
	if err != nil {
		return nil, err
	}
	origin := authorizations[0].Origin
	q.claims = origin
	if e.queued && a.admitted.hopeless(q.ctx(), origin, a.admitted.weigh(q.ContentLength)) {
		return nil, federation.LimitExceeded(a.limit.RetryAfter)
	}
	from := a.sender(q.Request)
	proven, ok := a.gate.arrive(origin, from)
	if !ok {
		return nil, federation.LimitExceeded(a.limit.RetryAfter)
	}
	release, err := a.prepare(w, q, e)
	if err == nil {
		defer release()
		err = a.authenticate(q, authorizations)
	}
	a.gate.checked(origin, from, proven, err == nil)
	if err != nil {
		return nil, err
	}
	if a.OnRequest != nil {
		a.OnRequest(origin)
	}
	if !a.gate.enter(origin) {
		return nil, federation.LimitExceeded(a.limit.RetryAfter)
	}
	defer a.gate.leave(origin)
	if e.queued {
		turn := a.admitted.enter(q.ctx(), origin, a.admitted.weigh(int64(len(q.body))))
		if turn == nil {
			return nil, federation.LimitExceeded(a.limit.RetryAfter)
		}
		defer turn.leave()
		q.Request = q.WithContext(context.WithValue(q.ctx(), turnKey{}, turn))
	}
	if e.places != nil && !a.takePlace(q, e.places) {
		return nil, federation.LimitExceeded(a.limit.RetryAfter)
	}
	return e.handle(q)
}

// takePlace waits for one of the places of requests that a few bytes make much work of, which the request leaves once its answer was read.
// Without them a server in a large room could have its state made a thousand times at once, and read none of it. The request isn't in flight
// while it waits: those of a server that has more of them than places must not keep others out.
func (a *api) takePlace(q *request, p *places.Places[id.ServerName]) bool {
	a.load.InFlight.Add(-1)
	defer a.load.InFlight.Add(1)
	ctx, cancel := context.WithTimeout(q.ctx(), placePatience)
	defer cancel()
	var err error
	q.left, err = p.Take(ctx, q.origin)
	return err == nil
}

// handleOpen is handle for endpoints that ask for no signature.
func (a *api) handleOpen(w http.ResponseWriter, q *request, e endpoint) (any, error) {
	release, err := a.prepare(w, q, e)
	if err != nil {
		return nil, err
	}
	defer release()
	return e.handle(q)
}

// prepare reads the body and makes room for the request among those in flight, until release. One whose body is still
// coming is not in flight: peers that send slowly must not keep others out.
func (a *api) prepare(w http.ResponseWriter, q *request, e endpoint) (release func(), err error) {
	free := func() {}
	if e.body > 0 {
		if q.body, free, err = a.readBody(w, q.Request, e.body); err != nil {
			return nil, err
		}
	}
	if a.load.InFlight.Add(1) > int64(a.limit.InFlight) {
		a.load.InFlight.Add(-1)
		free()
		return nil, federation.LimitExceeded(a.limit.RetryAfter)
	}
	return func() { a.load.InFlight.Add(-1); free() }, nil
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
