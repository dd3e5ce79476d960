package peer

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/testnet/wholestate"
)

// Transaction sends events as they are, in a transaction of their own.
func (p *Peer) Transaction(ctx context.Context, to id.ServerName, pdus ...json.RawMessage) (federation.PDUResults, error) {
	results, err := p.Client.SendTransaction(ctx, to, p.NextTxn(), federation.Transaction{
		Origin: p.Name, OriginServerTS: time.Now().UnixMilli(), PDUs: pdus,
	})
	p.note("sent   a transaction to %s: %s\n  got  %v %v", to, Brief(fmt.Appendf(nil, "%s", pdus)), results, err)
	return results, err
}

// SendEDU sends an EDU in a transaction of its own.
func (p *Peer) SendEDU(ctx context.Context, to id.ServerName, eduType string, content any) error {
	_, err := p.Client.SendTransaction(ctx, to, p.NextTxn(), federation.Transaction{
		Origin: p.Name, OriginServerTS: time.Now().UnixMilli(), EDUs: []federation.EDU{{Type: eduType, Content: encode(content)}},
	})
	return err
}

// NextTxn is a transaction ID that was not used yet.
func (p *Peer) NextTxn() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.txns++
	return "peer-" + strconv.FormatInt(time.Now().UnixMilli(), 10) + "-" + strconv.Itoa(p.txns)
}

// Say puts a message into the room and sends it to every other server there.
func (r *Room) Say(ctx context.Context, sender id.UserID, text string) (*event.Event, error) {
	return r.Send(ctx, MessageDraft(sender, text))
}

// Send puts an event into the room and sends it to every other server that is there before or after it.
func (r *Room) Send(ctx context.Context, d event.Draft) (*event.Event, error) {
	before := r.Servers()
	e, err := r.Put(d)
	if err != nil {
		return nil, err
	}
	told := map[id.ServerName]bool{}
	for _, server := range append(before, r.Servers()...) {
		if told[server] {
			continue
		}
		told[server] = true
		results, err := r.peer.Transaction(ctx, server, e.JSON())
		if err != nil {
			return e, err
		}
		if result := results[e.ID()]; result.Error != "" {
			return e, fmt.Errorf("%s did not take %s: %s", server, e.ID(), result.Error)
		}
	}
	return e, nil
}

// Joined is how a peer came into a room.
type Joined struct {
	Room     *Room
	Template federation.MakeJoinResponse
	Join     *event.Event
	Answer   federation.SendJoinResponse
}

// Join joins a room by way of a server that is in it, believing all it says.
//
// spec:server-server-api#joining-rooms
func (p *Peer) Join(ctx context.Context, via id.ServerName, roomID id.RoomID, user id.UserID) (Joined, error) {
	return p.join(ctx, via, roomID, user, false)
}

// JoinWithoutMembers is Join with omit_members: the room then has the members that the answer has.
func (p *Peer) JoinWithoutMembers(ctx context.Context, via id.ServerName, roomID id.RoomID, user id.UserID) (Joined, error) {
	return p.join(ctx, via, roomID, user, true)
}

func (p *Peer) join(ctx context.Context, via id.ServerName, roomID id.RoomID, user id.UserID, omit bool) (Joined, error) {
	var joined Joined
	var err error
	if joined.Template, err = p.Client.MakeJoin(ctx, via, roomID, user, Versions()); err != nil {
		return joined, err
	}
	rules, ok := roomversion.Lookup(joined.Template.RoomVersion)
	if !ok {
		return joined, fmt.Errorf("%s says that the room has version %q", via, joined.Template.RoomVersion)
	}
	draft, err := event.ParseDraft(rules, joined.Template.Event)
	if err != nil {
		return joined, fmt.Errorf("the template of make_join: %w", err)
	}
	draft.OriginServerTS = time.Now().UnixMilli()
	if joined.Join, err = draft.Sign(rules, p.Name, p.Key()); err != nil {
		return joined, err
	}
	joined.Answer, err = p.Client.SendJoin(ctx, via, roomID, joined.Join.ID(), joined.Join.JSON(), omit)
	p.note("sent   send_join to %s: %s\n  got  %d state events, %v", via, joined.Join.JSON(), len(joined.Answer.State), err)
	if err != nil {
		return joined, err
	}
	if len(joined.Answer.Event) > 0 {
		if signed, err := event.Parse(rules, joined.Answer.Event); err == nil && signed.ID() == joined.Join.ID() {
			joined.Join = signed
		}
	}
	joined.Room, err = p.adopt(rules, roomID, joined.Join, joined.Answer)
	return joined, err
}

