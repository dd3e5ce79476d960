// Package inbound answers other servers: it implements the handler interfaces of federation/server on top of rooms,
// the directory, users and the EDU handlers. It does checks 1 to 3 on receipt of a PDU (format, signatures, hash) and
// the server ACL; what an event means is decided in its room.
//
// It is not HTTP: routes, request signatures and body limits are federation/server's.
package inbound

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"

	"golang.org/x/sync/singleflight" // one transaction sent twice at a time is handled once

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/server"
	"hanse/keys"
	"hanse/node/media"
	"hanse/node/rooms"
	"hanse/node/store"
)

// Verifier checks the signatures of many events at once: one error an event. keys.Ring is one.
type Verifier interface {
	VerifyEvents(ctx context.Context, events []*event.Event) []error
}

// EDUHandler takes EDUs of the types it is registered for. It is called in the order of the transaction, and bounds its
// own work. What a server may not say it ignores; an error is our own trouble: of what must not be lost (devices and messages
// to them) the transaction fails and is sent again, other EDUs are lost.
type EDUHandler interface {
	HandleEDU(ctx context.Context, origin id.ServerName, edu federation.EDU) error
}

// EDUsHandler is an EDUHandler that takes those which follow each other in a transaction at once, in their order.
type EDUsHandler interface {
	EDUHandler
	HandleEDUs(ctx context.Context, origin id.ServerName, edus []federation.EDU) error
}

// Directory answers about our aliases, published rooms and spaces; node/directory's Directory is one.
type Directory interface {
	Local(ctx context.Context, alias id.RoomAlias) (federation.DirectoryResponse, error)
	PublicRooms(ctx context.Context, request federation.PublicRoomsRequest) (federation.PublicRoomsResponse, error)
	Hierarchy(ctx context.Context, origin id.ServerName, request federation.HierarchyRequest) (federation.HierarchyResponse, error)
}

// Profiles answers about our users' profiles: all fields, M_NOT_FOUND for who isn't ours. node/users' Users is one.
type Profiles interface {
	ProfileFields(ctx context.Context, user id.UserID) (map[string]json.RawMessage, error)
}

// Keys publishes our keys and answers as a notary.
type Keys interface {
	ServerKeys(ctx context.Context) (json.RawMessage, error)
	Answer(ctx context.Context, q keys.NotaryRequest) ([]json.RawMessage, error)
}

// Config is what an Inbound is made of. Self, Rooms, Store and Verifier must be set; a group that is nil has no
// endpoints.
type Config struct {
	Self     id.ServerName
	Rooms    *rooms.Rooms
	Store    *store.Store
	Verifier Verifier
	// EDUs by their type; EDUs of other types are ignored.
	EDUs      map[string]EDUHandler
	Directory Directory
	Profiles  Profiles
	Keys      Keys
	// Devices answers about our users' devices and their keys.
	Devices server.DeviceHandler
	// Media keeps our users' files.
	Media *media.Media
	// OpenID tells whose an OpenID token is.
	OpenID OpenID
	// Watch is told what becomes of events before they reach their room; its functions may be nil.
	Watch Watch
	// Log may be nil: silent.
	Log *slog.Logger
}

// Inbound answers other servers. Safe for concurrent use.
type Inbound struct {
	cfg      Config // immutable
	log      *slog.Logger
	flights  singleflight.Group // transactions, by origin and ID
	answered answered
}

// New makes an Inbound. It starts nothing.
func New(cfg Config) (*Inbound, error) {
	if cfg.Self == "" || cfg.Rooms == nil || cfg.Store == nil || cfg.Verifier == nil {
		return nil, errors.New("inbound: Self, Rooms, Store and Verifier are needed")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Inbound{cfg: cfg, log: cfg.Log.With("part", "inbound")}, nil
}

// Handlers are the groups of federation/server's API that this server answers.
func (i *Inbound) Handlers() server.Handlers {
	h := server.Handlers{
		Transactions: i, Joins: i.cfg.Rooms, Leaves: i.cfg.Rooms, Knocks: i.cfg.Rooms,
		Invites: invites{i.cfg.Rooms}, ThirdParty: i.cfg.Rooms, Events: events{i.cfg.Rooms},
	}
	if i.cfg.Directory != nil {
		h.Directory, h.Spaces = directory{i.cfg.Directory}, i.cfg.Directory
	}
	if i.cfg.Profiles != nil {
		h.Profiles = profiles{i.cfg.Profiles, i.cfg.Self}
	}
	if i.cfg.Devices != nil {
		h.Devices = i.cfg.Devices
	}
	if i.cfg.Media != nil {
		h.Media = files{i.cfg.Media, i.cfg.Self}
	}
	if i.cfg.OpenID != nil {
		h.OpenID = i.cfg.OpenID
	}
	if i.cfg.Keys != nil {
		h.Keys = i.cfg.Keys
	}
	return h
}
