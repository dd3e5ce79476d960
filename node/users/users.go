// Package users is the accounts of this server: passwords, devices and their access tokens, what OAuth 2.0 clients were
// allowed, e-mail addresses, profiles, account data, filters, and the search in the directory of users.
//
// It is not about the users of other servers, and it knows nothing of rooms beyond what the store says about
// memberships: that a new display name reaches the rooms is the caller's part.
package users

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"sync"
	"time"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/store"
)

// ErrUnknownToken says that an access token is not good (any more).
var ErrUnknownToken = errors.New("unknown access token")

// Config is what the accounts are made of. Self and Store must be set.
type Config struct {
	Self      id.ServerName
	Store     *store.Store
	Passwords Passwords
	// Services are the application services that have a part of the users; nil: there are none.
	Services Services
	// Log may be nil: silent.
	Log *slog.Logger
}

// Services are application services, as far as accounts know of them.
type Services interface {
	// Reserved tells whether a user ID is exclusively an application service's.
	Reserved(user id.UserID) bool
	// HasUser has the services that may have a user of this server make the account, if there is such a user; it may take some
	// seconds. The error is the asker's.
	HasUser(ctx context.Context, user id.UserID) (bool, error)
}

// Users is the accounts of this server. Safe for concurrent use. Errors that are the asker's are *federation.Error.
type Users struct {
	self   id.ServerName
	store  *store.Store
	log    *slog.Logger
	hasher *hasher
	tokens *tokenCache

	waiting waiting
	repeats repeats

	maxGuests int // immutable; less in tests

	services Services // nil: there are none

	seen chan store.Device // devices to be marked as used; full: that one is not marked

	maxReports, maxReportsKept int // immutable; less in tests

	seed     maphash.Seed   // immutable
	profiles [64]sync.Mutex // by user: a profile's size is checked and changed under it
}

// New makes the accounts. Run writes down when devices were last used.
func New(config Config) (*Users, error) {
	if config.Store == nil || config.Self == "" {
		return nil, errors.New("users: Self and Store are needed")
	}
	hasher, err := newHasher(config.Passwords)
	if err != nil {
		return nil, err
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	return &Users{
		self: config.Self, store: config.Store, log: config.Log, hasher: hasher, services: config.Services,
		maxGuests: maxGuests,
		tokens:    newTokenCache(), waiting: waiting{byUser: map[id.UserID]map[uint64]context.CancelCauseFunc{}}, seen: make(chan store.Device, maxSeenQueue), seed: maphash.MakeSeed(),
		maxReports: maxReports, maxReportsKept: maxReportsKept,
	}, nil
}

// findPause is the wait between two tries to make users findable.
const findPause = time.Minute

// Run makes users findable who aren't yet, and writes down, until ctx ends, when devices were last used; requests don't wait
// for that.
func (u *Users) Run(ctx context.Context) error {
	finding := time.NewTimer(0)
	defer finding.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-finding.C:
			if err := u.findAll(ctx); err != nil && ctx.Err() == nil {
				u.log.Error("not all users can be found in the user directory; it is tried again", "error", err, "in", findPause)
				finding.Reset(findPause)
			}
		case first := <-u.seen:
			batch := map[string]store.Device{deviceKey(first): first}
			for more := true; more && len(batch) < maxSeenQueue; {
				select {
				case d := <-u.seen:
					batch[deviceKey(d)] = d
				default:
					more = false
				}
			}
			devices := make([]store.Device, 0, len(batch))
			for _, d := range batch {
				devices = append(devices, d)
			}
			if err := u.store.SeenDevices(ctx, devices); err != nil && ctx.Err() == nil {
				u.log.Error("the last use of devices could not be stored", "devices", len(devices), "error", err)
			}
		}
	}
}

func deviceKey(d store.Device) string { return string(d.User) + "\x00" + d.ID }

// local is the error for a user who has no account here, nil for the others.
func (u *Users) local(ctx context.Context, user id.UserID) error {
	if user.Server() != u.self {
		return federation.NotFound("no such user on this server")
	}
	account, ok, err := u.store.User(ctx, user)
	switch {
	case err != nil:
		return err
	case !ok || account.Deactivated:
		return federation.NotFound("no such user on this server")
	}
	return nil
}

// AcceptsInvite is nil if the user has an account here that can be invited, and doesn't block invites.
//
// spec:client-server-api/modules/invite_permission#server-behaviour
func (u *Users) AcceptsInvite(ctx context.Context, user, _ id.UserID) error {
	if err := u.localOrMade(ctx, user); err != nil {
		return err
	}
	blocks, _, err := u.store.BlocksInvites(ctx, user)
	if err == nil && blocks {
		err = federation.NewError(403, federation.CodeInviteBlocked, "this user does not take invites")
	}
	return err
}

// SharedRooms are the rooms to which both users are joined, in the order of their IDs.
func (u *Users) SharedRooms(ctx context.Context, a, b id.UserID) ([]id.RoomID, error) {
	return u.store.SharedRooms(ctx, a, b)
}

// MembershipIn is a user's membership of a room; "" if there never was one.
func (u *Users) MembershipIn(ctx context.Context, user id.UserID, room id.RoomID) (string, error) {
	member, _, err := u.store.Membership(ctx, room, user)
	return member.Membership, err
}

// JoinedRooms are the rooms the user is joined to.
func (u *Users) JoinedRooms(ctx context.Context, user id.UserID) ([]id.RoomID, error) {
	all, err := u.store.Memberships(ctx, user)
	if err != nil {
		return nil, err
	}
	rooms := make([]id.RoomID, 0, len(all))
	for _, m := range all {
		if m.Membership == "join" {
			rooms = append(rooms, m.RoomID)
		}
	}
	return rooms, nil
}

// nowMS is the time as Matrix writes it.
func nowMS(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
