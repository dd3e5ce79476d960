// Package rooms runs the rooms of this server: it gives each loaded room an actor that steps its machine
// (federation/room), makes commits durable through node/store, does the fetches the machine asks for, and holds
// the handshakes with other servers (join, leave, invite, knock) from both ends. It also answers the questions
// about rooms and their history, for users and for servers, with what each may see.
//
// It is not the rules (federation/authrules), not the decision about an event (federation/room), and not an API:
// the HTTP forms are made by node/clientapi and federation/server. EDUs never come here.
//
// What is asked of it fails with a *federation.Error where the protocol has a word for the failure; every other
// error is this server's own trouble.
package rooms

import (
	"container/list"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight" // several askers of one handshake share it

	"hanse/federation/client"
	"hanse/federation/id"
	"hanse/federation/room"
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
// left out. It may be called concurrently; an error leaves both out.
type Profiles interface {
	Profile(ctx context.Context, user id.UserID) (displayName, avatarURL string, err error)
}

// Invitees decides whether a user of ours exists and takes an invite from a user. A nil error lets the invite pass;
// a *federation.Error is passed on to the inviting side as it is. It may be called concurrently.
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
	// Observe, if set, is told of each commit: how many inputs shared it and how long it took.
	Observe func(inputs int, took time.Duration)
	// Judged, if set, is told what a room made of events, in the room's turn: from whom they came ("" for ours), not yet on
	// disk. Committed is told of what is on disk. Both must be quick, keep nothing, and may be called concurrently.
	Judged    func(roomID id.RoomID, origin id.ServerName, verdicts []room.Verdict)
	Committed func(room.Commit)
}

// Rooms is the registry of this server's rooms. All methods are safe for concurrent use; those that reach a room's
// actor wait until Run runs.
type Rooms struct {
	cfg     Config // immutable
	limits  Limits // immutable
	self    id.ServerName
	store   *store.Store
	log     *slog.Logger
	flights singleflight.Group // handshakes, by kind, room and user
	entry   keyedLock          // one remote join of a room at a time
	guests  keyedLock          // the guests of a room leave it once
	fetches chan struct{}      // a slot a running fetch
	wholes  chan struct{}      // a slot a server that is asked for the whole state of a room
	bound   chan struct{}      // a slot a notice of an identity server that is worked on
	acls    aclCache
	hung    hung
	created atomic.Int64 // the newest create event's time

	resets, merged, recovered atomic.Int64 // see Stats

	mu      sync.Mutex
	actors  map[id.RoomID]*actor        // guarded by mu
	partial map[id.RoomID]*gettingWhole // guarded by mu: rooms that get their whole state
	quiet   list.List                   // guarded by mu: loaded rooms, the one used longest ago first
	starts  []func(context.Context)
	stopped bool          // guarded by mu: Run has ended
	wake    chan struct{} // capacity 1: starts has grown
}

// New makes a Rooms. It starts nothing: Run does.
func New(cfg Config) *Rooms {
	if cfg.DefaultVersion == "" {
		cfg.DefaultVersion = roomversion.V12
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Observe == nil {
		cfg.Observe = func(int, time.Duration) {}
	}
	if cfg.Judged == nil {
		cfg.Judged = func(id.RoomID, id.ServerName, []room.Verdict) {}
	}
	if cfg.Committed == nil {
		cfg.Committed = func(room.Commit) {}
	}
	limits := cfg.Limits.withDefaults()
	return &Rooms{
		cfg: cfg, limits: limits, self: cfg.Self, store: cfg.Store,
		log:     cfg.Log.With("part", "rooms"),
		fetches: make(chan struct{}, limits.Fetches),
		bound:   make(chan struct{}, boundNotices),
		wholes:  make(chan struct{}, wholeAtOnce),
		actors:  make(map[id.RoomID]*actor),
		partial: make(map[id.RoomID]*gettingWhole),
		wake:    make(chan struct{}, 1),
	}
}

// Run runs the rooms' actors, fetches and handshakes until ctx ends. What is being committed then is finished, what
// waits is answered with ErrStopped. The store must run longer.
func (r *Rooms) Run(ctx context.Context) error {
	var running sync.WaitGroup
	running.Go(func() {
		r.getAllWhole(ctx)
		r.resumeStaged(ctx)
		running.Go(func() { r.leaveForDeactivated(ctx) })
		running.Go(func() { r.allGuestsLeave(ctx) })
		r.catchUp(ctx)
		r.catchUpAfterOutages(ctx)
	})
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-r.wake:
		}
		for _, start := range r.takeStarts(false) {
			running.Go(func() { start(ctx) })
		}
	}
	// What was started before the end is given its chance to answer: its context has ended.
	for _, start := range r.takeStarts(true) {
		running.Go(func() { start(ctx) })
	}
	running.Wait()
	return nil
}

// start has Run start a goroutine. It reports false when Run has ended.
func (r *Rooms) start(f func(context.Context)) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.startLocked(f)
}

func (r *Rooms) startLocked(f func(context.Context)) bool {
	if r.stopped {
		return false
	}
	r.starts = append(r.starts, f)
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return true
}

func (r *Rooms) takeStarts(last bool) []func(context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	starts := r.starts
	r.starts = nil
	r.stopped = r.stopped || last
	return starts
}

// detached does f in a goroutine of Run's and waits for it; when ctx ends first, f goes on and ctx's error is returned.
func (r *Rooms) detached(ctx context.Context, key string, f func(context.Context) error) error {
	result := r.flights.DoChan(key, func() (any, error) {
		done := make(chan error, 1)
		if !r.start(func(ctx context.Context) { done <- f(ctx) }) {
			return nil, ErrStopped
		}
		return nil, <-done
	})
	select {
	case res := <-result:
		return res.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}
