// Package node is a homeserver: it reads a configuration, puts the parts together, and runs them. It is the only place
// that knows all of them, and decides nothing that one of them could.
package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/crypto/acme/autocert"
	"golang.org/x/sync/errgroup"

	"hanse/federation/client"
	"hanse/federation/id"
	"hanse/federation/sender"
	"hanse/federation/server"
	"hanse/keys"
	"hanse/node/appservice"
	"hanse/node/clientsync"
	"hanse/node/delayed"
	"hanse/node/e2ee"
	"hanse/node/ephemeral"
	"hanse/node/media"
	"hanse/node/push"
	"hanse/node/rooms"
	"hanse/node/search"
	"hanse/node/store"
	"hanse/node/store/postgres"
	"hanse/node/store/sqlite"
	"hanse/node/stream"
	"hanse/node/telemetry"
	"hanse/node/users"
	"hanse/resolver"
)

// Node is one homeserver. Make it with New, then Run it once.
type Node struct {
	config    Config
	name      id.ServerName
	network   Network // nil: the machine's
	key       keys.SigningKey
	log       *slog.Logger
	telemetry *telemetry.Telemetry
	metrics   *metrics
	load      server.Load // of the server-server API
	lock      *os.File    // held while the data folder is ours

	store      *store.Store
	client     *client.Client
	sender     *sender.Sender
	rooms      *rooms.Rooms
	users      *users.Users
	services   *appservice.Services
	delivery   *appservice.Delivery
	ephemeral  *ephemeral.Ephemeral
	encryption *e2ee.E2EE
	media      *media.Media
	stream     *stream.Stream
	syncer     *clientsync.Syncer
	pushers    *push.Pushers
	search     *search.Search
	delayed    *delayed.Events
	endpoints  []*endpoint

	certificates []*certificateFiles
	acme         *autocert.Manager // nil: not used
	acmeStore    *acmeStore        // nil: not used
}

// New opens the database and the keys, puts the parts together and binds the addresses; nothing answers before Run.
// An error says what to change; nothing is left open then.
func New(ctx context.Context, config Config, log *slog.Logger) (*Node, error) {
	return NewOn(ctx, nil, config, log)
}

// NewOn is New on another network than the machine's.
func NewOn(ctx context.Context, network Network, config Config, log *slog.Logger) (*Node, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	config = config.withDefaults()
	log = slog.New(telemetry.Seldom(log.Handler(), outage))
	n := &Node{config: config, name: id.ServerName(config.ServerName), network: network, log: log, telemetry: telemetry.New(Version())}
	if err := os.MkdirAll(config.DataDir, 0o700); err != nil {
		return nil, folderError(config.DataDir, err)
	}
	var err error
	if n.lock, err = lockFolder(config.DataDir); err != nil {
		return nil, folderError(config.DataDir, err)
	}
	if n.store, err = openStore(ctx, config, log); err != nil {
		return nil, errors.Join(err, n.lock.Close())
	}
	if err := n.assemble(ctx); err != nil {
		for _, e := range n.endpoints {
			err = errors.Join(err, e.listener.Close())
		}
		return nil, errors.Join(err, n.store.Close(), n.lock.Close())
	}
	return n, nil
}

// folderError says why a data folder can't be used, and what to do where it belongs to somebody else.
func folderError(folder string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("data_dir: %w: this user may not write in %s; give it to the user that hanse runs as (chown -R), or run hanse as its owner", err, folder)
	}
	return fmt.Errorf("data_dir: %w", err)
}

func openStore(ctx context.Context, config Config, log *slog.Logger) (*store.Store, error) {
	options := store.Options{ServerName: id.ServerName(config.ServerName), Log: log, Leap: true, Noted: reachedBefore(reachedFile(config.DataDir))}
	if config.Database.URL == "" {
		path := filepath.Join(config.DataDir, "hanse.db")
		s, err := store.Open(ctx, sqlite.Open(path), options)
		if err != nil {
			return nil, fmt.Errorf("open the database %s: %w", path, withoutSpace(err, config.DataDir, freeSpace))
		}
		return s, nil
	}
	s, err := store.Open(ctx, postgres.Open(config.Database.URL), options)
	if err != nil {
		return nil, fmt.Errorf("open the database of database.url: %w", err)
	}
	return s, nil
}

