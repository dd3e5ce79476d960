package rooms

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"hanse/federation"
	"hanse/federation/canonicaljson"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
	"hanse/keys"
	"hanse/node/store"
)

// MakeJoin answers make_join: the template of a join, if the user may join.
//
// spec:server-server-api#get_matrixfederationv1make_joinroomiduserid
func (r *Rooms) MakeJoin(ctx context.Context, origin id.ServerName, req federation.MakeRequest) (federation.MakeResponse, error) {
	rules, err := r.servesWhole(ctx, origin, req.RoomID)
	if err != nil {
		return federation.MakeResponse{}, err
	}
	if !supports(req.Versions, rules) {
		return federation.MakeResponse{}, federation.IncompatibleRoomVersion(string(rules.Version))
	}
	extra := object{}
	err = r.look(ctx, req.RoomID, func(m *room.Machine, src room.Source) error {
		way, err := r.entrance(ctx, m, src, req.UserID)
		if err == nil && way.restricted {
			extra.set(authorisedVia, way.via)
		}
		return err
	})
	if err != nil {
		return federation.MakeResponse{}, err
	}
	extra.set("membership", join)
	return r.make(ctx, origin, req, extra)
}

// MakeLeave answers make_leave.
//
// spec:server-server-api#get_matrixfederationv1make_leaveroomiduserid
func (r *Rooms) MakeLeave(ctx context.Context, origin id.ServerName, req federation.MakeRequest) (federation.MakeResponse, error) {
	if _, err := r.servesWhole(ctx, origin, req.RoomID); err != nil {
		return federation.MakeResponse{}, err
	}
	return r.make(ctx, origin, req, object{"membership": quote(leave)})
}

// MakeKnock answers make_knock.
//
// spec:server-server-api#get_matrixfederationv1make_knockroomiduserid
func (r *Rooms) MakeKnock(ctx context.Context, origin id.ServerName, req federation.MakeRequest) (federation.MakeResponse, error) {
	rules, err := r.servesWhole(ctx, origin, req.RoomID)
	if err != nil {
		return federation.MakeResponse{}, err
	}
	if !supports(req.Versions, rules) {
		return federation.MakeResponse{}, federation.IncompatibleRoomVersion(string(rules.Version))
	}
	return r.make(ctx, origin, req, object{"membership": quote(knock)})
}

// supports tells whether a list of versions holds that of the room. A server that sends none knows version 1.
func supports(list []roomversion.Version, rules *roomversion.Rules) bool {
	if len(list) == 0 {
		list = []roomversion.Version{roomversion.V1}
	}
	return slices.Contains(list, rules.Version)
}

// serves tells whether we may help a server with a room: we are in it, and its ACL lets the server take part.
func (r *Rooms) serves(ctx context.Context, origin id.ServerName, roomID id.RoomID) (store.RoomInfo, error) {
	info, err := r.knows(ctx, origin, roomID)
	if err == nil && !info.Resident {
		err = notInRoom(roomID)
	}
	return info, err
}

// knows is serves for what was: we are, or were, in the room.
func (r *Rooms) knows(ctx context.Context, origin id.ServerName, roomID id.RoomID) (store.RoomInfo, error) {
	info, ok, err := r.store.Room(ctx, roomID)
	if err != nil {
		return info, err
	}
	if !ok {
		return info, notInRoom(roomID)
	}
	return info, r.admit(ctx, roomID, origin)
}

func notInRoom(roomID id.RoomID) error {
	return federation.NotFound(fmt.Sprintf("this server is not in the room %s", roomID))
}

// servesWhole is serves for memberships: a server that doesn't know all members can't tell who may join or leave, nor give the state or the
// servers of the room. It answers as if it weren't in the room, as deployed servers do, so that another one is asked.
func (r *Rooms) servesWhole(ctx context.Context, origin id.ServerName, roomID id.RoomID) (*roomversion.Rules, error) {
	info, err := r.serves(ctx, origin, roomID)
	if err == nil && info.Partial {
		err = federation.NotFound(fmt.Sprintf("this server is not in the room %s as a whole yet: ask another one", roomID))
	}
	return info.Rules, err
}

// make is the common part of make_join, make_leave and make_knock.
func (r *Rooms) make(ctx context.Context, origin id.ServerName, req federation.MakeRequest, content object) (federation.MakeResponse, error) {
	if req.UserID.Server() != origin {
		return federation.MakeResponse{}, federation.Forbidden("the user is not of your server")
	}
	made, _, err := r.template(ctx, req.RoomID, memberDraft(req.UserID, req.UserID, content.raw()))
	if err != nil {
		return federation.MakeResponse{}, err
	}
	rules := made.Event.Rules()
	raw, err := made.Draft.Template(rules, r.self)
	if err != nil {
		return federation.MakeResponse{}, fmt.Errorf("rooms: template: %w", err)
	}
	return federation.MakeResponse{RoomVersion: rules.Version, Event: raw}, nil
}

