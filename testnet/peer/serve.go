package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ed25519"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/keys"
)

// Request is a request that came in, as it came.
type Request struct {
	Endpoint string // its name in the script: "make_join"
	Method   string
	URI      string // path and query, as sent
	Host     string // the Host header
	TLSName  string // the name that the client asked for in the handshake (SNI); "" for an IP address
	Header   http.Header
	Body     []byte
	Time     time.Time
	Origin   id.ServerName // who asks, as X-Matrix says
	// AuthErr says what is wrong with the request's X-Matrix authorization; nil when it was verified, or is not needed.
	AuthErr error
	// path are the wildcards of the endpoint's path.
	path func(name string) string
}

// Query is a parameter of the request.
func (r Request) Query(name string) string {
	request, err := http.NewRequest(r.Method, r.URI, nil)
	if err != nil {
		return ""
	}
	return request.URL.Query().Get(name)
}

// Hook answers requests to one endpoint in place of the peer. next is the peer's own, honest answer.
type Hook func(w http.ResponseWriter, r *http.Request, next http.Handler)

// On scripts an endpoint until undo is called; a later script takes the place of an earlier one. Endpoints are named
// by the word in their path: "server" (keys), "query" (keys), "version", "well-known", "send", "make_join",
// "send_join", "make_leave", "send_leave", "invite", "invite_v1", "event", "state", "state_ids", "event_auth", "backfill",
// "get_missing_events", "make_knock", "send_knock", "directory", "profile"; and, with a script alone, "user_devices",
// "keys_query", "keys_claim", "media_download", "media_thumbnail", "hierarchy", "timestamp_to_event", "public_rooms",
// "exchange_third_party_invite", "policy_sign", "openid".
func (p *Peer) On(endpoint string, hook Hook) (undo func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hooks[endpoint] = hook
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.hooks, endpoint)
	}
}

// Fail answers with a Matrix error.
func Fail(status int, code string) Hook {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		answerError(w, status, code, "the script says so")
	}
}

// Answer answers with a text as it is.
func Answer(status int, body string) Hook {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body) // who went away misses it
	}
}

// Delay answers late.
func Delay(by time.Duration) Hook {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		select {
		case <-time.After(by):
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}
}

// Hang never answers.
func Hang() Hook {
	return func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
}

// Lie changes the peer's own answer before it is sent.
func Lie(alter func(answer map[string]any)) Hook {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		recorder := httptest.NewRecorder()
		next.ServeHTTP(recorder, r)
		var answer map[string]any
		decoder := json.NewDecoder(recorder.Body)
		decoder.UseNumber()
		if recorder.Code != http.StatusOK || decoder.Decode(&answer) != nil {
			answerError(w, http.StatusInternalServerError, federation.CodeUnknown, "the script had nothing to lie about")
			return
		}
		alter(answer)
		answerJSON(w, answer)
	}
}

// OmitMembers answers send_join without the members, if that is asked for.
//
// spec:server-server-api#put_matrixfederationv2send_joinroomideventid
func OmitMembers() Hook {
	less := Lie(func(answer map[string]any) {
		servers := map[string]bool{}
		kept := []any{}
		list, _ := answer["state"].([]any)
		for _, e := range list {
			event, _ := e.(map[string]any)
			if event["type"] != "m.room.member" {
				kept = append(kept, e)
				continue
			}
			content, _ := event["content"].(map[string]any)
			member, _ := event["state_key"].(string)
			if _, server, ok := strings.Cut(member, ":"); ok && content["membership"] == "join" {
				servers[server] = true
			}
		}
		answer["state"], answer["members_omitted"], answer["servers_in_room"] = kept, true, slices.Sorted(maps.Keys(servers))
	})
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.URL.Query().Get("omit_members") == "true" {
			less(w, r, next)
		} else {
			next.ServeHTTP(w, r)
		}
	}
}

