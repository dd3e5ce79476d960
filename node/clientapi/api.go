package clientapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/federation/places"
	"hanse/federation/roomversion"
	"hanse/node/appservice"
	"hanse/node/clientsync"
	"hanse/node/delayed"
	"hanse/node/directory"
	"hanse/node/e2ee"
	"hanse/node/ephemeral"
	"hanse/node/media"
	"hanse/node/push"
	"hanse/node/rooms"
	"hanse/node/search"
	"hanse/node/slidingsync"
	"hanse/node/users"
)

// ProfileClient asks another server for a user's profile; *federation/client.Client is one.
type ProfileClient interface {
	// QueryProfile returns the profile's fields, or one of them when field is not "". A *client.Error says why not.
	QueryProfile(ctx context.Context, destination id.ServerName, user id.UserID, field string) (federation.ProfileResponse, error)
}

// Config is what the API needs. Self, Users, Rooms, Directory and Ephemeral must be there.
type Config struct {
	Self      id.ServerName
	Users     *users.Users
	Rooms     *rooms.Rooms
	Directory *directory.Directory
	Ephemeral *ephemeral.Ephemeral
	// Encryption is the server's side of end-to-end encryption; nil: its endpoints are not there.
	Encryption *e2ee.E2EE
	// Media keeps files; nil: there are no such endpoints.
	Media *media.Media
	// MediaFrozen is for clients without a token: by the old endpoints they get media from before that time. Zero: none.
	MediaFrozen time.Time
	// Sync builds the answers of /sync and what stands beside events.
	Sync *clientsync.Syncer
	// SlidingSync does the same for clients that speak Simplified Sliding Sync; nil: there is no such endpoint.
	SlidingSync *slidingsync.Syncer
	// Pushers notifies users' devices; nil: no pushers can be set.
	Pushers *push.Pushers
	// Delayed are events that users have scheduled; nil: they can't.
	Delayed *delayed.Events
	// Search finds messages; nil: there is no such endpoint.
	Search *search.Search
	// Turn is for calls.
	Turn Turn
	// Profiles asks other servers; nil: profiles of their users are not found.
	Profiles ProfileClient
	// BaseURL is where clients reach this API, for /.well-known/matrix/client; "": that path answers 404.
	BaseURL string
	// Support says who helps users, for /.well-known/matrix/support; nothing in it: that path answers 404.
	Support Support
	// LiveKitServiceURL is where clients get to the media server of calls; "": they are told of none.
	LiveKitServiceURL string
	// Services are application services; nil: there are none.
	Services *appservice.Services
	// OAuth offers the OAuth 2.0 API; it needs BaseURL.
	OAuth bool
	// Email is how mails are sent; nil: none are, and accounts get addresses by the operator alone. It needs BaseURL.
	Email *Email
	// Registration says who may register.
	Registration Registration
	// DefaultRoomVersion is for rooms whose creator asks for none; "": the newest stable one.
	DefaultRoomVersion roomversion.Version
	// RateLimits; the zero value is on, with sane limits.
	RateLimits RateLimits
	// TrustedProxies are the addresses whose X-Forwarded-For is believed. Nil: loopback, as a proxy beside this process
	// is the usual set-up and without it all clients would share their limits. Empty: none.
	TrustedProxies []netip.Prefix
	// Observe is called after each request, if set: the route's pattern, "" for unknown paths. For metrics.
	Observe func(route, method string, status int, took time.Duration)
	Log     *slog.Logger
}

// API is the handler. Safe for concurrent use.
type API struct {
	config  Config
	log     *slog.Logger
	mux     *http.ServeMux
	limiter *limiter
	// toDevices has the buckets of pairs of sender and recipient apart: there can be so many that they would push out the others.
	toDevices *limiter
	uia       *uiaSessions
	nonces    *nonces
	// noticing is held while a room of notices is looked for and made: each user has one.
	noticing sync.Mutex
	browsers *browserSessions
	polls    polls
	meetings meetings
	resets   resets
	lanes    lanes
	sending  *fileCounter // files on their way in
	getting  *fileCounter // and out
	bodies   *heldBodies
	rests    *places.Rests
	// unanswered are requests that make events.
	unanswered unanswered
}

