package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ed25519"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/federation/server"
	"hanse/federation/signedjson"
	"hanse/keys"
)

func TestServer(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(2 * time.Minute) // on a loaded machine
	RunSpecs(t, "federation/server")
}

const (
	self  = id.ServerName("me.example:8448")
	other = id.ServerName("other.example")
)

// ring verifies with the keys it holds.
type ring map[id.ServerName]map[id.KeyID]ed25519.PublicKey

func (r ring) Verify(_ context.Context, reqs []keys.Request) []error {
	errs := make([]error, len(reqs))
	for i, q := range reqs {
		known, up := r[q.Server]
		if !up {
			errs[i] = &keys.Error{Server: q.Server, Kind: keys.Unreachable, Err: errors.New("secret inner detail")}
			continue
		}
		errs[i] = &keys.Error{Server: q.Server, Kind: keys.BadSignature}
		for keyID, signature := range q.Signatures {
			if public, ok := known[keyID]; ok && ed25519.Verify(public, q.Message, signature) {
				errs[i] = nil
			}
		}
		if !q.EnforceValidity || !q.At.IsZero() {
			errs[i] = errors.New("requests must be checked with the keys of now")
		}
	}
	return errs
}

// fake handles transactions, events and profiles by what a test gives it.
type fake struct {
	transaction func(ctx context.Context, origin id.ServerName, txnID string, txn federation.Transaction) (federation.PDUResults, error)
	sendJoin    func(q federation.SendRequest) (federation.SendJoinResponse, error)
	makeJoin    func(q federation.MakeRequest) (federation.MakeJoinResponse, error)
	invite      func(q federation.InviteRequest) (json.RawMessage, error)
	profile     func(q federation.ProfileRequest) (federation.ProfileResponse, error)
	answer      func(q keys.NotaryRequest) ([]json.RawMessage, error)
}

func (f *fake) Transaction(ctx context.Context, origin id.ServerName, txnID string, txn federation.Transaction) (federation.PDUResults, error) {
	return f.transaction(ctx, origin, txnID, txn)
}

func (f *fake) MakeJoin(_ context.Context, _ id.ServerName, q federation.MakeRequest) (federation.MakeJoinResponse, error) {
	return f.makeJoin(q)
}

func (f *fake) SendJoin(_ context.Context, _ id.ServerName, q federation.SendRequest) (federation.SendJoinResponse, error) {
	return f.sendJoin(q)
}

func (f *fake) Invite(_ context.Context, _ id.ServerName, q federation.InviteRequest) (json.RawMessage, error) {
	return f.invite(q)
}

func (f *fake) Profile(_ context.Context, _ id.ServerName, q federation.ProfileRequest) (federation.ProfileResponse, error) {
	return f.profile(q)
}

func (f *fake) ServerKeys(context.Context) (json.RawMessage, error) {
	return json.RawMessage(`{"server_name":"me.example:8448"}`), nil
}

func (f *fake) Answer(_ context.Context, q keys.NotaryRequest) ([]json.RawMessage, error) {
	return f.answer(q)
}

// world is a server and a peer that calls it.
type world struct {
	config server.Config
	fake   *fake
	keys   []signedjson.Key // the peer's
	url    string

	mu       sync.Mutex
	heard    []id.ServerName
	observed []string
}

func newWorld() *world {
	w := &world{fake: &fake{}}
	public := map[id.KeyID]ed25519.PublicKey{}
	for _, name := range []id.KeyID{"ed25519:a", "ed25519:b"} {
		pub, private, err := ed25519.GenerateKey(nil)
		Expect(err).NotTo(HaveOccurred())
		public[name] = pub
		w.keys = append(w.keys, signedjson.Key{ID: name, Private: private})
	}
	f := w.fake
	f.transaction = func(context.Context, id.ServerName, string, federation.Transaction) (federation.PDUResults, error) {
		return nil, nil
	}
	f.profile = func(federation.ProfileRequest) (federation.ProfileResponse, error) { return nil, nil }
	w.config = server.Config{
		Self: self, Verifier: ring{other: public},
		Handlers:  server.Handlers{Transactions: f, Joins: f, Invites: f, Profiles: f, Keys: f},
		Version:   federation.ServerVersion{Name: "Hanse", Version: "1"},
		OnRequest: func(origin id.ServerName) { w.mu.Lock(); defer w.mu.Unlock(); w.heard = append(w.heard, origin) },
		Observe: func(endpoint string, _ int) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.observed = append(w.observed, endpoint)
		},
	}
	return w
}

// start starts the server; before it, a test may change the config.
func (w *world) start() {
	srv := httptest.NewServer(server.New(w.config))
	DeferCleanup(srv.Close)
	w.url = srv.URL
}

// reply is an answer.
type reply struct {
	status int
	body   string
	header http.Header
}

// code is the answer's errcode.
func (r reply) code() string { return federation.DecodeError(r.status, []byte(r.body)).Code }

// do sends a request with these Authorization headers.
func (w *world) do(method, uri, body string, authorizations ...string) reply {
	GinkgoHelper()
	q, err := http.NewRequest(method, w.url+uri, strings.NewReader(body))
	Expect(err).NotTo(HaveOccurred())
	for _, a := range authorizations {
		q.Header.Add("Authorization", a)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(q)
	Expect(err).NotTo(HaveOccurred())
	defer func() { _ = answer.Body.Close() }()
	data, err := io.ReadAll(answer.Body)
	Expect(err).NotTo(HaveOccurred())
	return reply{answer.StatusCode, string(data), answer.Header}
}

// sign makes the Authorization header of the peer's key i.
func (w *world) sign(i int, method, uri, body string) federation.Authorization {
	GinkgoHelper()
	a, err := federation.SignRequest(w.keys[i], method, uri, other, self, []byte(body))
	Expect(err).NotTo(HaveOccurred())
	return a
}

// call sends a signed request.
func (w *world) call(method, uri, body string) reply {
	GinkgoHelper()
	return w.do(method, uri, body, w.sign(0, method, uri, body).String())
}
