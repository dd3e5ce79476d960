package server

import (
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/federation/places"
)

// endpoint is one method of one path.
type endpoint struct {
	open   bool                          // no signature is asked for
	queued bool                          // counts among Limits.Transactions
	places *places.Places[id.ServerName] // bounds those made and read at a time; nil: nothing does
	body   int64                         // the body's limit; 0: there is none
	handle func(r *request) (any, error)
}

// methods are the endpoints of a path, by method.
type methods map[string]endpoint

// routes are all endpoints for which there is a handler.
func (a *api) routes() map[string]methods {
	const v1, v2 = "/_matrix/federation/v1", "/_matrix/federation/v2"
	routes := map[string]methods{v1 + "/version": {http.MethodGet: {open: true, handle: a.version}}}
	if a.Handlers.Keys != nil {
		own := methods{http.MethodGet: {open: true, handle: a.serverKeys}}
		routes["/_matrix/key/v2/server"] = own
		routes["/_matrix/key/v2/server/{$}"] = own
		routes["/_matrix/key/v2/server/{keyID}"] = own
		routes["/_matrix/key/v2/query"] = methods{http.MethodPost: {open: true, body: maxQuestion, handle: a.queryKeys}}
		routes["/_matrix/key/v2/query/{serverName}"] = methods{http.MethodGet: {open: true, handle: a.queryServerKeys}}
		routes["/_matrix/key/v2/query/{serverName}/{keyID}"] = methods{http.MethodGet: {open: true, handle: a.queryServerKeys}}
	}
	if a.Handlers.Transactions != nil {
		routes[v1+"/send/{txnID}"] = methods{http.MethodPut: {body: maxTransaction, queued: true, handle: a.transaction}}
	}
	if a.Handlers.Joins != nil {
		routes[v1+"/make_join/{roomID}/{userID}"] = methods{http.MethodGet: {handle: a.makeJoin}}
		routes[v1+"/send_join/{roomID}/{eventID}"] = methods{http.MethodPut: {body: maxEvent, places: a.states, handle: a.sendJoinV1}}
		routes[v2+"/send_join/{roomID}/{eventID}"] = methods{http.MethodPut: {body: maxEvent, places: a.states, handle: a.sendJoinV2}}
	}
	if a.Handlers.Leaves != nil {
		routes[v1+"/make_leave/{roomID}/{userID}"] = methods{http.MethodGet: {handle: a.makeLeave}}
		routes[v1+"/send_leave/{roomID}/{eventID}"] = methods{http.MethodPut: {body: maxEvent, handle: a.sendLeaveV1}}
		routes[v2+"/send_leave/{roomID}/{eventID}"] = methods{http.MethodPut: {body: maxEvent, handle: a.sendLeaveV2}}
	}
	if a.Handlers.Knocks != nil {
		routes[v1+"/make_knock/{roomID}/{userID}"] = methods{http.MethodGet: {handle: a.makeKnock}}
		routes[v1+"/send_knock/{roomID}/{eventID}"] = methods{http.MethodPut: {body: maxEvent, handle: a.sendKnock}}
	}
	if a.Handlers.Invites != nil {
		routes[v1+"/invite/{roomID}/{eventID}"] = methods{http.MethodPut: {body: maxEvent, handle: a.inviteV1}}
		routes[v2+"/invite/{roomID}/{eventID}"] = methods{http.MethodPut: {body: maxEvent, handle: a.inviteV2}}
	}
	if a.Handlers.ThirdParty != nil {
		routes[v1+"/exchange_third_party_invite/{roomID}"] = methods{http.MethodPut: {body: maxEvent, handle: a.exchangeThirdPartyInvite}}
		bound := endpoint{open: true, body: maxQuestion, handle: a.onBind}
		routes[v1+"/3pid/onbind"] = methods{http.MethodPut: bound, http.MethodPost: bound} // Sydent, the identity server that is deployed, sends POST
	}
	if a.Handlers.Events != nil {
		routes[v1+"/event/{eventID}"] = methods{http.MethodGet: {handle: a.event}}
		routes[v1+"/state/{roomID}"] = methods{http.MethodGet: {places: a.states, handle: a.state}}
		routes[v1+"/state_ids/{roomID}"] = methods{http.MethodGet: {places: a.states, handle: a.stateIDs}}
		routes[v1+"/event_auth/{roomID}/{eventID}"] = methods{http.MethodGet: {places: a.states, handle: a.eventAuth}}
		routes[v1+"/timestamp_to_event/{roomID}"] = methods{http.MethodGet: {places: a.lists, handle: a.timestampToEvent}}
		routes[v1+"/backfill/{roomID}"] = methods{http.MethodGet: {places: a.lists, handle: a.backfill}}
		routes[v1+"/get_missing_events/{roomID}"] = methods{http.MethodPost: {body: maxQuestion, places: a.lists, handle: a.missingEvents}}
	}
	if a.Handlers.Directory != nil {
		routes[v1+"/query/directory"] = methods{http.MethodGet: {handle: a.directory}}
		routes[v1+"/publicRooms"] = methods{
			http.MethodGet:  {handle: a.publicRooms},
			http.MethodPost: {body: maxQuestion, handle: a.filteredPublicRooms},
		}
	}
	if a.Handlers.Spaces != nil {
		routes[v1+"/hierarchy/{roomID}"] = methods{http.MethodGet: {places: a.lists, handle: a.hierarchy}}
	}
	if a.Handlers.Profiles != nil {
		routes[v1+"/query/profile"] = methods{http.MethodGet: {handle: a.profile}}
	}
	if a.Handlers.Media != nil {
		routes[v1+"/media/download/{mediaID}"] = methods{http.MethodGet: {handle: a.media}}
		routes[v1+"/media/thumbnail/{mediaID}"] = methods{http.MethodGet: {handle: a.thumbnail}}
	}
	if a.Handlers.Devices != nil {
		routes[v1+"/user/devices/{userID}"] = methods{http.MethodGet: {handle: a.userDevices}}
		routes[v1+"/user/keys/query"] = methods{http.MethodPost: {body: maxQuestion, handle: a.queryDeviceKeys}}
		routes[v1+"/user/keys/claim"] = methods{http.MethodPost: {body: maxQuestion, handle: a.claimDeviceKeys}}
	}
	if a.Handlers.OpenID != nil {
		routes[v1+"/openid/userinfo"] = methods{http.MethodGet: {open: true, handle: a.openID}}
	}
	// These paths once ended in a slash, and servers of then still call them so.
	for _, path := range []string{"/send/{txnID}", "/event/{eventID}", "/state/{roomID}", "/state_ids/{roomID}", "/backfill/{roomID}"} {
		if endpoints := routes[v1+path]; endpoints != nil {
			routes[v1+path+"/{$}"] = endpoints
		}
	}
	return routes
}