// New makes the handler.
func New(config Config) (*API, error) {
	if config.Users == nil || config.Rooms == nil || config.Directory == nil || config.Ephemeral == nil {
		return nil, errors.New("clientapi: Users, Rooms, Directory and Ephemeral are needed")
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	if base, err := url.Parse(config.BaseURL); config.OAuth && (err != nil || base.Host == "") {
		return nil, errors.New("clientapi: OAuth needs BaseURL")
	}
	if config.Services == nil {
		config.Services = &appservice.Services{}
	}
	if config.TrustedProxies == nil {
		config.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	if config.DefaultRoomVersion == "" {
		config.DefaultRoomVersion = roomversion.Default
	}
	if _, ok := roomversion.Lookup(config.DefaultRoomVersion); !ok {
		return nil, fmt.Errorf("clientapi: unknown room version %q", config.DefaultRoomVersion)
	}
	a := &API{
		config:    config,
		log:       config.Log,
		mux:       http.NewServeMux(),
		limiter:   newLimiter(config.RateLimits),
		toDevices: newLimiter(config.RateLimits),
		uia:       newUIASessions(),
		nonces:    newNonces(),
		browsers:  newBrowserSessions(),
		lanes:     newLanes(),
		sending:   newFileCounter(maxUploadsEach),
		getting:   newFileCounter(maxFilesEach),
		bodies:    newHeldBodies(),
		rests:     places.NewRests(),

		unanswered: unanswered{done: map[transaction]chan struct{}{}},
	}
	for pattern, methods := range table(a.routes()) {
		a.mux.Handle(pattern, a.handler(pattern, methods))
	}
	a.mux.Handle("/", a.handler("", nil))
	return a, nil
}

// ServeHTTP answers a request; whatever happens, the body is JSON.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setCORS(w.Header(), r.Method)
	path, body := r.URL.EscapedPath(), r.Body
	if places.LeavesUnread(r) { // who has read the body takes it back
		w.Header().Set("Connection", "close")
	}
	switch {
	case len(r.RequestURI) > maxPathBytes:
		writeJSON(w, http.StatusRequestURITooLong, &federation.Error{Code: "M_TOO_LARGE", Message: "the request's path is too long"})
	case !strings.HasPrefix(path, "/") || unclean(path):
		// The mux would answer with a redirect and a page of HTML.
		writeJSON(w, http.StatusNotFound, unrecognized(http.StatusNotFound, "no such path"))
	default:
		a.mux.ServeHTTP(w, r)
	}
	if w.Header().Get("Connection") == "close" {
		a.rests.Read(w, body, a.From(r))
	}
}

// unclean tells whether a path has empty or dot segments, except an empty last one.
func unclean(path string) bool {
	rest := path[1:]
	for more := true; more; {
		var segment string
		if segment, rest, more = strings.Cut(rest, "/"); segment == "." || segment == ".." || segment == "" && more {
			return true
		}
	}
	return false
}

// handler serves the methods of one pattern.
func (a *API) handler(pattern string, m methods) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		req := &request{Request: r, writer: w, route: pattern, api: a}
		status := 0
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler {
					panic(p)
				}
				a.log.Error("a client's request panicked", "method", r.Method, "route", pattern, "panic", p, "stack", string(debug.Stack()))
				status = writeJSON(w, http.StatusInternalServerError, &federation.Error{Code: "M_UNKNOWN", Message: "internal server error"})
			}
			took := time.Since(start)
			if a.log.Enabled(r.Context(), slog.LevelDebug) { // else the arguments would be made for nothing
				a.log.Debug("client request", "method", r.Method, "route", pattern, "status", status, "user", req.user, "took", took)
			}
			if a.config.Observe != nil {
				a.config.Observe(pattern, r.Method, status, took)
			}
		}()
		status = a.serve(w, req, m)
	})
}