// handler is the peer's endpoints. Those that need X-Matrix are marked.
func (p *Peer) handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern, endpoint string, signed bool, answer func(w http.ResponseWriter, r Request)) {
		mux.Handle(pattern, p.endpoint(endpoint, signed, answer))
	}
	const v1, v2 = "/_matrix/federation/v1/", "/_matrix/federation/v2/"
	handle("GET /_matrix/key/v2/server", "server", false, p.serveKeys)
	handle("GET /_matrix/federation/v1/version", "version", false, func(w http.ResponseWriter, _ Request) {
		answerJSON(w, federation.VersionResponse{Server: federation.ServerVersion{Name: "peer", Version: "1"}})
	})
	handle("GET /.well-known/matrix/server", "well-known", false, func(w http.ResponseWriter, _ Request) { notFound(w) })
	handle("PUT "+v1+"send/{txn}", "send", true, p.serveSend)
	handle("GET "+v1+"make_join/{room}/{user}", "make_join", true, p.serveMakeJoin)
	handle("PUT "+v2+"send_join/{room}/{event}", "send_join", true, p.serveSendJoin)
	handle("GET "+v1+"make_leave/{room}/{user}", "make_leave", true, p.serveMakeLeave)
	handle("PUT "+v2+"send_leave/{room}/{event}", "send_leave", true, p.serveSendLeave)
	handle("PUT "+v2+"invite/{room}/{event}", "invite", true, p.serveInvite)
	handle("PUT "+v1+"invite/{room}/{event}", "invite_v1", true, p.serveInviteV1)
	handle("GET "+v1+"event/{event}", "event", true, p.serveEvent)
	handle("GET "+v1+"state/{room}", "state", true, p.serveState)
	handle("GET "+v1+"state_ids/{room}", "state_ids", true, p.serveStateIDs)
	handle("GET "+v1+"event_auth/{room}/{event}", "event_auth", true, p.serveEventAuth)
	handle("GET "+v1+"backfill/{room}", "backfill", true, p.serveBackfill)
	handle("POST "+v1+"get_missing_events/{room}", "get_missing_events", true, p.serveMissingEvents)
	handle("GET "+v1+"make_knock/{room}/{user}", "make_knock", true, p.serveMakeKnock)
	handle("PUT "+v1+"send_knock/{room}/{event}", "send_knock", true, p.serveSendKnock)
	for pattern, endpoint := range map[string]string{
		"GET " + v1 + "user/devices/{user}": "user_devices", "POST " + v1 + "user/keys/query": "keys_query", "POST " + v1 + "user/keys/claim": "keys_claim",
		"GET " + v1 + "media/download/{media}": "media_download", "GET " + v1 + "media/thumbnail/{media}": "media_thumbnail",
		"GET " + v1 + "hierarchy/{room}": "hierarchy", "GET " + v1 + "timestamp_to_event/{room}": "timestamp_to_event",
		"GET " + v1 + "publicRooms": "public_rooms", "POST " + v1 + "publicRooms": "public_rooms",
		"PUT " + v1 + "exchange_third_party_invite/{room}": "exchange_third_party_invite", "POST /_matrix/policy/v1/sign": "policy_sign",
	} { // these need a script
		handle(pattern, endpoint, true, func(w http.ResponseWriter, _ Request) { notFound(w) })
	}
	handle("GET "+v1+"openid/userinfo", "openid", false, func(w http.ResponseWriter, _ Request) { notFound(w) })
	handle("GET "+v1+"query/directory", "directory", true, p.serveDirectory)
	handle("GET "+v1+"query/profile", "profile", true, p.serveProfile)
	handle("/", "unrecognized", false, func(w http.ResponseWriter, _ Request) {
		answerError(w, http.StatusNotFound, federation.CodeUnrecognized, "the peer has no such endpoint")
	})
	return mux
}

// requestKey is where an endpoint finds the Request in the context.
type requestKey struct{}

