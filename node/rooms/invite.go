package rooms

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"hanse/federation"
	"hanse/federation/canonicaljson"
	"hanse/federation/client"
	"hanse/federation/event"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
	"hanse/node/store"
)

// Invite invites Target: at once if it is a user of ours, after its server has co-signed the event if it is not. Only
// an invite that is in the room, on disk, returns without an error.
//
// spec:server-server-api#inviting-to-a-room
func (r *Rooms) Invite(ctx context.Context, req MembershipRequest) error {
	if err := r.withMember(ctx, req.Room, req.Target); err != nil {
		return err
	}
	extra := reason(req.Reason)
	if req.Direct {
		extra.set("is_direct", true)
	}
	if req.Target.Server() != r.self {
		_, err := r.inviteWith(ctx, req.Room, req.Sender, req.Target, extra)
		return err
	}
	if err := r.acceptsInvite(ctx, req.Target, req.Sender); err != nil {
		return err
	}
	content := r.memberContent(ctx, req.Target, invite, extra)
	_, err := r.propose(ctx, req.Room, store.CommitOptions{}, nil, memberDraft(req.Sender, req.Target, content))
	return err
}

// inviteAttempts is how often an invite to another server's user is made anew when the room has gone on meanwhile in a
// way that forbids it.
const inviteAttempts = 2

// inviteWith invites a user of another server.
func (r *Rooms) inviteWith(ctx context.Context, roomID id.RoomID, sender, target id.UserID, extra object) (id.EventID, error) {
	var err error
	for range inviteAttempts {
		var eventID id.EventID
		var again bool
		eventID, again, err = r.inviteOnce(ctx, roomID, memberDraft(sender, target, r.memberContent(ctx, target, invite, extra)), target.Server())
		if !again {
			return eventID, err
		}
	}
	return "", err
}

func (r *Rooms) inviteOnce(ctx context.Context, roomID id.RoomID, draft event.Draft, server id.ServerName) (eventID id.EventID, again bool, err error) {
	// 1. The event as we would send it, and what the invited user may see.
	ours, state, err := r.template(ctx, roomID, draft)
	if err != nil {
		return "", false, err
	}
	if ours.Event, err = r.recommended(ctx, roomID, ours.Event); err != nil {
		return "", false, err
	}
	if staysHere(state) {
		return "", false, federation.Forbidden("the room is not federated: only users of its creator's server can be in it")
	}
	// 2. The other server signs it.
	raw, err := r.cfg.Client.Invite(ctx, server, federation.InviteRequest{
		RoomID: roomID, EventID: ours.Event.ID(), RoomVersion: ours.Event.Rules().Version,
		Event: ours.Event.JSON(), InviteRoomState: state,
	})
	if err != nil {
		return "", false, inviteError(server, err)
	}
	signed, err := r.coSigned(ctx, ours.Event, server, raw)
	if err != nil {
		wrong := federation.NewError(502, federation.CodeUnknown, fmt.Sprintf("the invited user's server %s answered wrongly: %v", server, err))
		if _, ok := errors.AsType[*canonicaljson.Error](err); ok { // as by Synapse
			wrong = federation.BadJSON(wrong.Message)
		}
		return "", false, wrong
	}
	if signed, err = r.recommended(ctx, roomID, signed); err != nil { // should the other server have left out what it got
		return "", false, err
	}
	// 3. It goes into the room.
	result, err := r.step(ctx, roomID, room.Accept{Origin: r.self, Event: signed}, store.CommitOptions{})
	if err != nil {
		return "", false, err
	}
	if v, ok := result.Verdict(signed.ID()); ok && v.Status != room.Accepted {
		return "", true, refusal(v)
	}
	return signed.ID(), false, nil
}

// staysHere tells, by its create event, whether a room is closed to other servers. The authorisation rules keep their users
// from joining, not from being invited.
func staysHere(state []json.RawMessage) bool {
	return slices.ContainsFunc(state, func(raw json.RawMessage) bool {
		var e struct {
			Type    string `json:"type"`
			Content struct {
				Federate *bool `json:"m.federate"`
			} `json:"content"`
		}
		return exactjson.Unmarshal(raw, &e) == nil && e.Type == typeCreate && e.Content.Federate != nil && !*e.Content.Federate
	})
}

