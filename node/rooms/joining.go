package rooms

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"hanse/federation"
	"hanse/federation/client"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
	"hanse/keys"
)

// joinThrough joins a room through other servers: make_join, sign, send_join, verify, adopt.
//
// spec:server-server-api#joining-rooms
func (r *Rooms) joinThrough(ctx context.Context, req JoinRequest) error {
	candidates, err := r.candidates(ctx, req.User, req.Room, req.Via)
	if err != nil {
		return err
	}
	return r.tryEach(ctx, "join", req.Room, candidates, func(ctx context.Context, server id.ServerName, turn turnTaker) error {
		ctx, release := client.Hold(ctx)
		defer release()
		ours, err := r.templated(ctx, server, req)
		if err != nil {
			return err
		}
		handingIn, err := turn(ctx)
		if err != nil {
			return err
		}
		// In a room that we are in already the state must be whole.
		info, _, err := r.store.Room(ctx, req.Room)
		if err != nil {
			return err
		}
		err = r.handIn(ctx, handingIn, server, ours, !info.Resident)
		if !errors.Is(err, errBehind) {
			return err
		}
		if ours, err = r.templated(ctx, server, req); err != nil {
			return err
		}
		return r.handIn(ctx, handingIn, server, ours, false)
	})
}

// templated is our join, of the template that another server gives.
func (r *Rooms) templated(ctx context.Context, server id.ServerName, req JoinRequest) (*event.Event, error) {
	answer, err := r.cfg.Client.MakeJoin(ctx, server, req.Room, req.User, versions())
	if err != nil {
		return nil, err
	}
	rules, draft, err := readTemplate(answer, req.Room, req.User, join)
	if err != nil {
		return nil, err
	}
	extra, err := joinContent(req)
	if err != nil {
		return nil, err
	}
	if via := field(draft.Content, authorisedVia); via != "" && rules.RestrictedJoins {
		extra.set(authorisedVia, via)
	}
	draft.Content = r.memberContent(ctx, req.User, join, extra)
	return r.sign(rules, draft)
}

// handIn gives our join to a server and takes the room from its answer, with omit without its members.
func (r *Rooms) handIn(ctx, handingIn context.Context, server id.ServerName, ours *event.Event, omit bool) error {
	rules := ours.Rules()
	state, authChain := newStreamed(rules, r.limits.StateEvents), newStreamed(rules, r.limits.StateEvents)
	joined, err := r.cfg.Client.SendJoinEvents(handingIn, server, ours.RoomID(), ours.ID(), ours.JSON(), omit,
		federation.StateEvents{State: state.take, AuthChain: authChain.take})
	given := adopted{state.all(), authChain.all()}
	if err != nil {
		return err
	}
	if joined.MembersOmitted && !omit {
		return fmt.Errorf("%s left out members though it was not asked to", server)
	}
	return r.adopt(ctx, server, ours, joined, given)
}

// errBehind asks for another join, with a state that has its members: see [room.ReasonBehind].
var errBehind = errors.New("rooms: " + room.ReasonBehind)

// adopted are the events of a send_join answer; nil stands for what is no valid event.
type adopted struct{ state, authChain []*event.Event }

// adopt verifies a send_join answer and makes the room ours.
func (r *Rooms) adopt(ctx context.Context, server id.ServerName, ours *event.Event, answer federation.SendJoinResponse, given adopted) error {
	rules := ours.Rules()
	signed, err := r.withCoSignature(ctx, ours, answer.Event)
	if err != nil {
		return fmt.Errorf("our event, as %s gave it back: %w", server, err)
	}
	in := room.Adopt{Event: signed, Partial: answer.MembersOmitted}
	if in.Partial {
		in.Servers = append(answer.ServersInRoom, server)
	}
	in.State, in.AuthChain = r.verifiedLists(keys.GivenBy(ctx, server), ours.RoomID(), given.state, given.authChain)
	result, err := r.ask(ctx, ours.RoomID(), &task{input: in, from: server, fresh: func() *room.Machine { return room.New(r.self, rules) }})
	if err != nil {
		return err
	}
	for _, v := range result.Verdicts {
		if v.EventID == signed.ID() && v.Reason == room.ReasonBehind {
			return errBehind
		}
		if v.EventID == signed.ID() && v.Status != room.Accepted {
			err := fmt.Errorf("the room that %s gave can't be joined: %s", server, why(v))
			if v.Rejection != nil { // the server should have said so
				err = federation.Forbidden(err.Error())
			}
			return err
		}
		if v.Status != room.Accepted {
			r.log.Debug("an event of a joined room's state is left out", "room", ours.RoomID(), "server", server, "event", v.EventID, "status", v.Status, "why", why(v))
		}
	}
	m, _, err := r.store.Membership(ctx, ours.RoomID(), ours.Sender())
	if err != nil {
		return err
	}
	if m.Membership != join {
		return federation.Forbidden(fmt.Sprintf("%s let you in without knowing that you are out of the room, which counts for more: ask to be invited", server))
	}
	// It may be that of an earlier stay that is still to be had.
	if _, partial, err := r.store.PartialRoom(ctx, ours.RoomID()); err != nil || !partial {
		return err
	}
	r.getWhole(ours.RoomID(), server, 0)
	return nil
}

// withCoSignature is our event with the signatures that it got: the resident server's where the room needs one, a policy
// server's where the resident asked for it.
func (r *Rooms) withCoSignature(ctx context.Context, ours *event.Event, raw json.RawMessage) (*event.Event, error) {
	signed, err := r.returned(ctx, ours, raw)
	if err != nil && len(ours.RequiredSigners()) <= 1 {
		return ours, nil // what came back is of no use
	}
	return signed, err
}

// readTemplate reads the answer of make_join, make_leave or make_knock and checks that it is what was asked for.
//
// spec:server-server-api#joining-rooms
func readTemplate(answer federation.MakeResponse, roomID id.RoomID, user id.UserID, membership string) (*roomversion.Rules, event.Draft, error) {
	rules, ok := roomversion.Lookup(answer.RoomVersion)
	if !ok {
		return nil, event.Draft{}, federation.UnsupportedRoomVersion(string(answer.RoomVersion))
	}
	draft, err := event.ParseDraft(rules, answer.Event)
	if err != nil {
		return nil, event.Draft{}, fmt.Errorf("the template is no valid event: %w", err)
	}
	wrong := ""
	switch {
	case draft.Type != typeMember:
		wrong = "type"
	case draft.RoomID != roomID:
		wrong = "room_id"
	case draft.Sender != user:
		wrong = "sender"
	case draft.StateKey == nil || *draft.StateKey != string(user):
		wrong = "state_key"
	case field(draft.Content, "membership") != membership:
		wrong = "membership"
	}
	if wrong != "" {
		return nil, event.Draft{}, fmt.Errorf("the template's %s is not what was asked for", wrong)
	}
	draft.Depth = min(draft.Depth, event.MaxSharedDepth)
	draft.OriginServerTS = time.Now().UnixMilli()
	return rules, draft, nil
}

// sign makes our event of a template.
func (r *Rooms) sign(rules *roomversion.Rules, draft event.Draft) (*event.Event, error) {
	e, err := draft.Sign(rules, r.self, r.cfg.Key)
	if err != nil {
		return nil, fmt.Errorf("the template can't be signed: %w", err)
	}
	return e, nil
}

// versions are all room versions that this server can take part in.
func versions() []roomversion.Version {
	var list []roomversion.Version
	for _, rules := range roomversion.All() {
		list = append(list, rules.Version)
	}
	return list
}
