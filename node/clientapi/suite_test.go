package clientapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ed25519"

	"hanse/conformance/spec"
	"hanse/federation"
	"hanse/federation/client"
	"hanse/federation/id"
	"hanse/federation/signedjson"
	"hanse/node/clientsync"
	"hanse/node/delayed"
	"hanse/node/directory"
	"hanse/node/e2ee"
	"hanse/node/ephemeral"
	"hanse/node/push"
	"hanse/node/rooms"
	"hanse/node/search"
	"hanse/node/slidingsync"
	"hanse/node/store"
	"hanse/node/store/sqlite"
	"hanse/node/stream"
	"hanse/node/users"
	"hanse/resolver"
)

func TestClientAPI(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(2 * time.Minute) // on a loaded machine
	RunSpecs(t, "client API")
}

const self = id.ServerName("hanse.test")

// world is a node without a network: the real packages over a real database.
type world struct {
	config Config
	api    *API
	server *httptest.Server
	users  *users.Users
	store  *store.Store
	gate   *storageGate
	peers  *peers
	edus   chan federation.EDU
}

// peers are the other servers, as far as the API asks them.
type peers struct {
	mu       sync.Mutex
	aliases  map[id.RoomAlias]federation.DirectoryResponse
	profiles map[id.UserID]federation.ProfileResponse
	rooms    map[id.ServerName]federation.PublicRoomsResponse
	spaces   map[id.RoomID]federation.HierarchyResponse
	asked    []string
}

func unreachable(server id.ServerName) error {
	return &client.Error{Server: server, Stage: "connect", Temporary: true, Err: errors.New("nobody there")}
}

func (p *peers) ask(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, what)
}

func (p *peers) QueryDirectory(_ context.Context, server id.ServerName, alias id.RoomAlias) (federation.DirectoryResponse, error) {
	p.ask("directory " + string(alias))
	found, ok := p.aliases[alias]
	if !ok {
		return found, unreachable(server)
	}
	return found, nil
}

func (p *peers) PublicRooms(_ context.Context, server id.ServerName, _ federation.PublicRoomsRequest) (federation.PublicRoomsResponse, error) {
	p.ask("publicRooms " + string(server))
	found, ok := p.rooms[server]
	if !ok {
		return found, unreachable(server)
	}
	return found, nil
}

func (p *peers) Hierarchy(_ context.Context, server id.ServerName, q federation.HierarchyRequest) (federation.HierarchyResponse, error) {
	p.ask("hierarchy " + string(server) + " " + string(q.RoomID))
	p.mu.Lock()
	defer p.mu.Unlock()
	found, ok := p.spaces[q.RoomID]
	if !ok {
		return found, unreachable(server)
	}
	return found, nil
}

func (p *peers) QueryProfile(_ context.Context, server id.ServerName, user id.UserID, field string) (federation.ProfileResponse, error) {
	p.ask("profile " + string(user) + " " + field)
	found, ok := p.profiles[user]
	if !ok {
		return nil, &client.Error{Server: server, Status: 404, Matrix: federation.NotFound("no such user"), Stage: "response"}
	}
	return found, nil
}

// nowhere resolves no server.
type nowhere struct{}

func (nowhere) Resolve(context.Context, id.ServerName) ([]resolver.Target, error) {
	return nil, errors.New("no network in this test")
}
func (nowhere) Forget(id.ServerName) {}

