package inbound_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/client"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/federation/signedjson"
	"hanse/keys"
	"hanse/node/inbound"
	"hanse/node/rooms"
	"hanse/node/store"
	"hanse/node/store/sqlite"
	"hanse/resolver"
	"hanse/testnet/wholestate"
)

const (
	self  id.ServerName = "self.test"
	alice id.UserID     = "@alice:self.test"
)

// server is this server: what inbound stands on, without HTTP. Nobody can be asked for anything but keys.
type server struct {
	store   *store.Store
	rooms   *rooms.Rooms
	inbound *inbound.Inbound
	peers   map[id.ServerName]*peer // whose keys can be had
	edus    *listener
}

func start(peers ...*peer) *server {
	GinkgoHelper()
	s, stop := run(GinkgoT().TempDir(), false, peers...)
	DeferCleanup(stop)
	return s
}

// run starts a server on a folder; durable says whether commits wait for the disk.
func run(dir string, durable bool, peers ...*peer) (s *server, stop func()) {
	s = &server{peers: make(map[id.ServerName]*peer), edus: &listener{}}
	for _, p := range peers {
		s.peers[p.name] = p
	}
	log := slog.New(slog.DiscardHandler)
	if !durable {
		log = slog.New(slog.NewTextHandler(GinkgoWriter, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	own, err := keys.LoadOrCreate(filepath.Join(dir, "key"))
	Expect(err).NotTo(HaveOccurred())
	dialect := sqlite.OpenUnsynced(filepath.Join(dir, "db"))
	if durable {
		dialect = sqlite.Open(filepath.Join(dir, "db"))
	}
	s.store, err = store.Open(context.Background(), dialect, store.Options{ServerName: self, Log: log})
	Expect(err).NotTo(HaveOccurred())
	ring := keys.NewRing(keys.RingConfig{Self: self, Own: own, Store: s.store, Fetcher: s, Log: log})
	s.rooms = rooms.New(rooms.Config{
		Self: self, Key: own.Current, Store: s.store, Ring: ring, Log: log,
		Client: client.New(client.Config{Origin: self, Key: own.Current, Resolver: nowhere{}, Log: log}),
	})
	s.inbound, err = inbound.New(inbound.Config{
		Self: self, Rooms: s.rooms, Store: s.store, Verifier: ring, Log: log,
		EDUs: map[string]inbound.EDUHandler{federation.EDUTyping: s.edus}, Profiles: fields{},
	})
	Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = s.store.Run(ctx) })
	running.Go(func() { _ = s.rooms.Run(ctx) })
	return s, func() {
		cancel()
		running.Wait()
		Expect(s.store.Close()).To(Succeed())
	}
}

// ServerKeys implements keys.Fetcher.
func (s *server) ServerKeys(_ context.Context, name id.ServerName) (json.RawMessage, error) {
	p := s.peers[name]
	if p == nil {
		return nil, errors.New("unreachable")
	}
	return (&keys.KeyFile{Current: p.key}).ServerKeys(name, time.Now().Add(time.Hour))
}

// NotaryQuery implements keys.Fetcher.
func (s *server) NotaryQuery(context.Context, id.ServerName, keys.NotaryRequest) ([]json.RawMessage, error) {
	return nil, errors.New("unreachable")
}

type nowhere struct{}

func (nowhere) Resolve(context.Context, id.ServerName) ([]resolver.Target, error) {
	return nil, errors.New("unreachable")
}
func (nowhere) Forget(id.ServerName) {}

type fields struct{}

func (fields) ProfileFields(context.Context, id.UserID) (map[string]json.RawMessage, error) {
	return map[string]json.RawMessage{"displayname": json.RawMessage(`"Alice"`), "m.tz": json.RawMessage(`"UTC"`)}, nil
}

// listener notes EDUs.
type listener struct {
	mu   sync.Mutex
	edus []federation.EDU // guarded by mu
	err  error
}

func (l *listener) HandleEDU(_ context.Context, _ id.ServerName, edu federation.EDU) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.edus = append(l.edus, edu)
	return l.err
}

