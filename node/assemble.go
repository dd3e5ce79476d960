package node

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/federation/sender"
	"hanse/federation/server"
	"hanse/keys"
	"hanse/node/appservice"
	"hanse/node/clientapi"
	"hanse/node/clientsync"
	"hanse/node/delayed"
	"hanse/node/directory"
	"hanse/node/e2ee"
	"hanse/node/ephemeral"
	"hanse/node/inbound"
	"hanse/node/rooms"
	"hanse/node/search"
	"hanse/node/slidingsync"
	"hanse/node/stream"
	"hanse/node/users"
)

// assemble puts the parts together, from what others need to what needs others, and binds the addresses.
func (n *Node) assemble(ctx context.Context) error {
	n.telemetry.Check = n.store.Check
	file, err := openKeys(ctx, n.config, n.store)
	if err != nil {
		return err
	}
	n.key = file.Current
	if err := n.outbound(file); err != nil {
		return err
	}
	ring := n.keyRing(file)
	n.metrics = newMetrics(n.telemetry.Registry)
	n.sender = sender.New(sender.Config{Origin: n.name, Client: n.client, Outbox: n.store, Log: n.log, Taken: n.watchSent})
	if n.services, err = n.applicationServices(); err != nil {
		return err
	}
	if n.users, err = n.accounts(); err != nil {
		return err
	}
	n.rooms = rooms.New(rooms.Config{
		Self: n.name, Key: file.Current, Store: n.store, Client: n.client, Ring: ring, Sender: n.sender,
		Profiles: n.users, Invitees: n.users, DefaultVersion: roomversion.Version(n.config.Rooms.DefaultVersion), Log: n.log,
		Observe: n.metrics.observeCommit, Judged: n.watchVerdicts, Committed: n.watchCommit,
	})
	aliases, err := directory.New(directory.Config{Self: n.name, Store: n.store, Client: n.client, Services: n.services, Log: n.log})
	if err != nil {
		return err
	}
	if n.ephemeral, err = ephemeral.New(ephemeral.Config{
		Self: n.name, Store: n.store, Allowed: n.rooms.Allowed, Presence: ephemeral.PresenceMode(n.config.Presence), Log: n.log,
		Send: func(destinations []id.ServerName, edus ...federation.EDU) { n.sender.EDUs(edus, destinations...) },
	}); err != nil {
		return err
	}
	if n.encryption, err = e2ee.New(e2ee.Config{
		Self: n.name, Store: n.store, Client: n.client, Wake: n.sender.Wake, Log: n.log,
	}); err != nil {
		return err
	}
	if n.media, err = n.openMedia(ctx); err != nil {
		return err
	}
	n.stream = stream.New(n.store, n.ephemeral, n.log)
	if err := n.stream.Recall(ctx); err != nil {
		return err
	}
	n.syncer = clientsync.New(n.store, n.stream, n.rooms, n.ephemeral)
	if n.pushers, err = n.pushGateways(); err != nil {
		return err
	}
	if n.delivery, err = appservice.NewDelivery(appservice.DeliveryConfig{
		Services: n.services, Store: n.store, Ephemeral: n.ephemeral, Accounts: n.users, Forms: clientapi.TransactionForms{Sync: n.syncer},
	}); err != nil {
		return err
	}
	n.delayed = delayed.New(n.store, n.rooms, n.log)
	n.search = search.New(n.name, n.store, n.rooms, n.log)
	clients, err := n.clients(aliases)
	if err != nil {
		return err
	}
	n.registerStats()
	n.registerLoads(clients)
	n.registerServiceStats()
	n.registerMediaStats()
	n.registerSpace()
	servers, err := n.servers(file, ring, aliases, clients.From)
	if err != nil {
		return err
	}
	if err := n.bind(&proxyWatch{next: clients, trusts: clients.TrustsProxy, log: n.log}, servers); err != nil {
		return err
	}
	n.registerCertificates()
	return nil
}

