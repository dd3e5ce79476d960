package clientapi

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"hanse/federation"
	"hanse/federation/id"
)

// The stages of interactive authentication that this server knows.
const (
	stagePassword          = "m.login.password"
	stageDummy             = "m.login.dummy"
	stageRegistrationToken = "m.login.registration_token"
	stageEmail             = "m.login.email.identity"
)

// uiaAuth is the auth member of a request.
type uiaAuth struct {
	Type    string `json:"type"`
	Session string `json:"session"`
	// m.login.password
	Identifier userIdentifier `json:"identifier"`
	User       string         `json:"user"`
	Password   string         `json:"password"`
	// m.login.registration_token
	Token string `json:"token"`
	// m.login.email.identity
	Credentials struct {
		SID          string `json:"sid"`
		ClientSecret string `json:"client_secret"`
	} `json:"threepid_creds"`
}

// uiaFlow is one list of stages that suffices.
type uiaFlow struct {
	Stages []string `json:"stages"`
}

// uiaSession is what an authentication has got to. It is for one operation of one user; the caller repeats the
// request's body each time, so nothing of it is kept but a registration's.
type uiaSession struct {
	id        string
	purpose   uiaPurpose
	expires   time.Time
	completed []string
	email     string // the sid of the confirmed e-mail address, once that stage is completed
	order     uint64 // greater: made later

	registration *registerRequest  // what the client has sent to /register, without auth, and without secrets once it is done; nil: nothing worth keeping
	registered   id.UserID         // whom that has made; "": nobody yet
	account      [sha256.Size]byte // the account as it was made: see users.AccountState
}

// uiaPurpose is the hash of what a session is for: it can't be carried to another endpoint, device or account.
type uiaPurpose [sha256.Size]byte

func purposeOf(r *request) uiaPurpose {
	return sha256.Sum256([]byte(r.route + "\n" + r.PathValue("deviceId") + "\n" + string(r.user)))
}

// uiaSessions holds the sessions under way. Safe for concurrent use.
type uiaSessions struct {
	mu       sync.Mutex
	sessions map[string]*uiaSession // guarded by mu
	next     uint64                 // guarded by mu
	sweeping bool                   // guarded by mu: sweep will be called
}

func newUIASessions() *uiaSessions { return &uiaSessions{sessions: make(map[string]*uiaSession)} }

// open makes a session, at the cost of the oldest one when the table is full.
func (s *uiaSessions) open(purpose uiaPurpose) uiaSession {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sessions) >= maxUIASessions {
		s.makeRoom()
	}
	s.next++
	session := &uiaSession{id: rand.Text(), purpose: purpose, expires: time.Now().Add(uiaSessionLife), order: s.next}
	s.sessions[session.id] = session
	if !s.sweeping {
		s.sweepLater()
	}
	return *session
}

// sweepLater sees to it that what has expired is dropped though nobody comes: a registration has a password. The caller holds mu.
func (s *uiaSessions) sweepLater() {
	if s.sweeping = len(s.sessions) > 0; s.sweeping {
		time.AfterFunc(uiaSweepEvery, s.sweep)
	}
}

func (s *uiaSessions) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropExpired()
	s.sweepLater()
}

// dropExpired drops what has expired. The caller holds mu.
func (s *uiaSessions) dropExpired() {
	now := time.Now()
	maps.DeleteFunc(s.sessions, func(_ string, session *uiaSession) bool { return now.After(session.expires) })
}

// makeRoom drops what has expired, and a tenth of the oldest if that does not help. The caller holds mu.
func (s *uiaSessions) makeRoom() {
	s.dropExpired()
	if len(s.sessions) < maxUIASessions {
		return
	}
	for key, session := range s.sessions {
		if s.next-session.order >= maxUIASessions*9/10 {
			delete(s.sessions, key)
		}
	}
}

// find returns a copy of an open session.
func (s *uiaSessions) find(key string) (uiaSession, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	session, ok := s.sessions[key]
	if !ok || time.Now().After(session.expires) {
		return uiaSession{}, false
	}
	copied := *session
	copied.completed = slices.Clone(session.completed)
	return copied, true
}

// complete notes a completed stage.
func (s *uiaSessions) complete(key, stage string) {
	s.change(key, func(session *uiaSession) {
		if !slices.Contains(session.completed, stage) {
			session.completed = append(session.completed, stage)
		}
	})
}

// prove notes by which confirmed e-mail address its stage is completed.
func (s *uiaSessions) prove(key, sid string) {
	s.change(key, func(session *uiaSession) { session.email = sid })
}

// change does something to an open session.
func (s *uiaSessions) change(key string, do func(*uiaSession)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if session, ok := s.sessions[key]; ok {
		do(session)
	}
}

// close ends a session.
func (s *uiaSessions) close(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, key)
}