// serve is the way of a request: method, limit by address, authentication, limit by user, its body, its turn, the handler,
// the answer.
func (a *API) serve(w http.ResponseWriter, r *request, m methods) int {
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return http.StatusNoContent
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	route, ok := m[method]
	switch {
	case m == nil:
		return a.writeError(w, r, unrecognized(http.StatusNotFound, "no such path"))
	case !ok:
		w.Header().Set("Allow", m.allow())
		return a.writeError(w, r, unrecognized(http.StatusMethodNotAllowed, "this path doesn't take %s", r.Method))
	}
	if route.class == uploads && r.ProtoMajor == 1 { // not even a short rest of a file is waited for
		w.Header().Set("Connection", "close")
	}
	if err := a.admit(r, route); err != nil {
		return a.writeError(w, r, err)
	}
	if r.ContentLength != 0 && a.lane(r, route).full() { // what would be sent away all the same needn't be read
		return a.writeError(w, r, &limitedError{after: busyRetry})
	}
	if route.class != uploads { // files go to the disk as they come
		r.Request.Body = http.MaxBytesReader(w, r.Request.Body, maxBodyBytes)
		release, err := a.readAhead(r)
		if err != nil {
			return a.writeError(w, r, err)
		}
		defer release()
		w.Header().Del("Connection")
	}
	turn, err := a.lane(r, route).take(r.Context(), a.sharer(r))
	if err != nil {
		return a.writeError(w, r, err)
	}
	defer turn.leave()
	defer func() {
		if r.answered != nil {
			r.answered()
		}
	}()
	body, err := route.serve(r)
	if err != nil {
		return a.writeError(w, r, err)
	}
	w.Header().Del("Connection")
	if done, ok := body.(served); ok {
		return done.status
	}
	if len(r.laters) > 0 {
		return a.writeLater(w, r, body, turn)
	}
	if r.answered != nil {
		turn.leave() // a few bytes, but they are on their way only when there is room for them
		return a.writeSent(w, r, body)
	}
	if special, ok := body.(answer); ok {
		return a.write(w, r, turn, special.status, special.body)
	}
	return a.write(w, r, turn, http.StatusOK, body)
}

// admit authenticates a request and holds it against the rate limits.
func (a *API) admit(r *request, route route) error {
	address := a.address(r.Request)
	if route.auth == withoutUser {
		if _, err := a.askingService(r); err == nil && (route.class == registers || route.class == logsIn) {
			return nil // it makes as many users as its network has
		}
		return a.limiter.take(route.class, "", address)
	}
	token, err := accessToken(r.Request)
	switch {
	case err != nil && (route.auth == maybeUser || route.auth == userIfNamed && errors.Is(err, errMissingToken)):
		return a.limiter.take(route.class, "", address)
	case err != nil:
		return err
	}
	if service, ok := a.config.Services.ByToken(token); ok {
		return a.admitService(r, route, service)
	}
	session, err := a.config.Users.Authenticate(r.Context(), token, address, r.UserAgent())
	switch {
	case (errors.Is(err, users.ErrUnknownToken) || errors.Is(err, users.ErrExpiredToken)) && route.auth == maybeUser:
		return a.limiter.take(route.class, "", address)
	case errors.Is(err, users.ErrUnknownToken):
		return &federation.Error{Status: http.StatusUnauthorized, Code: "M_UNKNOWN_TOKEN", Message: "the access token is not known, or no longer good"}
	case errors.Is(err, users.ErrExpiredToken):
		return &federation.Error{Status: http.StatusUnauthorized, Code: "M_UNKNOWN_TOKEN", Message: "the access token has expired", SoftLogout: true}
	case err != nil:
		return err
	}
	r.user, r.device, r.token, r.admin, r.oauth = session.User, session.Device, token, session.Admin, session.OAuth
	if err := a.limiter.take(route.class, session.User, address); err != nil {
		return err
	}
	return a.unrestricted(r, route)
}
