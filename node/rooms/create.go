package rooms

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
	"hanse/node/store"
)

// Error codes of the client-server API that only room creation uses.
//
// spec:client-server-api#other-error-codes
const (
	codeRoomInUse        = "M_ROOM_IN_USE"
	codeInvalidRoomState = "M_INVALID_ROOM_STATE"
)

// Presets of /createRoom.
const (
	presetPrivate = "private_chat"
	presetTrusted = "trusted_private_chat"
	presetPublic  = "public_chat"

	visibilityPublic  = "public"
	visibilityPrivate = "private"
)

// Create makes a room and returns its ID once all of it is on disk. All events are made together or none is; invites
// to users of other servers follow, and what their servers refuse is returned as the error although the room exists
// then. A server that can't be reached is no error: the invite is left out and logged.
//
// spec:client-server-api#creation
func (r *Rooms) Create(ctx context.Context, req CreateRequest) (id.RoomID, error) {
	c, err := r.newCreation(ctx, req)
	if err != nil {
		return "", err
	}
	drafts, err := c.drafts(ctx)
	if err != nil {
		return "", err
	}
	machine, result, err := r.found(ctx, c.rules, drafts)
	if err != nil {
		return "", err
	}
	opts := store.CommitOptions{Publish: ptr(req.Visibility == visibilityPublic)}
	if c.alias != "" {
		opts.Aliases = []store.Alias{{Alias: c.alias, RoomID: machine.RoomID(), Creator: req.Creator}}
	}
	if _, err := r.store.Commit(ctx, result.Commit, opts); err != nil {
		if errors.Is(err, store.ErrExists) {
			return "", aliasTaken(c.alias)
		}
		return "", fmt.Errorf("rooms: create: %w", err)
	}
	return machine.RoomID(), r.inviteRemote(ctx, machine.RoomID(), c)
}

// found makes the machine of a new room. Nobody else knows the room before it is on disk, so that it needs no actor yet.
func (r *Rooms) found(ctx context.Context, rules *roomversion.Rules, drafts []event.Draft) (*room.Machine, room.Result, error) {
	for {
		// Where the create event's ID is the room's, the time is all that tells rooms of the same creator apart.
		drafts[0].OriginServerTS = r.creationTime(time.Now())
		machine := room.New(r.self, rules)
		result, err := machine.Step(time.Now(), room.Propose{Drafts: drafts, Key: r.cfg.Key}, nothing{})
		if err != nil {
			return nil, result, fmt.Errorf("rooms: create: %w", err)
		}
		for _, v := range result.Verdicts {
			if v.Status != room.Accepted {
				return nil, result, federation.NewError(400, codeInvalidRoomState,
					fmt.Sprintf("the room can't be made like this: its %s event is not allowed: %s", drafts[v.Draft].Type, why(v)))
			}
		}
		// The clock may have been set back.
		if _, taken, err := r.store.Room(ctx, machine.RoomID()); err != nil || !taken {
			return machine, result, err
		}
	}
}

// creationTime is a time in milliseconds since the epoch that no other create event of this process has.
func (r *Rooms) creationTime(now time.Time) int64 {
	for {
		last := r.created.Load()
		ts := max(now.UnixMilli(), last+1)
		if r.created.CompareAndSwap(last, ts) {
			return ts
		}
	}
}

// creation is a room that is being made.
type creation struct {
	r       *Rooms
	req     CreateRequest
	rules   *roomversion.Rules
	alias   id.RoomAlias
	roomID  id.RoomID   // "" where the create event's ID is the room's
	local   []id.UserID // invited users of ours
	remote  []id.UserID
	initial map[string]bool // types in InitialState with an empty state key
}

// newCreation checks a request.
func (r *Rooms) newCreation(ctx context.Context, req CreateRequest) (*creation, error) {
	if req.Version == "" {
		req.Version = r.cfg.DefaultVersion
	}
	rules, ok := roomversion.Lookup(req.Version)
	if !ok {
		return nil, federation.UnsupportedRoomVersion(string(req.Version))
	}
	if err := choosePreset(&req); err != nil {
		return nil, err
	}
	switch {
	case req.Invite3PID > 0:
		return nil, federation.NewError(403, federation.CodeForbidden,
			"this server has no identity server: it can't invite by e-mail address or phone number (invite_3pid)")
	case len(req.Invite) > r.limits.Invites:
		return nil, federation.InvalidParam(fmt.Sprintf("a new room can invite at most %d users at once", r.limits.Invites))
	case len(req.InitialState) > r.limits.InitialState:
		return nil, federation.InvalidParam(fmt.Sprintf("initial_state has more than %d events", r.limits.InitialState))
	}
	c := &creation{r: r, req: req, rules: rules, initial: make(map[string]bool)}
	for _, e := range req.InitialState {
		if e.StateKey == "" {
			c.initial[e.Type] = true
		}
	}
	if !rules.RoomIDIsCreateEvent {
		c.roomID = id.RoomID("!" + rand.Text() + ":" + string(r.self))
	}
	if err := c.invitees(ctx); err != nil {
		return nil, err
	}
	return c, c.wishAlias(ctx)
}

