package rooms_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/client"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
	"hanse/federation/sender"
	"hanse/federation/server"
	"hanse/keys"
	"hanse/node/inbound"
	"hanse/node/rooms"
	"hanse/node/store"
	"hanse/node/store/sqlite"
	"hanse/resolver"
	"hanse/testnet/wholestate"
)

// world is some servers that talk by real HTTPS on loopback addresses, each with its own database.
type world struct {
	mu      sync.Mutex
	servers map[id.ServerName]*host      // guarded by mu
	down    map[id.ServerName]bool       // guarded by mu: nobody reaches them and they reach nobody
	onRoad  func(from, to id.ServerName) // guarded by mu: called before a server looks for another
}

func newWorld() *world {
	return &world{servers: make(map[id.ServerName]*host), down: make(map[id.ServerName]bool)}
}

// host is one server of the world.
type host struct {
	w      *world
	name   id.ServerName
	dir    string
	limits rooms.Limits
	silent bool                   // its sender doesn't run
	waking atomic.Pointer[func()] // called before the sender is woken, if set

	notaries []id.ServerName

	key     *keys.KeyFile
	store   *store.Store
	client  *client.Client
	ring    *keys.Ring
	sender  *sender.Sender
	rooms   *rooms.Rooms
	inbound *inbound.Inbound
	http    *httptest.Server
	stop    func() // ends all

	stopStore func() // ends the committer alone

	tampering atomic.Pointer[tamperer]         // see tamper
	pace      atomic.Int64                     // how long each byte of some answers takes, in nanoseconds: see paced
	signing   atomic.Pointer[http.HandlerFunc] // see sign

	commits, inputs atomic.Int64
}

// tamperer may change what a server answers to a path, or do something before it does.
type tamperer func(path string, answer []byte) []byte

type option func(*host)

func silent(h *host) { h.silent = true }

// waker calls something before it wakes a host's sender.
type waker struct{ *host }

func (w waker) Wake(servers ...id.ServerName) {
	if waking := w.waking.Load(); waking != nil {
		(*waking)()
	}
	w.sender.Wake(servers...)
}

func limited(l rooms.Limits) option { return func(h *host) { h.limits = l } }

// start adds a server.
func (w *world) start(name id.ServerName, options ...option) *host {
	GinkgoHelper()
	h := &host{w: w, name: name, dir: GinkgoT().TempDir()}
	for _, o := range options {
		o(h)
	}
	var err error
	h.key, err = keys.LoadOrCreate(filepath.Join(h.dir, "signing.key"))
	Expect(err).NotTo(HaveOccurred())
	h.boot()
	DeferCleanup(func() { h.stop() })
	return h
}

// boot starts the server's parts on what its folder holds.
func (h *host) boot() {
	GinkgoHelper()
	ctx := context.Background()
	log := slog.New(slog.NewTextHandler(GinkgoWriter, &slog.HandlerOptions{Level: slog.LevelDebug})).With("server", h.name)
	var err error
	h.store, err = store.Open(ctx, sqlite.OpenUnsynced(filepath.Join(h.dir, "hanse.db")), store.Options{ServerName: h.name, Log: log})
	Expect(err).NotTo(HaveOccurred())
	var handler atomic.Pointer[http.Handler]
	h.http = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { (*handler.Load()).ServeHTTP(w, q) }))
	roots := x509.NewCertPool()
	roots.AddCert(h.http.Certificate())
	h.client = client.New(client.Config{
		Origin: h.name, Key: h.key.Current, Resolver: road{h.w, h.name}, Dial: new(net.Dialer).DialContext, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, Log: log,
	})
	h.ring = keys.NewRing(keys.RingConfig{Self: h.name, Own: h.key, Store: h.store, Fetcher: h.client, Notaries: h.notaries, Log: log})
	h.sender = sender.New(sender.Config{Origin: h.name, Client: h.client, Outbox: h.store, Log: log})
	h.rooms = rooms.New(rooms.Config{
		Self: h.name, Key: h.key.Current, Store: h.store, Client: h.client, Ring: h.ring, Sender: waker{h},
		Invitees: guests{}, Limits: h.limits, Log: log,
		Observe: func(inputs int, _ time.Duration) { h.commits.Add(1); h.inputs.Add(int64(inputs)) },
	})
	h.inbound, err = inbound.New(inbound.Config{Self: h.name, Rooms: h.rooms, Store: h.store, Verifier: h.ring, Keys: published{h}, Log: log})
	Expect(err).NotTo(HaveOccurred())
	api := server.New(server.Config{
		Self: h.name, Verifier: h.ring, Handlers: h.inbound.Handlers(), Log: log,
		OnRequest: func(origin id.ServerName) { h.sender.Retry(origin) },
	})
	api = h.tampered(api)
	handler.Store(&api)
	h.run()
	h.w.mu.Lock()
	h.w.servers[h.name] = h
	h.w.mu.Unlock()
}