// SendJoin takes a join that was made of our template into the room, and gives the room's state before it.
//
// spec:server-server-api#put_matrixfederationv2send_joinroomideventid
func (r *Rooms) SendJoin(ctx context.Context, origin id.ServerName, req federation.SendRequest) (federation.SendJoinResponse, error) {
	e, result, err := r.enter(ctx, origin, req, join)
	if err != nil {
		return federation.SendJoinResponse{}, err
	}
	servers, err := r.serversBefore(ctx, e, result.Before)
	if err != nil {
		return federation.SendJoinResponse{}, err
	}
	answer := federation.SendJoinResponse{Origin: r.self, Event: e.JSON(), MembersOmitted: req.OmitMembers, ServersInRoom: servers}
	var given *givenState
	if req.OmitMembers {
		given, err = r.giveWithoutMembers(ctx, e, result.Before)
	} else {
		given, err = r.giveState(e.RoomID(), result.Before)
	}
	if err != nil {
		return federation.SendJoinResponse{}, err
	}
	given.cites(e.AuthEvents())
	answer.StateStream, answer.AuthChainStream = given.events(ctx), given.authChain(ctx)
	return answer, nil
}

// serversBefore are the servers with joined users before a join that was taken in.
func (r *Rooms) serversBefore(ctx context.Context, joined *event.Event, before roomstate.Map) ([]id.ServerName, error) {
	servers, err := r.store.JoinedServers(ctx, joined.RoomID())
	if err != nil {
		return nil, err
	}
	stateKey, _ := joined.StateKey()
	member, err := r.store.StateEvents(ctx, before, roomstate.Key{Type: typeMember, StateKey: stateKey})
	if err != nil {
		return nil, err
	}
	if newcomer := joined.Sender().Server(); servers[newcomer] == 1 && (len(member) == 0 || member[0].Membership() != join) {
		delete(servers, newcomer)
	}
	return byUsers(servers), nil
}

// giveWithoutMembers prepares what of the state before a join goes to a server that wants no members: all else, and of the members the user who
// joins, who lets them in, and those by whom clients name a room that has no name.
//
// spec:server-server-api#put_matrixfederationv2send_joinroomideventid
func (r *Rooms) giveWithoutMembers(ctx context.Context, joined *event.Event, before roomstate.Map) (*givenState, error) {
	var part []id.EventID
	named := false
	for e, err := range before.OtherTypes(typeMember) {
		if err != nil {
			return nil, err
		}
		part = append(part, e.Event)
		named = named || e.StateKey == "" && (e.Type == typeName || e.Type == typeCanonicalAlias)
	}
	stateKey, _ := joined.StateKey()
	members := []string{stateKey}
	if via := field(joined.Content(), authorisedVia); via != "" && via != stateKey {
		members = append(members, via)
	}
	if !named {
		for _, membership := range []string{join, invite} {
			heroes, err := r.store.Members(ctx, joined.RoomID(), store.MemberFilter{Membership: membership, Limit: maxHeroes + 1})
			if err != nil {
				return nil, err
			}
			for _, m := range heroes {
				if len(members) <= maxHeroes+1 && !slices.Contains(members, string(m.User)) {
					members = append(members, string(m.User))
				}
			}
		}
	}
	for _, user := range members {
		member, err := before.Event(typeMember, user)
		switch {
		case err != nil:
			return nil, err
		case member != "":
			part = append(part, member)
		}
	}
	return r.givePart(joined.RoomID(), part), nil
}

// maxHeroes is how many members name a room that has no name.
//
// spec:client-server-api#get_matrixclientv3sync
const maxHeroes = 5

// SendLeave takes a leave that was made of our template into the room.
//
// spec:server-server-api#put_matrixfederationv2send_leaveroomideventid
func (r *Rooms) SendLeave(ctx context.Context, origin id.ServerName, req federation.SendRequest) error {
	_, _, err := r.enter(ctx, origin, req, leave)
	return err
}