// create makes a public room.
func (s *server) create(version roomversion.Version) id.RoomID {
	GinkgoHelper()
	roomID, err := s.rooms.Create(context.Background(), rooms.CreateRequest{Creator: alice, Preset: "public_chat", Version: version})
	Expect(err).NotTo(HaveOccurred())
	return roomID
}

// peer is another server that makes events by hand.
type peer struct {
	name id.ServerName
	key  signedjson.Key
	user id.UserID
}

func newPeer(name id.ServerName) *peer {
	GinkgoHelper()
	key, err := keys.Generate()
	Expect(err).NotTo(HaveOccurred())
	return &peer{name: name, key: key, user: id.UserID("@bob:" + string(name))}
}

// join joins the room through the server.
func (p *peer) join(s *server, roomID id.RoomID) *event.Event {
	GinkgoHelper()
	ctx := context.Background()
	var versions []roomversion.Version
	for _, rules := range roomversion.All() {
		versions = append(versions, rules.Version)
	}
	made, err := s.rooms.MakeJoin(ctx, p.name, federation.MakeRequest{RoomID: roomID, UserID: p.user, Versions: versions})
	Expect(err).NotTo(HaveOccurred())
	rules, _ := roomversion.Lookup(made.RoomVersion)
	draft, err := event.ParseDraft(rules, made.Event)
	Expect(err).NotTo(HaveOccurred())
	e, err := draft.Sign(rules, p.name, p.key)
	Expect(err).NotTo(HaveOccurred())
	_, err = s.rooms.SendJoin(ctx, p.name, federation.SendRequest{RoomID: roomID, EventID: e.ID(), Event: e.JSON()})
	Expect(err).NotTo(HaveOccurred())
	return e
}

// message makes a message on top of the room as the server has it.
func (p *peer) message(s *server, roomID id.RoomID, text string) event.Draft {
	GinkgoHelper()
	ctx := context.Background()
	info, ok, err := s.store.Room(ctx, roomID)
	Expect(err).NotTo(HaveOccurred())
	Expect(ok).To(BeTrue())
	state, err := s.store.CurrentState(ctx, roomID)
	Expect(err).NotTo(HaveOccurred())
	content, err := json.Marshal(map[string]string{"msgtype": "m.text", "body": text})
	Expect(err).NotTo(HaveOccurred())
	draft := event.Draft{
		RoomID: roomID, Type: "m.room.message", Sender: p.user, Content: content,
		PrevEvents: info.Forward, Depth: info.Depth + 1, OriginServerTS: time.Now().UnixMilli(),
	}
	for _, key := range [][2]string{{"m.room.create", ""}, {"m.room.power_levels", ""}, {"m.room.member", string(p.user)}} {
		if e, ok := wholestate.Get(state, key[0], key[1]); ok && (info.Rules.CreateInAuthEvents || key[0] != "m.room.create") {
			draft.AuthEvents = append(draft.AuthEvents, e)
		}
	}
	return draft
}

func (p *peer) sign(s *server, d event.Draft) *event.Event {
	GinkgoHelper()
	info, _, err := s.store.Room(context.Background(), d.RoomID)
	Expect(err).NotTo(HaveOccurred())
	e, err := d.Sign(info.Rules, p.name, p.key)
	Expect(err).NotTo(HaveOccurred())
	return e
}

// send sends raw events in a transaction of the given ID.
func (p *peer) send(s *server, txnID string, pdus ...json.RawMessage) federation.PDUResults {
	GinkgoHelper()
	results, err := s.inbound.Transaction(context.Background(), p.name, txnID, federation.Transaction{Origin: p.name, PDUs: pdus})
	Expect(err).NotTo(HaveOccurred())
	return results
}

// with changes a member of an event's JSON, which breaks its hash or signature.
func with(e *event.Event, key string, value any) json.RawMessage {
	GinkgoHelper()
	var members map[string]any
	Expect(json.Unmarshal(e.JSON(), &members)).To(Succeed())
	members[key] = value
	raw, err := json.Marshal(members)
	Expect(err).NotTo(HaveOccurred())
	return raw
}