// interactively asks the client to complete one of the flows. It returns nil once it has; then call close on the
// sessions when the request's work is done. Otherwise the error or the 401 answer is what the client gets.
//
// spec:client-server-api#user-interactive-api-in-the-rest-api
func (a *API) interactively(r *request, raw json.RawMessage, flows ...uiaFlow) (*uiaSession, *answer, error) {
	purpose := purposeOf(r)
	auth, given, err := parseAuth(raw)
	if err != nil {
		return nil, nil, err
	}
	if !given {
		session := a.uia.open(purpose)
		return nil, session.ask(flows, nil), nil
	}
	session, ok := a.uia.find(auth.Session)
	if ok && session.purpose != purpose {
		return nil, nil, forbidden("this authentication session was begun for something else")
	}
	if !ok {
		if auth.Session != "" {
			session = a.uia.open(purpose)
			return nil, session.ask(flows, forbidden("this authentication session is not known, or has expired")), nil
		}
		session = a.uia.open(purpose) // one-step authentication without a session, as some tools do
	}
	if auth.Type != "" && !slices.Contains(session.completed, auth.Type) {
		refusal, err := a.tryStage(r, auth, session, flows)
		if err != nil {
			return nil, nil, err
		}
		if refusal != nil {
			return nil, session.ask(flows, refusal), nil
		}
		a.uia.complete(session.id, auth.Type)
		session, ok = a.uia.find(session.id)
		if !ok {
			session = a.uia.open(purpose)
			return nil, session.ask(flows, nil), nil
		}
	}
	for _, flow := range flows {
		if slices.Equal(flow.Stages, session.completed) {
			return &session, nil, nil
		}
	}
	return nil, session.ask(flows, nil), nil
}

// withPassword does the work of a request once the user has given the password again. The session ends when the work is done.
func (a *API) withPassword(r *request, auth json.RawMessage, work func() (any, error)) (any, error) {
	if r.oauth { // such a client never sees the password
		return nil, a.onAccountPage()
	}
	session, ask, err := a.interactively(r, auth, passwordFlow())
	if err != nil {
		return nil, err
	}
	if ask != nil {
		return *ask, nil
	}
	done, err := work()
	if err == nil {
		a.uia.close(session.id)
	}
	return done, err
}

// withPasswordOrService is withPassword for what an application service may do as any of its users, who have no passwords.
func (a *API) withPasswordOrService(r *request, auth json.RawMessage, work func() (any, error)) (any, error) {
	if r.service != nil {
		return work()
	}
	return a.withPassword(r, auth, work)
}

// withPasswordOnly is withPassword for a request whose body has nothing else.
func (a *API) withPasswordOnly(r *request, work func() (any, error)) (any, error) {
	var req struct {
		Auth json.RawMessage `json:"auth"`
	}
	if err := r.decodeOptional(&req); err != nil {
		return nil, err
	}
	return a.withPassword(r, req.Auth, work)
}

func parseAuth(raw json.RawMessage) (auth uiaAuth, given bool, err error) {
	if len(raw) == 0 || string(raw) == "null" {
		return auth, false, nil
	}
	if !isObject(raw) {
		return auth, false, badJSON("auth is not an object")
	}
	if err := decodeObject(raw, &auth); err != nil {
		return auth, false, err
	}
	return auth, true, nil
}

// ask is the 401 answer: what to do next, and what went wrong, if anything did.
func (s uiaSession) ask(flows []uiaFlow, refusal *federation.Error) *answer {
	body := map[string]any{"flows": flows, "params": map[string]any{}, "session": s.id}
	if len(s.completed) > 0 {
		body["completed"] = s.completed
	}
	if refusal != nil {
		body["errcode"], body["error"] = refusal.Code, refusal.Message
	}
	return &answer{status: http.StatusUnauthorized, body: body}
}

// tryStage tries one stage: a refusal if it was not good and the client may try again.
func (a *API) tryStage(r *request, auth uiaAuth, session uiaSession, flows []uiaFlow) (*federation.Error, error) {
	expected := slices.ContainsFunc(flows, func(f uiaFlow) bool {
		done := len(session.completed)
		return len(f.Stages) > done && slices.Equal(f.Stages[:done], session.completed) && f.Stages[done] == auth.Type
	})
	if !expected {
		return forbidden("%q is not the next stage of any flow", auth.Type), nil
	}
	switch auth.Type {
	case stageDummy:
		return nil, nil
	case stageRegistrationToken:
		if !a.config.Registration.validToken(auth.Token) {
			return &federation.Error{Code: "M_UNAUTHORIZED", Message: "this registration token is not valid"}, nil
		}
		return nil, nil
	case stagePassword:
		return a.tryPassword(r, auth)
	case stageEmail:
		return a.tryEmail(r, auth, session)
	}
	return forbidden("unknown stage"), nil
}

// tryPassword checks the password of the user who asks. To be another user is refused once and for all, whatever the
// password is.
func (a *API) tryPassword(r *request, auth uiaAuth) (*federation.Error, error) {
	named := r.user
	if name := cmp.Or(auth.Identifier.User, auth.User); name != "" {
		named = a.loginUser(name)
	} else if auth.Identifier.Medium != "" {
		who, err := a.claimedByEmail(r.Context(), auth.Identifier.Medium, auth.Identifier.Address)
		if err != nil {
			return nil, err
		}
		named = who.user
	}
	if named != r.user {
		return nil, forbidden("this must be confirmed by %s, whose it is", r.user)
	}
	ok, err := a.checkPassword(r.Context(), claimedByID(r.user), auth.Password)
	if err == nil && !ok {
		return forbidden("wrong password"), nil
	}
	return nil, err
}
