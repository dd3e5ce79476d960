// Package directory is the names of rooms and the list of published ones: the aliases of this server, where aliases
// of others lead, and what a published room shows of itself. It answers clients (node/clientapi) and other servers
// (node/inbound).
//
// It does not join rooms, and what a room says about its own aliases (m.room.canonical_alias) is the room's.
package directory

import (
	"context"
	"errors"
	"log/slog"

	"hanse/federation"
	"hanse/federation/authrules"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/node/store"
)

// Client asks other servers; *federation/client.Client is one. Errors are *client.Error.
type Client interface {
	QueryDirectory(ctx context.Context, destination id.ServerName, alias id.RoomAlias) (federation.DirectoryResponse, error)
	PublicRooms(ctx context.Context, destination id.ServerName, request federation.PublicRoomsRequest) (federation.PublicRoomsResponse, error)
	Hierarchy(ctx context.Context, destination id.ServerName, request federation.HierarchyRequest) (federation.HierarchyResponse, error)
}

// Services are application services, as far as the directory knows of them.
type Services interface {
	// HasAlias has the services that may have an alias of this server make it, if it leads somewhere; it may take some seconds. The
	// error is the asker's.
	HasAlias(ctx context.Context, alias id.RoomAlias) (bool, error)
	// Instance says which service and network the ID of a third-party protocol's instance stands for.
	Instance(instance string) (service, network string, ok bool)
}

// Config is what a Directory needs. Self and Store must be set.
type Config struct {
	Self  id.ServerName
	Store *store.Store
	// Client may be nil: other servers' aliases and rooms are not found then.
	Client Client
	// Services may be nil: no application service is asked for aliases.
	Services Services
	// Log may be nil: silent.
	Log *slog.Logger
}

// Directory is the directory of a server. Safe for concurrent use. Errors that are the asker's are *federation.Error.
type Directory struct {
	self      id.ServerName
	store     *store.Store
	client    Client
	services  Services // nil: there are none
	log       *slog.Logger
	summaries *summaries
	answers   *answers
	listing   listing
}

// New makes a directory.
func New(config Config) (*Directory, error) {
	if config.Store == nil || config.Self == "" {
		return nil, errors.New("directory: Self and Store are needed")
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	return &Directory{
		self: config.Self, store: config.Store, client: config.Client, services: config.Services, log: config.Log, summaries: newSummaries(), answers: newAnswers(),
	}, nil
}

// Published tells whether a room is in the list; M_NOT_FOUND for rooms we don't know.
func (d *Directory) Published(ctx context.Context, room id.RoomID) (bool, error) {
	info, err := d.known(ctx, room)
	return info.Public, err
}

// Publish puts a room into the list or takes it out. Whoever may set the room's main alias may do that, and admins.
func (d *Directory) Publish(ctx context.Context, room id.RoomID, asker id.UserID, admin, public bool) error {
	info, err := d.known(ctx, room)
	if err != nil {
		return err
	}
	if !admin {
		if err := d.mayName(ctx, room, asker); err != nil {
			return err
		}
	}
	if info.Public == public {
		return nil
	}
	return d.store.Publish(ctx, room, public)
}

func (d *Directory) known(ctx context.Context, room id.RoomID) (store.RoomInfo, error) {
	info, ok, err := d.store.Room(ctx, room)
	switch {
	case err != nil:
		return info, err
	case !ok || !info.Created:
		return info, federation.NotFound("this server doesn't know the room")
	}
	return info, nil
}

// mayName is nil for those who may say what the room is called.
func (d *Directory) mayName(ctx context.Context, room id.RoomID, user id.UserID) error {
	return d.MaySend(ctx, room, user, "m.room.canonical_alias")
}

// MaySend is nil for those who are joined and have the power level to send that type of state event; M_FORBIDDEN
// otherwise. It is asked beforehand where more than the event depends on it.
func (d *Directory) MaySend(ctx context.Context, room id.RoomID, user id.UserID, typ string) error {
	member, ok, err := d.store.Membership(ctx, room, user)
	switch {
	case err != nil:
		return err
	case !ok || member.Membership != "join":
		return federation.Forbidden("you are not joined to this room")
	}
	state, err := d.store.CurrentState(ctx, room)
	if err != nil {
		return err
	}
	events, err := d.store.StateEvents(ctx, state,
		roomstate.Key{Type: "m.room.create"}, roomstate.Key{Type: "m.room.power_levels"})
	if err != nil {
		return err
	}
	levels, err := authrules.LevelsOf(authrules.EventsState(events))
	if err != nil {
		return err
	}
	if levels.User(user) < levels.Event(typ, true) {
		return federation.Forbidden("your power level in this room is too low for that")
	}
	return nil
}