// Run answers until ctx ends, then stops in the reverse order of the data's way: listeners, rooms and readers, committer,
// database. Requests that are under way may end, for a bounded time.
func (n *Node) Run(ctx context.Context) error {
	// What writes outlives what asks it to: each stage has a context of its own, ended after the one before.
	life := context.WithoutCancel(ctx)
	committer := stage(life, n.store.Run)
	if err := n.store.SetOwnKeyUsed(life, n.key.ID, n.key.Public()); err != nil {
		return errors.Join(err, committer.stop(), n.store.Close(), n.lock.Close())
	}
	if err := n.delivery.Open(life); err != nil {
		return errors.Join(err, committer.stop(), n.store.Close(), n.lock.Close())
	}
	reached := newReached(n.config.DataDir, n.store)
	if reached.older() {
		if err := n.store.WasPutBack(life); err != nil {
			return errors.Join(err, committer.stop(), n.store.Close(), n.lock.Close())
		}
	}
	parts := stage(life, reached.run, n.watchSpace, n.watchCertificates, n.endGuests, n.delivery.Run, n.rooms.Run, n.sender.Run, n.stream.Run, n.syncer.Run, n.pushers.Run, n.ephemeral.Run, n.encryption.Run, n.media.Run, n.users.Run, n.search.Run, n.delayed.Run)

	n.telemetry.SetReady(true)
	n.log.Info("hanse answers", "server_name", n.name, "version", Version(), "at", n.addresses())
	go debug.FreeOSMemory() // what only the start needed; a node at rest would keep it
	serving, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-parts.failed:
		case <-committer.failed:
		case <-serving.Done():
		}
		cancel()
	}()
	err := serveAll(serving, n.endpoints)
	n.telemetry.SetReady(false)
	n.log.Info("hanse stops", "server_name", n.name)
	err = errors.Join(err, ended(func() error {
		return errors.Join(parts.stop(), committer.stop(), n.store.Close(), n.lock.Close())
	}))
	n.client.Close()
	return err
}

// ended waits for end, but not for ever: then the process is to end as if it were killed, which every transaction is made for.
func ended(end func() error) error {
	done := make(chan error, 1)
	go func() { done <- end() }()
	select {
	case err := <-done:
		return err
	case <-time.After(stopTimeout):
		return fmt.Errorf("stopped after %s in the middle of what was under way, as the database, or its disk, doesn't answer; nothing that was acknowledged is lost", stopTimeout)
	}
}

// addresses lists where the node listens, for the log.
func (n *Node) addresses() string {
	var list []string
	for _, e := range n.endpoints {
		list = append(list, strings.TrimSuffix(e.setting, ".listen")+" "+e.listener.Addr().String())
	}
	return strings.Join(list, ", ")
}

// running is some parts that run and end together.
type running struct {
	cancel context.CancelFunc
	group  *errgroup.Group
	failed <-chan struct{} // closed when one has failed, or all were told to stop
}

func stage(ctx context.Context, parts ...func(context.Context) error) running {
	ctx, cancel := context.WithCancel(ctx)
	group, ctx := errgroup.WithContext(ctx)
	for _, part := range parts {
		group.Go(func() error { return part(ctx) })
	}
	return running{cancel: cancel, group: group, failed: ctx.Done()}
}

// stop ends the parts and waits; being cancelled is not a failure.
func (r running) stop() error {
	r.cancel()
	if err := r.group.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// outbound is how other servers are found and asked.
func (n *Node) outbound(file *keys.KeyFile) error {
	roots, err := n.config.trustedCAs()
	if err != nil {
		return fmt.Errorf("federation.trusted_cas: %w", err)
	}
	allowed, err := n.config.allowedAddresses()
	if err != nil {
		return fmt.Errorf("federation.allow_addresses: %w", err)
	}
	agent := "Hanse/" + Version()
	finder := resolver.New(resolver.Config{
		DNSServer: n.config.Federation.DNSServer, Roots: roots, Allow: allowed, UserAgent: agent, Network: n.network, Log: n.log,
	})
	n.client = client.New(client.Config{
		Origin: n.name, Key: file.Current, Resolver: finder, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		UserAgent: agent, Log: n.log,
	})
	return nil
}

// keyDocumentLife is for how long an answer about our own keys is kept: signing it anew for each request would be waste.
const keyDocumentLife = time.Minute
