// Package server is the inbound half of the server-server API: it routes, checks who signed a request, bounds and
// decodes it, and hands it to a handler. It decides nothing about rooms.
package server

import (
	"context"
	"log/slog"
	"net/http"
	"runtime"
	"sync/atomic"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/federation/places"
	"hanse/keys"
)

// Verifier checks signatures; keys.Ring is one. It may fetch keys, and may be called concurrently.
type Verifier interface {
	// Verify gives one error a request: nil when the server has signed the message. An error of type *keys.Error says
	// why not.
	Verify(ctx context.Context, reqs []keys.Request) []error
}

// Config is what a server needs.
type Config struct {
	Self     id.ServerName // who we are: requests for another destination are refused
	Verifier Verifier
	Handlers Handlers
	Version  federation.ServerVersion // the answer of /version
	Limits   Limits                   // zero values: the defaults
	Log      *slog.Logger             // nil: silent
	// From tells where a request comes from, which bounds what somebody can have us hold before they have proven who they are. It may be called
	// concurrently; nil: the other end of the connection.
	From func(*http.Request) string
	// OnRequest is told of every request whose signature is good, before it is handled: the origin is up. It must be
	// quick and may be called concurrently. It may be nil.
	OnRequest func(origin id.ServerName)
	// Observe is told of every request that was answered: the endpoint as in its route ("PUT /_matrix/federation/v1/
	// send/{txnID}", "" if there is none) and the status. It may be called concurrently. It may be nil.
	Observe func(endpoint string, status int)
	// Load shows what the server has to do; it may be nil.
	Load *Load
	// Refused is told of every request that was refused: the endpoint as in Observe, and who says to have made it, which is
	// proved only where the refusal isn't about that ("" if nobody does). It may be called concurrently. It may be nil.
	Refused func(origin id.ServerName, endpoint string, why *federation.Error)
}

// Load is what a server has to do now. Its zero value is ready; it is read only.
type Load struct {
	InFlight atomic.Int64 // requests being handled
	Bodies   atomic.Int64 // bytes of request bodies held
	Unproven atomic.Int64 // requests of servers that never showed a good signature, being checked
}

// api is the handler of all endpoints.
type api struct {
	Config
	mux   *http.ServeMux
	limit Limits
	log   *slog.Logger

	gate     *gate
	bodies   *shares // the bytes of those that are held
	admitted *admission
	lists    *places.Places[id.ServerName] // of answers with lists of events
	states   *places.Places[id.ServerName]
	large    chan struct{} // a place for each large body that is put in canonical form
	rests    *places.Rests
	load     *Load
}

// New makes the handler of the server-server API. It answers everything below /_matrix/federation/ and /_matrix/key/,
// and 404 M_UNRECOGNIZED to all else. Nothing runs behind it.
func New(cfg Config) http.Handler {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	a := &api{
		Config: cfg, mux: http.NewServeMux(), limit: cfg.Limits.withDefaults(),
		log: cfg.Log.With("part", "federation/server"), large: make(chan struct{}, runtime.GOMAXPROCS(0)),
		rests: places.NewRests(),
	}
	if a.load = cfg.Load; a.load == nil {
		a.load = &Load{}
	}
	a.bodies = newShares(a.limit.BodyMemory, &a.load.Bodies)
	a.gate, a.admitted = newGate(a.limit, &a.load.Unproven), newAdmission(a.limit)
	a.lists, a.states = places.New[id.ServerName](listsPerOrigin, lists), places.New[id.ServerName](statesPerOrigin, states)
	for path, endpoints := range a.routes() {
		a.mux.Handle(path, a.dispatch(path, endpoints))
	}
	return a
}