// template fills in, checks and signs a draft against the room as it is, and gives the state that goes to a user who
// is not in the room.
func (r *Rooms) template(ctx context.Context, roomID id.RoomID, draft event.Draft) (room.Templated, []json.RawMessage, error) {
	draft.RoomID = roomID
	var made room.Templated
	var state []json.RawMessage
	err := r.look(ctx, roomID, func(m *room.Machine, src room.Source) error {
		if !m.Resident() {
			return errUnknownRoom(roomID)
		}
		var err error
		if made, err = m.Template(time.Now(), draft, r.cfg.Key, src); err != nil {
			return err
		}
		if made.Refused {
			return refusal(room.Verdict{Status: room.Rejected, Rejection: made.Rejection, Reason: made.Reason})
		}
		state, err = shownState(m, src, draft.Sender)
		return err
	})
	return made, state, err
}

// shownTypes are the state events that go to users who are not in the room: invite_room_state and knock_room_state.
//
// spec:client-server-api#stripped-state
var shownTypes = [...]string{
	typeCreate, typeName, typeAvatar, typeTopic, typeJoinRules, typeCanonicalAlias, typeEncryption,
}

// shownState is the state that goes to users who are not in the room, as full events. Whom somebody invites gets the
// inviter's membership too, by which clients name them; inviter is "" for a knock.
func shownState(m *room.Machine, src room.Source, inviter id.UserID) ([]json.RawMessage, error) {
	state := stateOf{m.Current(), src}
	var shown []json.RawMessage
	add := func(typ, stateKey string) error {
		e, err := state.StateEvent(typ, stateKey)
		if e != nil {
			shown = append(shown, json.RawMessage(e.JSON()))
		}
		return err
	}
	for _, typ := range shownTypes {
		if err := add(typ, ""); err != nil {
			return nil, err
		}
	}
	if inviter != "" {
		if err := add(typeMember, string(inviter)); err != nil {
			return nil, err
		}
	}
	return shown, nil
}

// coSigned reads what the invited server made of our event: the same event, with its signature.
func (r *Rooms) coSigned(ctx context.Context, ours *event.Event, server id.ServerName, raw json.RawMessage) (*event.Event, error) {
	signed, err := r.returned(ctx, ours, raw)
	if err != nil {
		return nil, err
	}
	return signed, r.signedBy(ctx, signed, server)
}

// returned reads our event as another server gave it back: the same one, with all signatures that its room needs.
func (r *Rooms) returned(ctx context.Context, ours *event.Event, raw json.RawMessage) (*event.Event, error) {
	signed, err := event.Parse(ours.Rules(), raw)
	if err != nil {
		return nil, err
	}
	if signed.ID() != ours.ID() || !signed.ContentHashMatches() {
		return nil, errors.New("it changed the event")
	}
	return signed, r.cfg.Ring.VerifyEvents(ctx, []*event.Event{signed})[0]
}

// inviteError is what the inviting user is told.
//
// spec:server-server-api#put_matrixfederationv2inviteroomideventid
func inviteError(server id.ServerName, err error) error {
	remote, ok := errors.AsType[*client.Error](err)
	if !ok {
		return err
	}
	wire := remote.Matrix
	switch {
	case wire == nil || remote.Status >= 500:
		return federation.NewError(502, federation.CodeUnknown, fmt.Sprintf("the invited user's server %s can't be reached", server))
	case wire.Code == federation.CodeIncompatibleRoomVersion:
		return federation.NewError(400, federation.CodeUnsupportedRoomVersion,
			fmt.Sprintf("the invited user's server %s does not support the version of this room", server))
	case wire.Code == federation.CodeMissingParam, wire.Code == federation.CodeInvalidParam:
		return federation.NewError(502, federation.CodeUnknown, fmt.Sprintf("the invited user's server %s does not understand the invite: %s", server, wire.Message))
	}
	return wire
}