// SendKnock takes a knock that was made of our template into the room, and gives what the user may see of it.
//
// spec:server-server-api#put_matrixfederationv1send_knockroomideventid
func (r *Rooms) SendKnock(ctx context.Context, origin id.ServerName, req federation.SendRequest) (federation.SendKnockResponse, error) {
	if _, _, err := r.enter(ctx, origin, req, knock); err != nil {
		return federation.SendKnockResponse{}, err
	}
	var shown []json.RawMessage
	err := r.look(ctx, req.RoomID, func(m *room.Machine, src room.Source) (err error) {
		shown, err = shownState(m, src, "")
		return err
	})
	return federation.SendKnockResponse{KnockRoomState: shown}, err
}

// enter is the common part of send_join, send_leave and send_knock: the event is checked, co-signed if the room needs
// that, and committed if the room accepts it.
func (r *Rooms) enter(ctx context.Context, origin id.ServerName, req federation.SendRequest, membership string) (*event.Event, room.Result, error) {
	rules, err := r.servesWhole(ctx, origin, req.RoomID)
	if err != nil {
		return nil, room.Result{}, err
	}
	e, err := r.membershipEvent(rules, req.RoomID, req.EventID, req.Event, membership)
	if err != nil {
		return nil, room.Result{}, err
	}
	stateKey, _ := e.StateKey()
	switch {
	case e.Sender().Server() != origin:
		return nil, room.Result{}, federation.InvalidParam("the sender is not of your server")
	case stateKey != string(e.Sender()):
		return nil, room.Result{}, federation.InvalidParam("state_key is not the sender")
	}
	if err := r.signedBy(ctx, e, origin); err != nil {
		return nil, room.Result{}, invalidSignature(err)
	}
	if slices.Contains(e.RequiredSigners(), r.self) {
		if err := r.authorises(ctx, e); err != nil {
			return nil, room.Result{}, err
		}
		if e, err = e.CoSign(r.self, r.cfg.Key); err != nil {
			return nil, room.Result{}, fmt.Errorf("rooms: co-sign a join: %w", err)
		}
	}
	if err := r.cfg.Ring.VerifyEvents(ctx, []*event.Event{e})[0]; err != nil {
		return nil, room.Result{}, invalidSignature(err)
	}
	e = r.policed(ctx, req.RoomID, []*event.Event{e})[0]
	result, err := r.step(ctx, req.RoomID, room.Accept{Origin: origin, Event: e}, store.CommitOptions{})
	if err != nil {
		return nil, result, err
	}
	if v, ok := result.Verdict(e.ID()); ok && v.Status != room.Accepted {
		return nil, result, refusal(v)
	}
	return e, result, nil
}

// membershipEvent reads an event that a membership endpoint was given, and checks that it is the one the endpoint is for.
func (r *Rooms) membershipEvent(rules *roomversion.Rules, roomID id.RoomID, eventID id.EventID, raw json.RawMessage, membership string) (*event.Event, error) {
	e, err := event.Parse(rules, raw)
	if err != nil {
		return nil, invalidEvent(err)
	}
	wrong := ""
	switch {
	case e.Type() != typeMember || !e.IsState():
		wrong = "type"
	case e.Membership() != membership:
		wrong = "membership"
	case e.RoomID() != roomID:
		wrong = "room_id"
	case e.ID() != eventID:
		wrong = "event ID"
	case !e.ContentHashMatches():
		wrong = "content hash"
	}
	if wrong != "" {
		return nil, federation.InvalidParam(fmt.Sprintf("the event's %s is not what this endpoint takes", wrong))
	}
	return e, nil
}

// signedBy checks one server's signature on an event.
func (r *Rooms) signedBy(ctx context.Context, e *event.Event, server id.ServerName) error {
	return r.cfg.Ring.Verify(ctx, []keys.Request{keys.EventRequest(e, server)})[0]
}

// invalidEvent says what is wrong with an event that can't be read. The specification has no code for one that isn't even
// canonical JSON; this is Synapse's.
func invalidEvent(err error) error {
	if _, ok := errors.AsType[*canonicaljson.Error](err); ok {
		return federation.BadJSON(fmt.Sprintf("the event is not valid: %v", err))
	}
	return federation.InvalidParam(fmt.Sprintf("the event is not valid: %v", err))
}

// invalidSignature is the code that the specification recommends; Synapse has M_FORBIDDEN.
//
// spec:server-server-api#put_matrixfederationv2send_joinroomideventid
func invalidSignature(err error) error {
	return federation.InvalidParam(fmt.Sprintf("the event's signatures are not good: %v", err))
}

// wire is the form in which events go to other servers.
func wire(events []*event.Event) []json.RawMessage {
	raws := make([]json.RawMessage, len(events))
	for i, e := range events {
		raws[i] = e.JSON()
	}
	return raws
}