// newWorld starts a node; change alters its configuration first.
func newWorld(change func(*Config)) *world {
	GinkgoHelper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	run := func(f func(context.Context) error) {
		running.Go(func() {
			defer GinkgoRecover()
			Expect(f(ctx)).To(Succeed())
		})
	}
	database := &storageGate{}
	s, err := store.Open(ctx, database.in(sqlite.Open(filepath.Join(GinkgoT().TempDir(), "hanse.db"))), store.Options{ServerName: self})
	Expect(err).NotTo(HaveOccurred())
	storeCtx, stopStore := context.WithCancel(context.Background())
	storeDone := make(chan struct{})
	go func() { defer close(storeDone); _ = s.Run(storeCtx) }()

	_, private, err := ed25519.GenerateKey(rand.Reader)
	Expect(err).NotTo(HaveOccurred())
	key := signedjson.Key{ID: "ed25519:test", Private: private}
	accounts, err := users.New(users.Config{Self: self, Store: s, Passwords: users.Passwords{MemoryKiB: 64, Passes: 1, Threads: 1}})
	Expect(err).NotTo(HaveOccurred())
	run(accounts.Run)
	w := &world{users: accounts, store: s, gate: database, edus: make(chan federation.EDU, 100), peers: &peers{
		aliases: map[id.RoomAlias]federation.DirectoryResponse{}, profiles: map[id.UserID]federation.ProfileResponse{},
		rooms: map[id.ServerName]federation.PublicRoomsResponse{}, spaces: map[id.RoomID]federation.HierarchyResponse{},
	}}
	chat := rooms.New(rooms.Config{
		Self: self, Key: key, Store: s, Profiles: accounts, Invitees: accounts,
		Client: client.New(client.Config{Origin: self, Key: key, Resolver: nowhere{}}),
	})
	run(chat.Run)
	names, err := directory.New(directory.Config{Self: self, Store: s, Client: w.peers})
	Expect(err).NotTo(HaveOccurred())
	momentary, err := ephemeral.New(ephemeral.Config{Self: self, Store: s, Send: func(_ []id.ServerName, edus ...federation.EDU) {
		for _, edu := range edus {
			w.edus <- edu
		}
	}})
	Expect(err).NotTo(HaveOccurred())
	run(momentary.Run)

	encryption, err := e2ee.New(e2ee.Config{Self: self, Store: s})
	Expect(err).NotTo(HaveOccurred())
	run(encryption.Run)
	waiters := stream.New(s, momentary, slog.New(slog.DiscardHandler))
	run(waiters.Run)
	finder := search.New(self, s, chat, nil)
	run(finder.Run)
	later := delayed.New(s, chat, nil)
	run(later.Run)
	syncer := clientsync.New(s, waiters, chat, momentary)
	run(syncer.Run)
	pushers, err := push.NewPushers(push.Config{Store: s, Source: syncer, Client: http.DefaultClient, AllowHTTP: true})
	Expect(err).NotTo(HaveOccurred())
	run(pushers.Run)
	w.config = Config{
		Self: self, Users: accounts, Rooms: chat, Directory: names, Ephemeral: momentary, Profiles: w.peers,
		Encryption: encryption, Search: finder,
		Sync:         syncer,
		SlidingSync:  slidingsync.New(self, s, waiters, momentary, syncer),
		Pushers:      pushers,
		Delayed:      later,
		Registration: Registration{Open: true}, RateLimits: RateLimits{Off: true},
	}
	if change != nil {
		change(&w.config)
	}
	w.api, err = New(w.config)
	Expect(err).NotTo(HaveOccurred())
	w.server = httptest.NewServer(w.api)
	DeferCleanup(func() {
		w.server.Close()
		cancel()
		running.Wait()
		stopStore()
		<-storeDone
		Expect(s.Close()).To(Succeed())
	})
	return w
}

// answered is an answer, decoded. Whatever was asked, it must be JSON with the CORS headers.
type answered struct {
	status int
	header http.Header
	body   map[string]any
	raw    string
}

func (a answered) text(key string) string {
	GinkgoHelper()
	Expect(a.body).To(HaveKeyWithValue(key, BeAssignableToTypeOf("")), a.raw)
	return a.body[key].(string)
}

// person is a client; without a token it is nobody.
type person struct {
	w      *world
	id     string
	token  string
	device string

	anyForm bool // the forms of answers aren't checked: nonsense that was stored comes back as it is
}

func (w *world) nobody() *person { return &person{w: w} }

// register makes an account and logs it in, by the way real clients go.
func (w *world) register(name string) *person {
	GinkgoHelper()
	p := w.nobody()
	ask := p.post("/register", obj{"username": name, "password": "secret of " + name})
	Expect(ask.status).To(Equal(401), ask.raw)
	done := p.post("/register", obj{
		"username": name, "password": "secret of " + name,
		"auth": obj{"type": "m.login.dummy", "session": ask.text("session")},
	})
	Expect(done.status).To(Equal(200), done.raw)
	return &person{w: w, id: done.text("user_id"), token: done.text("access_token"), device: done.text("device_id")}
}

type obj = map[string]any

func (p *person) get(path string) answered { GinkgoHelper(); return p.do("GET", path, nil) }
func (p *person) post(path string, body any) answered {
	GinkgoHelper()
	return p.do("POST", path, body)
}
func (p *person) put(path string, body any) answered { GinkgoHelper(); return p.do("PUT", path, body) }
func (p *person) del(path string, body any) answered {
	GinkgoHelper()
	return p.do("DELETE", path, body)
}

