// Package rooms runs the rooms of this server: it gives each loaded room an actor that steps its machine
// (federation/room), makes commits durable through node/store, does the fetches the machine asks for, and holds
// the handshakes with other servers (join, leave, invite, knock) from both ends. It also answers the questions
// about rooms and their history, for users and for servers, with what each may see.
//
// It is not the rules (federation/authrules), not the decision about an event (federation/room), and not an API:
// the HTTP forms are made by node/clientapi and federation/server. EDUs never come here.
package rooms

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"hanse/federation/client"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/federation/signedjson"
	"hanse/keys"
	"hanse/node/store"
)

// ErrStopped is the answer to everything asked after Run has ended, and to what was still waiting then.
var ErrStopped = errors.New("rooms: this server is shutting down")

// Waker is told which destinations have something new to be sent. It must not block. federation/sender's Sender is one.
type Waker interface {
	Wake(destinations ...id.ServerName)
}

// Profiles gives the display name and avatar URL that the membership events of our users carry. Empty strings are
// left out. It is asked with a short-lived context and may be called concurrently.
type Profiles interface {
	Profile(ctx context.Context, user id.UserID) (displayName, avatarURL string, err error)
}

// Invitees decides whether a user of ours exists and takes an invite from a user. A nil error lets the invite pass;
// a *federation.Error is passed on to the inviting server as it is. It may be called concurrently.
type Invitees interface {
	AcceptsInvite(ctx context.Context, user, from id.UserID) error
}

// Config is what a Rooms is made of. Self, Key, Store, Client and Ring must be set.
type Config struct {
	Self id.ServerName
	// Key signs our events.
	Key    signedjson.Key
	Store  *store.Store
	Client *client.Client
	Ring   *keys.Ring
	// Sender may be nil: nothing is woken then (the outbox is durable, a sender reads it at its start).
	Sender Waker
	// Profiles may be nil: membership events carry no profile then.
	Profiles Profiles
	// Invitees may be nil: every invite to a user ID of ours is taken then.
	Invitees Invitees
	// DefaultVersion is the version of rooms created without a wish; empty means 12.
	DefaultVersion roomversion.Version
	Limits         Limits
	// Log may be nil: silent.
	Log *slog.Logger
	// Observe, if set, is told of each step: how many inputs shared its commit and how long the commit took.
	Observe func(inputs int, commit time.Duration)
}

// Rooms is the registry of this server's rooms. All methods are safe for concurrent use.
type Rooms struct {
	cfg    Config // immutable
	log    *slog.Logger
	joins  singleflight.Group // remote joins, by room and user
	leaves singleflight.Group // remote rejections, by room and user

	mu      sync.Mutex
	actors  map[id.RoomID]*actor // guarded by mu
	recent  lru                  // guarded by mu: loaded rooms, least recently used first
	starts  []func(context.Context)
	stopped bool          // guarded by mu
	wake    chan struct{} // capacity 1: starts has grown
}
