// Package ephemeral is what happens and is no event of a room: who is typing, how far each has read, and who is there.
//
// Typing and presence live in memory and end by themselves; receipts and read markers are stored. They go out as EDUs to
// the servers in the room, and come in from them by HandleEDU. Private receipts and read markers go nowhere.
package ephemeral

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/store"
)

// Config is what the package needs. Self and Store must be set.
type Config struct {
	Self  id.ServerName
	Store *store.Store
	// Send hands volatile EDUs to the sender, to go out together; it must not block. Nil: nothing is sent.
	Send func(destinations []id.ServerName, edus ...federation.EDU)
	// Allowed tells whether the room's access control list (m.room.server_acl) lets a server in; nil: all.
	Allowed func(ctx context.Context, room id.RoomID, server id.ServerName) (bool, error)
	// Presence says which way it goes; "" is off.
	Presence PresenceMode
	// Log may be nil: silent.
	Log *slog.Logger
}

// Ephemeral keeps typing, receipts and presence. Safe for concurrent use.
type Ephemeral struct {
	config Config
	log    *slog.Logger
	typing *typing

	outgoing *outgoing
	incoming *incoming
	presence *presence // nil: off
}

// New makes it; Run tells of what is new and ends what was not renewed.
func New(config Config) (*Ephemeral, error) {
	if config.Store == nil || config.Self == "" {
		return nil, errors.New("ephemeral: Self and Store are needed")
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	e := &Ephemeral{
		config: config, log: config.Log, typing: newTyping(time.Now()), outgoing: newOutgoing(), incoming: newIncoming(),
	}
	if config.Presence != "" && config.Presence != PresenceOff {
		e.presence = newPresence(e)
	}
	return e, nil
}

// Run tells other servers what is new, stores what they tell, and ends what is over, until ctx ends.
func (e *Ephemeral) Run(ctx context.Context) error {
	var again <-chan time.Time
	retell := func() {
		if err := e.retell(ctx); err != nil && ctx.Err() == nil {
			e.log.Warn("receipts that were set just before the start may not have reached other servers yet; it is tried again", "error", err)
			again = time.After(retellPause)
		}
	}
	retell()
	ticker := time.NewTicker(expiryTick)
	defer ticker.Stop()
	members := e.config.Store.Follow(joinNotices)
	defer members.Close()
	flush := newFlushTimer()
	defer flush.timer.Stop()
	if e.presence != nil {
		var telling sync.WaitGroup
		telling.Go(func() { e.presence.run(ctx) })
		defer telling.Wait()
	}
	for {
		select {
		case <-ctx.Done():
			e.typing.close()
			e.flushIncoming(context.WithoutCancel(ctx))
			return nil
		case <-again:
			retell()
		case <-e.outgoing.kick:
			flush.arm(flushGap)
		case <-e.incoming.kick:
			flush.arm(flushGap)
		case <-flush.timer.C:
			flush.fired()
			e.flush(context.WithoutCancel(ctx)) // what was taken to be stored is stored, also when the end comes meanwhile
		case now := <-ticker.C:
			notices, _, lost := members.Take()
			if err := e.endOfLeavers(ctx, notices, lost); err != nil && ctx.Err() == nil {
				e.log.Warn("somebody who left a room may be shown typing there for a while", "error", err)
			}
			for _, stopped := range e.typing.expire(now) {
				if stopped.user.Server() == e.config.Self {
					e.outgoing.addTyping(stopped.room, stopped.user, false, false)
				}
			}
		}
	}
}

// HandleEDU takes an EDU of another server: m.typing, m.receipt, m.presence; others are left to others. What a server says
// about users of another, or about rooms they are not in, is ignored, as the specification has it; the error is ours.
func (e *Ephemeral) HandleEDU(ctx context.Context, origin id.ServerName, edu federation.EDU) error {
	switch edu.Type {
	case federation.EDUTyping:
		return e.receiveTyping(ctx, origin, edu.Content)
	case federation.EDUReceipt:
		return e.receiveReceipts(ctx, origin, edu.Content)
	case federation.EDUPresence:
		return e.receivePresence(ctx, origin, edu.Content)
	}
	return nil
}

// allowed tells whether a server may say something in a room.
func (e *Ephemeral) allowed(ctx context.Context, room id.RoomID, server id.ServerName) (bool, error) {
	if e.config.Allowed == nil {
		return true, nil
	}
	return e.config.Allowed(ctx, room, server)
}

// joined tells whether the user is joined to the room.
func (e *Ephemeral) joined(ctx context.Context, room id.RoomID, user id.UserID) (bool, error) {
	m, ok, err := e.config.Store.Membership(ctx, room, user)
	return ok && m.Membership == "join" && !m.OutOfRoom, err
}

// takesPart tells whether another server's user is taken to be in the room: joined, or, while the room's members aren't known here, of a
// server that is said to be in it, where nothing is known of the user. Deployed servers do it alike.
func (e *Ephemeral) takesPart(ctx context.Context, room id.RoomID, user id.UserID) (bool, error) {
	m, known, err := e.config.Store.Membership(ctx, room, user)
	if err != nil || known {
		return m.Membership == "join" && !m.OutOfRoom, err
	}
	if partial, _, err := e.config.Store.Wholeness(ctx, room); err != nil || !partial {
		return false, err
	}
	servers, err := e.config.Store.ServersIn(ctx, room)
	_, in := servers[user.Server()]
	return in, err
}

// mustBeJoined is the error for a user of ours who is not joined.
func (e *Ephemeral) mustBeJoined(ctx context.Context, room id.RoomID, user id.UserID) error {
	joined, err := e.joined(ctx, room, user)
	if err == nil && !joined {
		return federation.Forbidden("you are not joined to this room")
	}
	return err
}

// others are the other servers in a room.
func (e *Ephemeral) others(ctx context.Context, room id.RoomID) ([]id.ServerName, error) {
	joined, err := e.config.Store.ServersIn(ctx, room)
	if err != nil {
		return nil, err
	}
	servers := make([]id.ServerName, 0, len(joined))
	for server := range joined {
		if server != e.config.Self {
			servers = append(servers, server)
		}
	}
	return servers, nil
}