// keyRing is where the signing keys of all servers are had.
func (n *Node) keyRing(file *keys.KeyFile) *keys.Ring {
	var notaries []id.ServerName
	for _, notary := range n.config.Federation.Notaries {
		notaries = append(notaries, id.ServerName(notary))
	}
	return keys.NewRing(keys.RingConfig{
		Self: n.name, Own: file, Store: n.store, Fetcher: n.client, Notaries: notaries, Log: n.log,
	})
}

func (n *Node) accounts() (*users.Users, error) {
	c := n.config.Passwords
	return users.New(users.Config{
		Self: n.name, Store: n.store, Services: n.services, Log: n.log, Passwords: users.Passwords{
			Scheme: c.Algorithm, MemoryKiB: c.Argon2Memory, Passes: c.Argon2Time, Threads: c.Argon2Threads,
			BcryptCost: c.BcryptCost, Parallel: c.Parallel,
		},
	})
}

// clients is the client-server API.
func (n *Node) clients(aliases *directory.Directory) (*clientapi.API, error) {
	c := n.config
	frozen, err := c.mediaFrozen()
	if err != nil {
		return nil, err // Validate has found it
	}
	proxies, err := readPrefixes(c.Client.TrustedProxies)
	if err != nil {
		return nil, err // Validate has found it
	}
	support, err := c.support()
	if err != nil {
		return nil, err // Validate has found it
	}
	mails, err := n.email()
	if err != nil {
		return nil, err
	}
	return clientapi.New(clientapi.Config{
		Self: n.name, Users: n.users, Rooms: n.rooms, Directory: aliases, Ephemeral: n.ephemeral, Encryption: n.encryption,
		Media: n.media, MediaFrozen: frozen, Services: n.services, Profiles: n.client,
		Sync: n.syncer, SlidingSync: slidingsync.New(n.name, n.store, n.stream, n.ephemeral, n.syncer),
		Pushers: n.pushers, Delayed: n.delayed, Search: n.search, BaseURL: c.Client.PublicURL,
		Registration: clientapi.Registration{
			Open: c.Registration.Open, Guests: c.Registration.Guests, Tokens: c.Registration.Tokens,
			SharedSecret: c.Registration.SharedSecret, Email: c.Registration.RequireEmail,
		},
		Email:              mails,
		OAuth:              c.OAuth.Enabled,
		DefaultRoomVersion: roomversion.Version(c.Rooms.DefaultVersion),
		Turn:               clientapi.Turn{URIs: c.Turn.URIs, Secret: c.Turn.Secret, Life: time.Duration(c.Turn.Hours) * time.Hour},
		Support:            support, LiveKitServiceURL: c.Calls.LiveKitServiceURL,
		RateLimits: c.RateLimits.limits(), TrustedProxies: proxies, Log: n.log,
	})
}

// servers is the server-server API.
func (n *Node) servers(file *keys.KeyFile, ring *keys.Ring, aliases *directory.Directory, from func(*http.Request) string) (http.Handler, error) {
	in, err := inbound.New(inbound.Config{
		Self: n.name, Rooms: n.rooms, Store: n.store, Verifier: ring, Directory: aliases, Profiles: n.users, Log: n.log,
		EDUs: map[string]inbound.EDUHandler{
			federation.EDUTyping: n.ephemeral, federation.EDUReceipt: n.ephemeral, federation.EDUPresence: n.ephemeral, federation.EDUDirectToDevice: n.encryption,
			federation.EDUDeviceListUpdate: n.encryption, federation.EDUSigningKeyUpdate: n.encryption,
		},
		Devices: n.encryption,
		Media:   n.media,
		OpenID:  n.users,
		Keys:    &keyHandler{Ring: ring, file: file, name: n.name},
		Watch:   n.watchInbound(),
	})
	if err != nil {
		return nil, err
	}
	return server.New(server.Config{
		Self: n.name, Verifier: ring, Handlers: in.Handlers(), Log: n.log, OnRequest: func(origin id.ServerName) {
			n.sender.Retry(origin)
			n.encryption.Retry(origin)
			n.rooms.Retry(origin)
		},
		Version: federation.ServerVersion{Name: "Hanse", Version: Version()}, Refused: n.watchRequest, Load: &n.load, From: from,
	}), nil
}

