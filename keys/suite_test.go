package keys

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"golang.org/x/crypto/ed25519"

	"hanse/federation/canonicaljson"
	"hanse/federation/id"
	"hanse/federation/signedjson"
)

// signingKey is the key that a seed makes.
func signingKey(name string, seed byte) SigningKey {
	return SigningKey{ID: id.KeyID("ed25519:" + name), Private: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))}
}

// peer is another server, as the fetcher finds it.
type peer struct {
	keys    []SigningKey
	old     map[id.KeyID]OldVerifyKey
	valid   time.Duration // of its document, from now
	down    bool
	slow    time.Duration
	raw     string                            // answers this instead
	notary  map[id.ServerName]json.RawMessage // documents it has as a notary
	cosign  bool                              // signs them
	mute    bool                              // doesn't answer as a notary
	fetches int
	queries []NotaryRequest
}

// file is the peer's key file.
func (p *peer) file() *KeyFile {
	return &KeyFile{Current: p.keys[0], Others: p.keys[1:], Old: p.old}
}

// document is what the peer publishes now.
func (p *peer) document(name id.ServerName) json.RawMessage {
	if p.raw != "" {
		return json.RawMessage(p.raw)
	}
	raw, err := p.file().ServerKeys(name, time.Now().Add(p.valid))
	if err != nil {
		panic(err)
	}
	return raw
}

// net is a Fetcher over peers.
type fakeNet struct {
	mu    sync.Mutex
	peers map[id.ServerName]*peer
}

var errDown = errors.New("connection refused")

func (n *fakeNet) reach(ctx context.Context, name id.ServerName, count func(*peer)) (*peer, error) {
	n.mu.Lock()
	p := n.peers[name]
	if p != nil {
		count(p)
	}
	n.mu.Unlock()
	if p == nil || p.down {
		return nil, errDown
	}
	select {
	case <-time.After(p.slow):
		return p, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (n *fakeNet) ServerKeys(ctx context.Context, name id.ServerName) (json.RawMessage, error) {
	p, err := n.reach(ctx, name, func(p *peer) { p.fetches++ })
	if err != nil {
		return nil, err
	}
	return p.document(name), nil
}

func (n *fakeNet) NotaryQuery(ctx context.Context, name id.ServerName, q NotaryRequest) ([]json.RawMessage, error) {
	p, err := n.reach(ctx, name, func(p *peer) { p.queries = append(p.queries, q) })
	if err != nil {
		return nil, err
	}
	if p.mute {
		return nil, errDown
	}
	var answer []json.RawMessage
	for server := range q.ServerKeys {
		raw, ok := p.notary[server]
		if !ok {
			continue
		}
		if p.cosign {
			if raw, err = signedjson.Sign(raw, string(name), p.keys[0]); err != nil {
				return nil, err
			}
		}
		answer = append(answer, raw)
	}
	return answer, nil
}

// memory is a Store.
type memory struct {
	mu     sync.Mutex
	docs   map[id.ServerName][]ServerKeys
	reads  int
	broken bool
}

func (m *memory) Keys(_ context.Context, servers []id.ServerName) ([]ServerKeys, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	if m.broken {
		return nil, errors.New("disk is gone")
	}
	var found []ServerKeys
	for _, s := range servers {
		for _, doc := range m.docs[s] {
			loaded, err := LoadServerKeys(doc.Raw, doc.FetchedTS)
			if err != nil {
				return nil, err
			}
			found = append(found, loaded)
		}
	}
	return found, nil
}

func (m *memory) SaveKeys(_ context.Context, docs []ServerKeys) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken {
		return errors.New("disk is gone")
	}
	for _, doc := range docs {
		delete(m.docs, doc.ServerName)
	}
	for _, doc := range docs {
		m.docs[doc.ServerName] = append(m.docs[doc.ServerName], doc)
	}
	return nil
}

// world is a ring with peers and a store.
type world struct {
	*fakeNet
	store *memory
	ring  *Ring
}

const self = id.ServerName("self.test")

// newWorld has the peers a.test and b.test with key "1", and the notary n.test that isn't asked unless named.
func newWorld(notaries ...id.ServerName) *world {
	w := &world{
		fakeNet: &fakeNet{peers: map[id.ServerName]*peer{
			"a.test": {keys: []SigningKey{signingKey("1", 1)}, valid: 24 * time.Hour},
			"b.test": {keys: []SigningKey{signingKey("1", 2)}, valid: 24 * time.Hour},
			"n.test": {keys: []SigningKey{signingKey("n", 9)}, valid: 24 * time.Hour, cosign: true, notary: map[id.ServerName]json.RawMessage{}},
		}},
		store: &memory{docs: map[id.ServerName][]ServerKeys{}},
	}
	w.restart(notaries...)
	return w
}

// restart makes a new ring on the same store.
func (w *world) restart(notaries ...id.ServerName) {
	own := &KeyFile{Current: signingKey("self", 42), Others: []SigningKey{signingKey("next", 43)},
		Old: map[id.KeyID]OldVerifyKey{"ed25519:old": {Key: signingKey("old", 44).Public(), ExpiredTS: 1000}}}
	w.ring = NewRing(RingConfig{Self: self, Own: own, Store: w.store, Fetcher: w, Notaries: notaries})
}

// request is a signature check of a message that is signed with the key.
func request(server id.ServerName, key SigningKey) Request {
	message := []byte(`{"hello":"world"}`)
	return Request{Server: server, Message: message, EnforceValidity: true,
		Signatures: map[id.KeyID][]byte{key.ID: ed25519.Sign(key.Private, message)}}
}

// at is the same check for an event of that time.
func (q Request) at(t time.Time) Request { q.At = t; return q }

// unenforced is the same check for a room version that doesn't ask for validity.
func (q Request) unenforced() Request { q.EnforceValidity = false; return q }

// verify checks one request.
func (w *world) verify(q Request) error {
	return w.ring.Verify(context.Background(), []Request{q})[0]
}

// kindOf is the kind of an *Error; -1 for nil, -2 for another error.
func kindOf(err error) Kind {
	var e *Error
	switch {
	case err == nil:
		return -1
	case errors.As(err, &e):
		return e.Kind
	}
	return -2
}

const good = Kind(-1)

// mustCanonical is v as canonical JSON.
func mustCanonical(v any) json.RawMessage {
	raw, err := canonicaljson.Marshal(v)
	if err != nil {
		panic(err)
	}
	return raw
}