// do asks; a path without /_ is one of v3. A string or []byte body goes out as it is.
func (p *person) do(method, path string, body any) answered {
	GinkgoHelper()
	if !strings.HasPrefix(path, "/_") && !strings.HasPrefix(path, "/.") {
		path = "/_matrix/client/v3" + path
	}
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	case []byte:
		reader = bytes.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		Expect(err).NotTo(HaveOccurred())
		reader = bytes.NewReader(raw)
	}
	r, err := http.NewRequest(method, p.w.server.URL+path, reader)
	Expect(err).NotTo(HaveOccurred())
	if p.token != "" {
		r.Header.Set("Authorization", "Bearer "+p.token)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	Expect(err).NotTo(HaveOccurred())
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	Expect(err).NotTo(HaveOccurred())
	noteAnswer(method, r.URL.EscapedPath(), response.StatusCode)
	a := answered{status: response.StatusCode, header: response.Header, raw: strings.ReplaceAll(method+" "+path, "%", "%%") + ": " + response.Status + " " + string(raw)}
	Expect(response.Header.Get("Access-Control-Allow-Origin")).To(Equal("*"), a.raw)
	if method != "OPTIONS" && method != "HEAD" {
		Expect(response.Header.Get("Content-Type")).To(Equal("application/json"), a.raw)
		if bytes.HasPrefix(raw, []byte("[")) {
			var list []any // of which there is only the form to see
			Expect(json.Unmarshal(raw, &list)).To(Succeed(), a.raw)
		} else {
			Expect(json.Unmarshal(raw, &a.body)).To(Succeed(), a.raw)
		}
		if !p.anyForm && !slices.ContainsFunc(onPurpose, func(part string) bool { return strings.Contains(path, part) }) {
			Expect(definitions().Check(method, r.URL.EscapedPath(), a.status, raw)).To(Succeed(), a.raw)
		}
	}
	return a
}

// onPurpose are parts of the requests whose answers have another form than the specification gives them.
var onPurpose = []string{
	"/voip/turnServer",             // {} where there is no TURN server
	"/room_keys/version",           // auth_data is whatever clients keep there
	"org.matrix.msc4140.delay",     // a delay_id, as the event is not sent yet
	"/events?",                     // has typing, receipts and presence among the events of rooms
	"event_fields", "event_format", // the client asks for another form
}

// definitions are the specification's forms of answers, against which every answer of these tests is held.
var definitions = sync.OnceValue(func() *spec.Forms {
	text, err := os.ReadFile("../../conformance/spec/testdata/client.json")
	if err != nil {
		panic(err)
	}
	all, err := spec.ReadForms(text)
	if err != nil {
		panic(err)
	}
	return all
})

// noteAnswer notes that an operation has succeeded.
func noteAnswer(method, path string, status int) {
	if o, ok := definitions().Operation(method, path); ok && status == http.StatusOK {
		succeeded.Store(operation(o), true)
	}
}

// succeeded are the operations that have.
var succeeded sync.Map

// elsewhere are the operations that don't succeed in these tests.
var elsewhere = map[string]string{
	"GET /.well-known/matrix/policy_server":                        "it is not there",
	"GET /_matrix/client/v3/login/sso/redirect":                    "it is not there",
	"GET /_matrix/client/v3/login/sso/redirect/{idpId}":            "it is not there",
	"POST /_matrix/client/v3/account/3pid":                         "it always refuses",
	"POST /_matrix/client/v3/account/3pid/bind":                    "it always refuses",
	"POST /_matrix/client/v3/account/3pid/msisdn/requestToken":     "it always refuses",
	"POST /_matrix/client/v3/account/password/msisdn/requestToken": "it always refuses",
	"POST /_matrix/client/v3/register/msisdn/requestToken":         "it always refuses",
}

// Where all specs run, each operation of the client-server API must succeed in one of them, so that its answer was held against its definition.
var _ = ReportAfterSuite("every operation succeeds somewhere", func(report Report) {
	if report.PreRunStats.SpecsThatWillRun < report.PreRunStats.TotalSpecs {
		return
	}
	var wrong []string
	for _, o := range definitions().Operations() {
		_, good := succeeded.Load(operation(o))
		if _, known := elsewhere[operation(o)]; good == known {
			wrong = append(wrong, operation(o))
		}
	}
	Expect(wrong).To(BeEmpty(), "these have not succeeded, or are listed though they have")
})

// refused expects an error of that status and code, with a message for people.
func refused(a answered, status int, code string) {
	GinkgoHelper()
	Expect(a.status).To(Equal(status), a.raw)
	Expect(a.body).To(HaveKeyWithValue("errcode", code), a.raw)
	Expect(a.text("error")).NotTo(BeEmpty(), a.raw)
}

// fine expects 200 with these members at least.
func fine(a answered, required ...string) answered {
	GinkgoHelper()
	Expect(a.status).To(Equal(200), a.raw)
	for _, key := range required {
		Expect(a.body).To(HaveKey(key), a.raw)
	}
	return a
}

// room makes a room.
func (p *person) room(options obj) string {
	GinkgoHelper()
	return fine(p.post("/createRoom", options)).text("room_id")
}

func esc(s string) string { return url.PathEscape(s) }

// state reads a state event's content as the rooms have it.
func (p *person) state(room, typ, key string) obj {
	GinkgoHelper()
	e, err := p.w.config.Rooms.StateEvent(context.Background(), id.UserID(p.id), id.RoomID(room), typ, key)
	Expect(err).NotTo(HaveOccurred())
	content := obj{}
	Expect(json.Unmarshal(e.Content(), &content)).To(Succeed())
	return content
}