// choosePreset fills in Visibility and Preset.
func choosePreset(req *CreateRequest) error {
	switch req.Visibility {
	case "":
		req.Visibility = visibilityPrivate
	case visibilityPublic, visibilityPrivate:
	default:
		return federation.InvalidParam(fmt.Sprintf("visibility is %q: it must be public or private", req.Visibility))
	}
	switch req.Preset {
	case "":
		req.Preset = presetPrivate
		if req.Visibility == visibilityPublic {
			req.Preset = presetPublic
		}
	case presetPrivate, presetTrusted, presetPublic:
	default:
		return federation.InvalidParam(fmt.Sprintf("preset is %q: it must be private_chat, trusted_private_chat or public_chat", req.Preset))
	}
	return nil
}

// invitees sorts the invited users, without doubles, and asks whether ours take the invite.
func (c *creation) invitees(ctx context.Context) error {
	seen := map[id.UserID]bool{c.req.Creator: true}
	for _, user := range c.req.Invite {
		if seen[user] {
			continue
		}
		seen[user] = true
		if user.Server() != c.r.self {
			c.remote = append(c.remote, user)
			continue
		}
		if err := c.r.acceptsInvite(ctx, user, c.req.Creator); err != nil {
			return err
		}
		c.local = append(c.local, user)
	}
	return nil
}

// wishAlias checks the alias wished for.
func (c *creation) wishAlias(ctx context.Context) error {
	if c.req.Alias == "" {
		return nil
	}
	alias, err := id.ParseRoomAlias("#" + c.req.Alias + ":" + string(c.r.self))
	if err != nil || strings.ContainsAny(c.req.Alias, ":#") {
		return federation.InvalidParam("room_alias_name is not a valid local part: it can't hold ':' or '#', and must be short")
	}
	_, taken, err := c.r.store.Alias(ctx, alias)
	if taken {
		return aliasTaken(alias)
	}
	c.alias = alias
	return err
}

func aliasTaken(alias id.RoomAlias) error {
	return federation.NewError(400, codeRoomInUse, fmt.Sprintf("the alias %s is taken", alias))
}

// drafts are the new room's events, in the order of the specification.
//
// spec:client-server-api#post_matrixclientv3createroom
func (c *creation) drafts(ctx context.Context) ([]event.Draft, error) {
	create, err := c.createContent()
	if err != nil {
		return nil, err
	}
	power, err := c.powerLevels()
	if err != nil {
		return nil, err
	}
	drafts := []event.Draft{
		c.state(typeCreate, "", create), // 1
		c.state(typeMember, string(c.req.Creator), c.r.memberContent(ctx, c.req.Creator, join, object{})), // 2
		c.state(typePowerLevels, "", power), // 3
	}
	if c.alias != "" { // 4
		drafts = append(drafts, c.state(typeCanonicalAlias, "", object{"alias": quote(string(c.alias))}.raw()))
	}
	drafts = append(drafts, c.preset()...) // 5
	for _, e := range c.req.InitialState { // 6
		if e.StateKey == "" && (e.Type == typeName && c.req.Name != "" || e.Type == typeTopic && c.req.Topic != "") {
			continue
		}
		if err := c.r.checkState(e.Type, e.Content); err != nil {
			return nil, err
		}
		drafts = append(drafts, c.state(e.Type, e.StateKey, e.Content))
	}
	if c.req.Name != "" { // 7
		drafts = append(drafts, c.state(typeName, "", object{"name": quote(c.req.Name)}.raw()))
	}
	if c.req.Topic != "" {
		drafts = append(drafts, c.state(typeTopic, "", topicContent(c.req.Topic)))
	}
	for _, user := range c.local { // 8; those of other servers are invited when the room exists
		drafts = append(drafts, c.state(typeMember, string(user), c.inviteContent(ctx, user)))
	}
	return drafts, nil
}

func (c *creation) state(typ, stateKey string, content json.RawMessage) event.Draft {
	return event.Draft{RoomID: c.roomID, Type: typ, StateKey: &stateKey, Sender: c.req.Creator, Content: content}
}

// inviteRemote invites the users of other servers.
func (r *Rooms) inviteRemote(ctx context.Context, roomID id.RoomID, c *creation) error {
	var refused error
	for _, user := range c.remote {
		err := r.Invite(ctx, MembershipRequest{Room: roomID, Sender: c.req.Creator, Target: user, Direct: c.req.Direct})
		var wire *federation.Error
		switch {
		case err == nil:
		case errors.As(err, &wire) && wire.Status < 500:
			refused = errors.Join(refused, err)
		default:
			r.log.Warn("an invite to a new room was not delivered", "room", roomID, "server", user.Server(), "error", err)
		}
	}
	// The client gets one error; the first says enough.
	var wire *federation.Error
	if errors.As(refused, &wire) {
		return wire
	}
	return refused
}