// endpoint records a request, checks its signature, and answers it by script or honestly.
func (p *Peer) endpoint(name string, signed bool, answer func(w http.ResponseWriter, r Request)) http.Handler {
	honest := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request := r.Context().Value(requestKey{}).(Request)
		if request.AuthErr != nil {
			answerError(w, http.StatusUnauthorized, federation.CodeUnauthorized, request.AuthErr.Error())
			return
		}
		answer(w, request)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
		if err != nil {
			return // the client went away
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		request := Request{
			Endpoint: name, Method: r.Method, URI: r.RequestURI, Host: r.Host, TLSName: r.TLS.ServerName,
			Header: r.Header, Body: body, Time: time.Now(), path: r.PathValue,
		}
		if signed {
			request.Origin, request.AuthErr = p.authenticate(r.Context(), request)
		}
		p.mu.Lock()
		p.requests = append(p.requests, request)
		hook := p.hooks[name]
		p.mu.Unlock()
		r = r.WithContext(context.WithValue(r.Context(), requestKey{}, request))
		answered := &watched{ResponseWriter: w}
		defer func() { p.note("got    %s %s %s\n  said %s", r.Method, r.RequestURI, Brief(body), answered) }()
		if hook != nil {
			hook(answered, r, honest)
			return
		}
		honest.ServeHTTP(answered, r)
	})
}

// verifiers are another server's keys.
type verifiers map[id.KeyID]ed25519.PublicKey

// authenticate checks a request's X-Matrix authorization, the destination included.
func (p *Peer) authenticate(ctx context.Context, r Request) (id.ServerName, error) {
	authorization, err := federation.ParseAuthorization(r.Header.Get("Authorization"))
	if err != nil {
		return "", err
	}
	if authorization.Destination != p.Name {
		return "", fmt.Errorf("the destination is %q, I am %q", authorization.Destination, p.Name)
	}
	known, err := p.keysOf(ctx, authorization.Origin)
	if err != nil {
		return "", err
	}
	public, ok := known[authorization.Key]
	if !ok {
		return "", fmt.Errorf("%s does not publish the key %s", authorization.Origin, authorization.Key)
	}
	signed, err := federation.RequestBytes(r.Method, r.URI, authorization.Origin, authorization.Destination, r.Body)
	if err != nil {
		return "", err
	}
	if !ed25519.Verify(public, signed, authorization.Signature) {
		return "", fmt.Errorf("the signature by %s is wrong", authorization.Origin)
	}
	return authorization.Origin, nil
}

func (p *Peer) keysOf(ctx context.Context, server id.ServerName) (verifiers, error) {
	p.mu.Lock()
	known, ok := p.keys[server]
	p.mu.Unlock()
	if ok {
		return known, nil
	}
	raw, err := p.Client.ServerKeys(ctx, server)
	if err != nil {
		return nil, err
	}
	document, err := keys.ParseServerKeys(raw)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.keys[server] = document.VerifyKeys
	p.mu.Unlock()
	return document.VerifyKeys, nil
}

// Requests are the requests that came to an endpoint ("" for all), oldest first.
func (p *Peer) Requests(endpoint string) []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []Request
	for _, r := range p.requests {
		if endpoint == "" || r.Endpoint == endpoint {
			found = append(found, r)
		}
	}
	return found
}

func answerJSON(w http.ResponseWriter, answer any) {
	body, err := json.Marshal(answer)
	if err != nil {
		answerError(w, http.StatusInternalServerError, federation.CodeUnknown, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // who went away misses it
}

func answerError(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	body, _ := json.Marshal(federation.NewError(status, code, message)) // strings always encode
	_, _ = w.Write(body)
}

func notFound(w http.ResponseWriter) {
	answerError(w, http.StatusNotFound, federation.CodeNotFound, "the peer knows nothing of it")
}

func silent() *log.Logger { return log.New(io.Discard, "", 0) }
