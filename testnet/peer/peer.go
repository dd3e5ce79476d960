// Package peer is a scripted remote homeserver for tests: real HTTPS with a certificate and signing keys of its own,
// rooms in memory, and a script that may fail, delay, hang or lie at every endpoint, and send whatever it likes. It is
// not a homeserver: it stores nothing, has no users with accounts, and does what the test says, right or wrong.
//
// It takes the product's packages for events, rules and state resolution (the conformance suite judges by conformance/literal
// beside them), but serves and checks requests by itself.
package peer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ed25519"

	"hanse/federation/client"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/federation/signedjson"
	"hanse/resolver"
	"hanse/testnet/fabric"
)

// Config says who a peer is and where it listens.
type Config struct {
	// Name is the server name; others must be able to find Listen by it. Empty: the address it listens at, an IP
	// literal with a port.
	Name id.ServerName
	// Listen is "ip:port"; port 0 takes a free one.
	Listen string
	// CA makes the certificate and is what the peer trusts.
	CA *fabric.CA
	// CertificateNames are what the certificate is for; empty: the host of Name.
	CertificateNames []string
	// DNSServer is the "ip:port" of whom to ask for names.
	DNSServer string
	// KeyID of the signing key; empty: "ed25519:peer".
	KeyID id.KeyID
	// Network is where the peer listens and calls others; nil: this machine's. On another one every address may be called.
	Network Network
	// Public tells that other servers are found and trusted as on the internet: by the system's resolver, and by Roots
	// (nil: the system's authorities) in place of CA.
	Public bool
	Roots  *x509.CertPool
	// Intercept wraps what the peer serves, if set.
	Intercept func(http.Handler) http.Handler
}

// Network is a network as one host sees it.
type Network interface {
	resolver.Network
	Listen(network, address string) (net.Listener, error)
}

// Peer is a running remote server. Safe for concurrent use.
type Peer struct {
	Name   id.ServerName
	Client *client.Client // calls others in this peer's name, as it should be done

	resolver *resolver.Resolver
	http     *http.Client // for requests that are made by hand
	server   *http.Server
	listener net.Listener
	roots    *tls.Config
	served   chan struct{}

	mu       sync.Mutex
	key      signedjson.Key              // guarded by mu
	hooks    map[string]Hook             // guarded by mu; by endpoint
	requests []Request                   // guarded by mu; all that came in
	inbox    []Received                  // guarded by mu; events that came in transactions
	edus     []ReceivedEDU               // guarded by mu
	rooms    map[id.RoomID]*Room         // guarded by mu
	aliases  map[id.RoomAlias]id.RoomID  // guarded by mu
	profiles map[id.UserID]Profile       // guarded by mu
	invites  []Invited                   // guarded by mu
	keys     map[id.ServerName]verifiers // guarded by mu
	oldKeys  map[id.KeyID]OldKey         // guarded by mu
	txns     int                         // guarded by mu
	journal  []string                    // guarded by mu
}

// Profile is what the peer says of one of its users.
type Profile struct {
	DisplayName string `json:"displayname,omitempty"`
	AvatarURL   string `json:"avatar_url,omitempty"`
}

// OldKey is a signing key that the peer has stopped using.
type OldKey struct {
	Key       signedjson.Key
	ExpiredTS int64 // milliseconds since 1970
}

// NewKey makes a fresh signing key.
func NewKey(keyID id.KeyID) signedjson.Key {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err) // crypto/rand does not fail (since Go 1.24)
	}
	return signedjson.Key{ID: keyID, Private: private}
}