// tamper has f change what the server answers from now on; nil: nothing is changed. Where f gives nil the answer is that it isn't there.
func (h *host) tamper(f tamperer) {
	if f == nil {
		h.tampering.Store(nil)
		return
	}
	h.tampering.Store(&f)
}

// sign has f answer as the policy server.
func (h *host) sign(f http.HandlerFunc) { h.signing.Store(&f) }

// tampered gives tamper its chance.
func (h *host) tampered(api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if sign := h.signing.Load(); sign != nil && q.URL.Path == "/_matrix/policy/v1/sign" {
			(*sign)(w, q)
			return
		}
		tamper := h.tampering.Load()
		if tamper == nil && h.pace.Load() == 0 {
			api.ServeHTTP(w, q)
			return
		}
		answer := httptest.NewRecorder()
		api.ServeHTTP(answer, q)
		body := answer.Body.Bytes()
		if tamper != nil {
			if body = (*tamper)(q.URL.Path, body); body == nil {
				http.Error(w, `{"errcode":"M_NOT_FOUND","error":"gone"}`, http.StatusNotFound)
				return
			}
		}
		for key, values := range answer.Header() {
			w.Header()[key] = values
		}
		w.Header().Del("Content-Length")
		w.WriteHeader(answer.Code)
		if slices.ContainsFunc(paced, func(endpoint string) bool { return strings.Contains(q.URL.Path, endpoint) }) {
			body = h.trickle(w, q, body)
		}
		_, _ = w.Write(body)
	})
}

// paced are the endpoints whose answers pace is for.
var paced = []string{"/send_join/", "/get_missing_events/", "/state_ids/"}

// trickle writes an answer byte by byte, as long as there is a pace and somebody who listens, and gives what is left of it.
func (h *host) trickle(w http.ResponseWriter, q *http.Request, body []byte) []byte {
	for ; len(body) > 0 && h.pace.Load() > 0; body = body[1:] {
		_, _ = w.Write(body[:1])
		_ = http.NewResponseController(w).Flush()
		select {
		case <-time.After(time.Duration(h.pace.Load())):
		case <-q.Context().Done():
			return nil
		}
	}
	return body
}

// run runs the parts, and sets stop, which ends them in the reverse order of the data's way.
func (h *host) run() {
	storing, stopStore := context.WithCancel(context.Background())
	working, stopWork := context.WithCancel(context.Background())
	var stores, works sync.WaitGroup
	s, r, out := h.store, h.rooms, h.sender
	stores.Go(func() { _ = s.Run(storing) })
	works.Go(func() { _ = r.Run(working) })
	if !h.silent {
		works.Go(func() { _ = out.Run(working) })
	}
	h.stopStore = func() { stopStore(); stores.Wait() }
	h.stop = sync.OnceFunc(func() {
		h.http.CloseClientConnections()
		h.http.Close()
		stopWork()
		works.Wait()
		stopStore()
		stores.Wait()
		h.client.Close()
		_ = s.Close()
	})
}

// restart stops the server and starts it anew on what is on disk.
func (h *host) restart() {
	GinkgoHelper()
	h.stop()
	h.boot()
}

// cut separates a server from all others; join it again with heal.
func (w *world) cut(h *host) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down[h.name] = true
}

func (w *world) heal(h *host) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.down, h.name)
}

// road is how one server finds the others.
type road struct {
	w    *world
	from id.ServerName
}

func (r road) Resolve(_ context.Context, to id.ServerName) ([]resolver.Target, error) {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	if r.w.onRoad != nil {
		r.w.onRoad(r.from, to)
	}
	h := r.w.servers[to]
	if h == nil || r.w.down[to] || r.w.down[r.from] {
		return nil, errors.New("no way")
	}
	// httptest's certificates are valid for this name.
	return []resolver.Target{{Addr: netip.MustParseAddrPort(h.http.Listener.Addr().String()), Host: string(to), TLSName: "example.com"}}, nil
}

func (r road) Forget(id.ServerName) {}

// published gives a server's keys out.
type published struct{ h *host }

func (p published) ServerKeys(context.Context) (json.RawMessage, error) {
	return p.h.key.ServerKeys(p.h.name, time.Now().Add(24*time.Hour))
}

func (p published) Answer(ctx context.Context, q keys.NotaryRequest) ([]json.RawMessage, error) {
	return p.h.ring.Answer(ctx, q)
}

// guests takes invites for everybody but those called nobody, from everybody but those called pest.
type guests struct{}