// ReceiveInvite takes an invite to a user of ours from another server, signs it and gives it back.
//
// spec:server-server-api#inviting-to-a-room
func (r *Rooms) ReceiveInvite(ctx context.Context, origin id.ServerName, req federation.InviteRequest) (*event.Event, error) {
	rules, ok := roomversion.Lookup(req.RoomVersion)
	if !ok {
		return nil, federation.IncompatibleRoomVersion(string(req.RoomVersion))
	}
	if err := r.admit(ctx, req.RoomID, origin); err != nil {
		return nil, err
	}
	e, err := r.membershipEvent(rules, req.RoomID, req.EventID, req.Event, invite)
	if err != nil {
		return nil, err
	}
	stateKey, _ := e.StateKey()
	user, err := id.ParseUserID(stateKey)
	switch {
	case err != nil || user.Server() != r.self:
		return nil, federation.InvalidParam("the invited user is not of this server")
	case e.Sender().Server() != origin:
		return nil, federation.InvalidParam("the inviting user is not of your server")
	}
	if err := r.signedBy(ctx, e, origin); err != nil {
		return nil, invalidSignature(err)
	}
	if err := r.checkInviteState(ctx, rules, req); err != nil {
		return nil, err
	}
	if err := r.acceptsInvite(ctx, user, e.Sender()); err != nil {
		return nil, err
	}
	signed, err := e.CoSign(r.self, r.cfg.Key)
	if err != nil {
		return nil, fmt.Errorf("rooms: sign an invite: %w", err)
	}
	info, ok, err := r.store.Room(ctx, req.RoomID)
	if err != nil {
		return nil, err
	}
	if ok && info.Resident {
		return signed, nil // it comes to us through the room as well
	}
	if err := r.invitable(ctx, user, origin); err != nil {
		return nil, err
	}
	_, err = r.store.SaveOutOfRoom(ctx, store.OutOfRoom{
		RoomID: req.RoomID, Rules: rules, Event: signed, User: user, Stripped: r.prune(req.InviteRoomState),
	})
	return signed, err
}

// invitable tells whether so few invites from outside wait for an answer of a user that one more may. Where very many do, those who have made
// them don't keep out a server that has made none.
func (r *Rooms) invitable(ctx context.Context, user id.UserID, by id.ServerName) error {
	inviters, err := r.store.OutsideInviters(ctx, user)
	if err != nil {
		return err
	}
	theirs := 0
	for _, inviter := range inviters {
		if inviter.Server() == by {
			theirs++
		}
	}
	if theirs >= r.limits.InvitedBy || len(inviters) >= r.limits.Invited && theirs > 0 || len(inviters) >= 2*r.limits.Invited {
		return federation.NewError(429, federation.CodeLimitExceeded, fmt.Sprintf("%s has too many invites that wait for an answer", user))
	}
	return nil
}

// checkInviteState validates invite_room_state where the room version's events prove the room's ID: there it must hold
// the create event, and all of its events must be valid ones of the room. In older versions many servers still send
// stripped state: their word is taken for it, and the operator can see who they are.
//
// spec:server-server-api#inviting-to-a-room
func (r *Rooms) checkInviteState(ctx context.Context, rules *roomversion.Rules, req federation.InviteRequest) error {
	if !rules.RoomIDIsCreateEvent {
		whole := parseAll(rules, slices.Clone(req.InviteRoomState[:min(len(req.InviteRoomState), r.limits.StrippedState)]))
		if !slices.ContainsFunc(whole, func(e *event.Event) bool { return e != nil && e.Is(typeCreate, "") }) || slices.Contains(whole, nil) {
			r.log.Info("an invite came with state of the old, stripped form, or without the create event", "room", req.RoomID, "version", rules.Version)
		}
		return nil
	}
	if len(req.InviteRoomState) > r.limits.StrippedState {
		return federation.InvalidParam(fmt.Sprintf("invite_room_state holds more than %d events", r.limits.StrippedState))
	}
	events := r.verified(ctx, rules, req.RoomID, slices.Clone(req.InviteRoomState))
	if len(events) != len(req.InviteRoomState) {
		return federation.InvalidParam("invite_room_state holds something that is not a valid, signed event of the room")
	}
	for _, e := range events {
		if e.Is(typeCreate, "") {
			return nil
		}
	}
	// The endpoint's page says M_INVALID_PARAM for this too, and that no code is mandated; the section's text says this one.
	return federation.MissingParam("invite_room_state lacks the room's m.room.create event")
}