// ServeHTTP finds the endpoint. The path is matched as it was sent, still escaped, so that an ID may hold "%2F".
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := r.Body
	defer func() {
		if w.Header().Get("Connection") == "close" {
			a.rests.Read(w, body, a.sender(r))
		}
	}()
	escaped := r.URL.EscapedPath()
	clean := path.Clean(escaped)
	if strings.HasSuffix(escaped, "/") && clean != "/" {
		clean += "/"
	}
	// ServeMux would redirect a path with "//" or "..": to a signed request that is no answer.
	if _, pattern := a.mux.Handler(r); pattern == "" || clean != escaped {
		a.answerError(w, r, "", federation.Unrecognized())
		return
	}
	a.mux.ServeHTTP(w, r)
}

// dispatch serves one path: HEAD is GET without a body, OPTIONS tells the methods, others are refused.
//
// spec:server-server-api#unsupported-endpoints
func (a *api) dispatch(path string, endpoints methods) http.Handler {
	allowed := slices.Sorted(maps.Keys(endpoints))
	if _, get := endpoints[http.MethodGet]; get {
		allowed = append(allowed, http.MethodHead)
	}
	allow := strings.Join(append(allowed, http.MethodOptions), ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		if e, known := endpoints[method]; known {
			a.serve(w, r, r.Method+" "+path, e)
			return
		}
		w.Header().Set("Allow", allow)
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		a.answerError(w, r, path, federation.MethodNotAllowed())
	})
}