// adopt makes a room of the answer to send_join.
func (p *Peer) adopt(rules *roomversion.Rules, roomID id.RoomID, join *event.Event, answer federation.SendJoinResponse) (*Room, error) {
	r := p.Room(roomID)
	if r == nil {
		r = p.newRoom(roomID, rules)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var before = r.before[join.ID()]
	for _, raw := range answer.AuthChain {
		e, err := event.Parse(rules, raw)
		if err != nil {
			return nil, fmt.Errorf("an event of the auth chain: %w", err)
		}
		r.addOutlier(e)
	}
	for _, raw := range answer.State {
		e, err := event.Parse(rules, raw)
		if err != nil {
			return nil, fmt.Errorf("an event of the state: %w", err)
		}
		stateKey, ok := e.StateKey()
		if !ok {
			return nil, fmt.Errorf("%s is in the state, but is no state event", e.ID())
		}
		r.addOutlier(e)
		before = wholestate.With(before, e.Type(), stateKey, e.ID())
	}
	r.place(join, before)
	p.addRoom(r)
	return r, nil
}

// Invite invites a user of another server: the event goes to that server first, then into the room.
//
// spec:server-server-api#inviting-to-a-room
func (r *Room) Invite(ctx context.Context, sender, user id.UserID) (*event.Event, error) {
	e, err := r.Build(StateDraft(sender, "m.room.member", string(user), map[string]any{"membership": "invite"}))
	if err != nil {
		return nil, err
	}
	raw, err := r.peer.Client.Invite(ctx, user.Server(), federation.InviteRequest{
		RoomID: r.ID, EventID: e.ID(), RoomVersion: r.Rules.Version, Event: e.JSON(), InviteRoomState: r.InviteState(),
	})
	r.peer.note("sent   an invite to %s: %s\n  got  %s %v", user.Server(), e.JSON(), Brief(raw), err)
	if err != nil {
		return e, err
	}
	signed, err := event.Parse(r.Rules, raw)
	if err != nil {
		return e, fmt.Errorf("the answer to the invite: %w", err)
	}
	if signed.ID() != e.ID() {
		return e, fmt.Errorf("the answer to the invite is the event %s, not %s", signed.ID(), e.ID())
	}
	return signed, r.Add(signed)
}

// InviteState is what invited users may see of the room, in the form of the room's version.
//
// spec:server-server-api#put_matrixfederationv2inviteroomideventid
func (r *Room) InviteState() []json.RawMessage {
	var state []json.RawMessage
	for _, eventType := range []string{"m.room.create", "m.room.join_rules", "m.room.name", "m.room.canonical_alias", "m.room.encryption"} {
		if e := r.State(eventType, ""); e != nil {
			state = append(state, e.JSON())
		}
	}
	return state
}

// Leave leaves a room by way of a server that is in it, or rejects an invite.
//
// spec:server-server-api#leaving-rooms-rejecting-invites
func (p *Peer) Leave(ctx context.Context, via id.ServerName, rules *roomversion.Rules, roomID id.RoomID, user id.UserID) (*event.Event, error) {
	template, err := p.Client.MakeLeave(ctx, via, roomID, user)
	if err != nil {
		return nil, err
	}
	draft, err := event.ParseDraft(rules, template.Event)
	if err != nil {
		return nil, fmt.Errorf("the template of make_leave: %w", err)
	}
	if draft.StateKey == nil || *draft.StateKey != string(user) {
		return nil, errors.New("the template of make_leave is about somebody else")
	}
	draft.OriginServerTS = time.Now().UnixMilli()
	leave, err := draft.Sign(rules, p.Name, p.Key())
	if err != nil {
		return nil, err
	}
	return leave, p.Client.SendLeave(ctx, via, roomID, leave.ID(), leave.JSON())
}

// encode is for values that always encode: maps of texts and numbers.
func encode(value any) json.RawMessage {
	raw, err := json.Marshal(value)
	if err != nil {
		panic(err) // a script with a value that is no JSON
	}
	return raw
}

func randomText() string { return strings.ToLower(rand.Text()) }
