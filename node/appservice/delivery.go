package appservice

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"hanse/federation/id"
	"hanse/node/ephemeral"
	"hanse/node/store"
)

// LiveEvent and Receipt are the store's, for those who may not know the store.
type (
	LiveEvent = store.LiveEvent
	Receipt   = store.Receipt
)

// Forms encodes what clients are told; node/clientapi has them.
type Forms interface {
	// Events are events of any rooms, with what a user is told beside them, one for one; invites of ours tell of their rooms.
	Events(ctx context.Context, user id.UserID, ours func(id.UserID) bool, events []store.LiveEvent) ([]json.RawMessage, error)
	// Receipts, Typing and Presence are ephemeral events.
	Receipts(room id.RoomID, receipts []store.Receipt) ([]json.RawMessage, error)
	Typing(room id.RoomID, users []id.UserID) (json.RawMessage, error)
	Presence(p ephemeral.Presence) (json.RawMessage, error)
}

// Accounts makes the users of the services themselves; node/users' Users is one.
type Accounts interface {
	// EnsureServiceUser makes an account, unless it is there.
	EnsureServiceUser(ctx context.Context, user id.UserID) error
}

// DeliveryConfig is what a Delivery is made of. All must be set.
type DeliveryConfig struct {
	Services  *Services
	Store     *store.Store
	Ephemeral *ephemeral.Ephemeral
	Accounts  Accounts
	Forms     Forms
}

// Delivery tells the services what happens. Safe for concurrent use.
type Delivery struct {
	config   DeliveryConfig
	services *Services
}

// NewDelivery makes it. It starts nothing: see Open and Run.
func NewDelivery(config DeliveryConfig) (*Delivery, error) {
	if config.Services == nil || config.Store == nil || config.Ephemeral == nil || config.Accounts == nil || config.Forms == nil {
		return nil, errors.New("appservice: Services, Store, Ephemeral, Accounts and Forms are needed")
	}
	return &Delivery{config: config, services: config.Services}, nil
}

// Open makes the services' own users, and reads how far they are. It is called once, when the store can be written, before Run and
// before anybody is answered.
func (d *Delivery) Open(ctx context.Context) error {
	var names []string
	for _, service := range d.services.all {
		if err := d.config.Accounts.EnsureServiceUser(ctx, service.Sender); err != nil {
			return fmt.Errorf("the user %s of the application service %s: %w", service.Sender, service.ID, err)
		}
		if len(service.Unknown) > 0 {
			d.services.log.Warn("a registration has keys that mean nothing", "file", service.File, "keys", service.Unknown)
		}
		names = append(names, service.ID)
	}
	cursors, forgotten, err := d.config.Store.OpenServices(ctx, names)
	if err != nil {
		return err
	}
	for _, name := range forgotten {
		d.services.log.Info("an application service is not configured any more: should it come back, it is told what is new by then", "service", name)
	}
	for i, service := range d.services.all {
		if service.URL == "" { // should it get one, it is told what is new by then
			cursors[i] = store.ServiceCursor{Service: service.ID, Upto: d.config.Store.Position()}
			if err := d.config.Store.SaveService(ctx, cursors[i]); err != nil {
				return err
			}
		}
		service.open(cursors[i])
	}
	return nil
}

// Run tells the services what happens, until ctx ends.
func (d *Delivery) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, service := range d.services.all {
		if service.URL != "" {
			group.Go(func() error { return d.send(ctx, service) })
		}
	}
	return group.Wait()
}
