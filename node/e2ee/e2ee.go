// Package e2ee is the server's side of end-to-end encryption: devices' keys, one-time keys, cross-signing, messages to
// devices and key backups, for this server's users and between servers. It never sees what is encrypted and decides
// nothing about trust: clients do.
package e2ee

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/store"
)

// Client asks other servers; federation/client's Client is one.
type Client interface {
	UserDevices(ctx context.Context, server id.ServerName, user id.UserID) (federation.UserDevices, error)
	QueryDeviceKeys(ctx context.Context, server id.ServerName, q federation.DeviceKeysQuery) (federation.DeviceKeysAnswer, error)
	ClaimDeviceKeys(ctx context.Context, server id.ServerName, q federation.OneTimeKeysClaim) (federation.OneTimeKeysAnswer, error)
}

// Config is what the package needs. Self and Store must be set.
type Config struct {
	Self   id.ServerName
	Store  *store.Store
	Client Client // nil: other servers are not asked
	// Wake tells the sender that servers have something waiting; it must not block.
	Wake func(servers ...id.ServerName)
	Log  *slog.Logger // nil: silent
}

// E2EE keeps keys and messages. Safe for concurrent use.
type E2EE struct {
	config Config
	store  *store.Store
	log    *slog.Logger
	stale  chan struct{} // has a value when a list may be to be fetched again

	mu       sync.Mutex
	fetching map[id.UserID]*fetch        // guarded by mu: lists that are being asked for
	backoff  map[id.ServerName]*patience // guarded by mu: servers that could not be asked
}

// New makes it; Run fetches lists again and wakes the sender.
func New(config Config) (*E2EE, error) {
	if config.Self == "" || config.Store == nil {
		return nil, errors.New("e2ee: Self and Store are needed")
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	if config.Wake == nil {
		config.Wake = func(...id.ServerName) {}
	}
	return &E2EE{
		config: config, store: config.Store, log: config.Log.With("part", "e2ee"), stale: make(chan struct{}, 1),
		fetching: map[id.UserID]*fetch{}, backoff: map[id.ServerName]*patience{},
	}, nil
}

// Run wakes the sender for changes of devices, and fetches lists that missed an update, until ctx ends.
func (e *E2EE) Run(ctx context.Context) error {
	feed := e.store.Follow(feedBuffer)
	defer feed.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.resync(ctx)
	}()
	for {
		select {
		case <-ctx.Done():
			<-done
			return nil
		case <-feed.Wake:
			e.wake(ctx, feed)
		}
	}
}

// wake tells the sender of what was queued with a change of devices.
func (e *E2EE) wake(ctx context.Context, feed *store.Follower) {
	notices, _, lost := feed.Take()
	for _, n := range notices {
		if n.Kind == store.KindDevices && len(n.Servers) > 0 {
			e.config.Wake(n.Servers...)
		}
	}
	for _, n := range notices {
		if n.Kind == store.KindEvents {
			e.announceJoins(ctx, n)
		}
	}
	if !lost {
		return
	}
	servers, err := e.store.Destinations(ctx)
	if err != nil {
		if ctx.Err() == nil {
			e.log.Error("what waits for other servers can't be read; some of it may wait until more is sent to them", "error", err)
		}
		return
	}
	e.config.Wake(servers...)
}

// announceJoins tells servers that users of ours have met in a room of the users' devices. If that is lost in a crash, a server
// with an old list of them learns of it by the next change.
func (e *E2EE) announceJoins(ctx context.Context, n store.Notice) {
	for _, user := range n.Users {
		joined, err := e.store.JoinedAt(ctx, user, n.Room, n.Position)
		if err == nil && joined {
			err = e.store.AnnounceJoin(ctx, user, n.Room)
		}
		if err != nil && ctx.Err() == nil {
			e.log.Warn("servers that a user has met in a room are not told of the user's devices", "room", n.Room, "user", user, "error", err)
		}
	}
}