// Start starts a peer, which serves until Close.
func Start(cfg Config) (*Peer, error) {
	listen := net.Listen
	if cfg.Network != nil {
		listen = cfg.Network.Listen
	}
	listener, err := listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("start the peer %s: %w", cfg.Name, err)
	}
	if cfg.Name == "" {
		cfg.Name = id.ServerName(listener.Addr().String())
	}
	if cfg.KeyID == "" {
		cfg.KeyID = "ed25519:peer"
	}
	names := cfg.CertificateNames
	if len(names) == 0 {
		names = []string{strings.Trim(cfg.Name.Host(), "[]")}
	}
	certificate, err := issue(cfg.CA, names)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	p := &Peer{
		Name: cfg.Name, key: NewKey(cfg.KeyID), listener: listener, served: make(chan struct{}),
		hooks: map[string]Hook{}, rooms: map[id.RoomID]*Room{}, aliases: map[id.RoomAlias]id.RoomID{},
		profiles: map[id.UserID]Profile{}, keys: map[id.ServerName]verifiers{}, oldKeys: map[id.KeyID]OldKey{},
		roots: &tls.Config{RootCAs: cfg.CA.Pool()},
	}
	if cfg.Public {
		p.roots.RootCAs = cfg.Roots
	}
	found := resolver.Config{
		DNSServer: cfg.DNSServer, Roots: p.roots.RootCAs, UserAgent: "peer",
		Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
	}
	if cfg.Network != nil {
		found.Network, found.Allow = cfg.Network, []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	}
	p.resolver = resolver.New(found)
	p.Client = client.New(client.Config{Origin: p.Name, Key: p.key, Resolver: p.resolver, TLS: p.roots, UserAgent: "peer"})
	p.http = &http.Client{Transport: &http.Transport{DialTLSContext: p.dialByHand, MaxIdleConnsPerHost: 4}, Timeout: requestTimeout}
	handler := p.handler()
	if cfg.Intercept != nil {
		handler = cfg.Intercept(handler)
	}
	p.server = &http.Server{
		Handler: handler, ReadHeaderTimeout: requestTimeout,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
		ErrorLog:  silent(), // a failed handshake is what some tests are about
	}
	go func() {
		defer close(p.served)
		_ = p.server.ServeTLS(listener, "", "") // ends with http.ErrServerClosed
	}()
	return p, nil
}

func issue(ca *fabric.CA, names []string) (tls.Certificate, error) {
	certPEM, keyPEM, err := ca.Issue(names...)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(certPEM, keyPEM)
}

// Close ends the peer at once, requests under way included.
func (p *Peer) Close() {
	_ = p.server.Close() // the test is over
	<-p.served
	p.Client.Close()
	p.http.CloseIdleConnections()
}

// Key is what the peer signs with.
func (p *Peer) Key() signedjson.Key {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.key
}

// Addr is where the peer listens, as "ip:port".
func (p *Peer) Addr() string { return p.listener.Addr().String() }

// User is a user of the peer's.
func (p *Peer) User(localpart string) id.UserID {
	return id.UserID("@" + localpart + ":" + string(p.Name))
}

// SetProfile says what the peer answers about one of its users.
func (p *Peer) SetProfile(user id.UserID, profile Profile) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.profiles[user] = profile
}

// SetAlias says where an alias of the peer's leads.
func (p *Peer) SetAlias(alias id.RoomAlias, room id.RoomID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.aliases[alias] = room
}

// AddOldKey publishes a key as one that was used until the given time.
func (p *Peer) AddOldKey(key signedjson.Key, expired time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.oldKeys[key.ID] = OldKey{Key: key, ExpiredTS: expired.UnixMilli()}
}

// Room is a room the peer made or joined; nil if it is in no such room.
func (p *Peer) Room(roomID id.RoomID) *Room {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rooms[roomID]
}

func (p *Peer) addRoom(r *Room) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rooms[r.ID] = r
}

// Versions are all room versions.
func Versions() []roomversion.Version {
	var versions []roomversion.Version
	for _, rules := range roomversion.All() {
		versions = append(versions, rules.Version)
	}
	return versions
}

// dialByHand connects to the server that the URL's host names, by discovery.
func (p *Peer) dialByHand(ctx context.Context, network, address string) (net.Conn, error) {
	name, err := id.ParseServerName(strings.TrimSuffix(address, ":443"))
	if err != nil {
		return nil, err
	}
	targets, err := p.resolver.Resolve(ctx, name)
	if err != nil {
		return nil, err
	}
	dialer := tls.Dialer{Config: p.roots.Clone()}
	dialer.Config.ServerName = targets[0].TLSName
	return dialer.DialContext(ctx, network, targets[0].Addr.String())
}