func (guests) AcceptsInvite(_ context.Context, user, from id.UserID) error {
	if user.Localpart() == "nobody" {
		return errNobody()
	}
	if from.Localpart() == "pest" {
		return federation.NewError(http.StatusForbidden, federation.CodeInviteBlocked, "no invites of yours")
	}
	return nil
}

// user is a user of the server.
func (h *host) user(localpart string) id.UserID {
	return id.UserID("@" + localpart + ":" + string(h.name))
}

// create makes a public room.
func (h *host) create(req rooms.CreateRequest) id.RoomID {
	GinkgoHelper()
	if req.Creator == "" {
		req.Creator = h.user("alice")
	}
	if req.Preset == "" {
		req.Preset = "public_chat"
	}
	roomID, err := h.rooms.Create(context.Background(), req)
	Expect(err).NotTo(HaveOccurred())
	return roomID
}

func (h *host) join(user id.UserID, roomID id.RoomID, via ...id.ServerName) {
	GinkgoHelper()
	Expect(h.rooms.Join(context.Background(), rooms.JoinRequest{User: user, Room: roomID, Via: via})).To(Succeed())
}

// say sends a message.
func (h *host) say(user id.UserID, roomID id.RoomID, text string) id.EventID {
	GinkgoHelper()
	eventID, err := h.rooms.Send(context.Background(), message(user, roomID, text))
	Expect(err).NotTo(HaveOccurred())
	Expect(eventID).NotTo(BeEmpty())
	return eventID
}

func message(user id.UserID, roomID id.RoomID, text string) rooms.SendRequest {
	content, _ := json.Marshal(map[string]string{"msgtype": "m.text", "body": text})
	return rooms.SendRequest{Room: roomID, Sender: user, Type: "m.room.message", Content: content}
}

// set sends a state event.
func (h *host) set(user id.UserID, roomID id.RoomID, typ, stateKey, content string) id.EventID {
	GinkgoHelper()
	eventID, err := h.rooms.Send(context.Background(), rooms.SendRequest{
		Room: roomID, Sender: user, Type: typ, StateKey: &stateKey, Content: json.RawMessage(content),
	})
	Expect(err).NotTo(HaveOccurred())
	return eventID
}

// has tells whether an event is accepted in its place, and found there.
func (h *host) has(eventID id.EventID) bool {
	row, ok, err := h.store.Event(context.Background(), eventID)
	return err == nil && ok && row.Status == room.Accepted && !row.Outlier && row.Position <= h.store.Position()
}

// sees waits until the server has accepted the events.
func (h *host) sees(events ...id.EventID) {
	GinkgoHelper()
	for _, e := range events {
		Eventually(func() bool { return h.has(e) }).WithPolling(5*time.Millisecond).Should(BeTrue(), "%s on %s", e, h.name)
	}
}

func (h *host) state(roomID id.RoomID) roomstate.Map {
	GinkgoHelper()
	state, err := h.store.CurrentState(context.Background(), roomID)
	Expect(err).NotTo(HaveOccurred())
	return state
}

// current is an event of the current state; nil if there is none.
func (h *host) current(roomID id.RoomID, typ, stateKey string) *event.Event {
	GinkgoHelper()
	events, err := h.store.StateEvents(context.Background(), h.state(roomID), roomstate.Key{Type: typ, StateKey: stateKey})
	Expect(err).NotTo(HaveOccurred())
	if len(events) == 0 {
		return nil
	}
	return events[0]
}

func (h *host) membership(roomID id.RoomID, user id.UserID) string {
	m, _, err := h.store.Membership(context.Background(), roomID, user)
	if err != nil {
		return err.Error()
	}
	return m.Membership
}

// agree waits until the servers have the same state and forward extremities.
func agree(roomID id.RoomID, hosts ...*host) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		first, _, err := hosts[0].store.Room(context.Background(), roomID)
		g.Expect(err).NotTo(HaveOccurred())
		for _, h := range hosts[1:] {
			info, ok, err := h.store.Room(context.Background(), roomID)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(ok).To(BeTrue())
			g.Expect(info.Forward).To(ConsistOf(first.Forward), "forward extremities of %s", h.name)
			g.Expect(slices.Collect(wholestate.Diff(h.state(roomID), hosts[0].state(roomID)))).To(BeEmpty(), "state of %s against %s", h.name, hosts[0].name)
		}
	}).WithPolling(10 * time.Millisecond).Should(Succeed())
}

// rules of all versions, as table entries.
func everyVersion() []TableEntry {
	var entries []TableEntry
	for _, rules := range roomversion.All() {
		entries = append(entries, Entry("version "+string(rules.Version), rules.Version))
	}
	return entries
}