// bind listens on every configured address.
func (n *Node) bind(clients, servers http.Handler) error {
	add := func(setting, address string, handler http.Handler, certificate *tls.Config) error {
		e, err := n.listen(setting, address, handler, certificate)
		if err == nil {
			n.endpoints = append(n.endpoints, e)
		}
		return err
	}
	clients, servers = n.telemetry.Measure("client", clients), n.telemetry.Measure("federation", servers)
	both := n.wellKnownServer(split(clients, servers))
	clientTLS, err := n.tlsFor(n.config.Client.Certificate, n.config.Client.Key)
	if err != nil {
		return err
	}
	for _, address := range n.config.Client.Listen {
		if err := add("client.listen", address, both, clientTLS); err != nil {
			return err
		}
	}
	federationTLS, err := n.tlsFor(n.config.Federation.Certificate, n.config.Federation.Key)
	if err != nil {
		return err
	}
	for _, address := range n.config.Federation.Listen {
		if err := add("federation.listen", address, n.wellKnownServer(withOldMedia(clients, servers)), federationTLS); err != nil {
			return err
		}
	}
	if len(n.config.Federation.Listen) == 0 {
		n.log.Warn("no federation.certificate: other servers reach this one only through a proxy with a certificate for its name",
			"server_name", n.name, "forward_to", n.config.Client.Listen)
	}
	if lower := strings.ToLower(string(n.name)); lower != string(n.name) {
		n.log.Warn("server_name has upper case letters: to most servers it is another name than the same in lower case, and users will mistype it; "+
			"as long as nobody has an account here, change it, and remove the data folder", "server_name", n.name, "better", lower)
	}
	if err := n.bindACME(); err != nil {
		return err
	}
	n.bindAdmin()
	if n.config.Monitor.Listen != "" {
		return add("monitor.listen", n.config.Monitor.Listen, n.telemetry.Handler(), nil)
	}
	return nil
}

// split hands the paths of the server-server API to servers and all others to clients.
func split(clients, servers http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/_matrix/federation/") || strings.HasPrefix(r.URL.Path, "/_matrix/key/") {
			servers.ServeHTTP(w, r)
			return
		}
		clients.ServeHTTP(w, r)
	})
}

// wellKnownServer publishes the delegation, where one is configured.
// spec:server-server-api#getwell-knownmatrixserver
func (n *Node) wellKnownServer(next http.Handler) http.Handler {
	if n.config.Federation.WellKnown == "" {
		return next
	}
	body, err := json.Marshal(map[string]string{"m.server": n.config.Federation.WellKnown})
	if err != nil {
		return next // a string always encodes
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/.well-known/matrix/server" || r.Method != http.MethodGet && r.Method != http.MethodHead {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Access-Control-Allow-Origin", "*")
		_, _ = w.Write(body) // who asked and went away asks again
	})
}

// keyHandler answers for our own keys and as a notary. Safe for concurrent use.
type keyHandler struct {
	*keys.Ring
	file *keys.KeyFile
	name id.ServerName

	mu       sync.Mutex
	document json.RawMessage // guarded by mu
	signed   time.Time       // guarded by mu
}

// ServerKeys is our key document, signed anew when the last one is a minute old.
func (k *keyHandler) ServerKeys(context.Context) (json.RawMessage, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.signed) < keyDocumentLife {
		return k.document, nil
	}
	document, err := k.file.ServerKeys(k.name, time.Now().Add(keys.DocumentValidity))
	if err == nil {
		k.document, k.signed = document, time.Now()
	}
	return document, err
}
