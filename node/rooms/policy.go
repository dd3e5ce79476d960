package rooms

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup" // a few events at a time

	"hanse/federation"
	"hanse/federation/client"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/federation/server"
	"hanse/federation/signedjson"
	"hanse/node/store"
)

const (
	// policyTime bounds one question to a policy server. A user waits for it, or a transaction: longer than it takes a
	// busy server, shorter than what either puts up with.
	policyTime = 10 * time.Second
	// policyBatchTime bounds the questions about the events of one answer or transaction. What is unsigned then is
	// soft-failed, as if the server had refused.
	policyBatchTime = 20 * time.Second
	// policyAtOnce is how many events one policy server is asked about at a time for one room.
	policyAtOnce = 8
)

const typePolicy = "m.room.policy"

// errPoliced: the room has a policy server, which is to sign the event first.
var errPoliced = errors.New("rooms: the room has a policy server")

// unpoliced is a check in the room's turn: drafts need no policy server's signature.
func unpoliced(m *room.Machine, src room.Source, drafts []event.Draft) error {
	if named, err := m.Current().Event(typePolicy, ""); err != nil || named == "" {
		return err
	}
	policy, enabled, err := m.Policy(src)
	if err != nil || !enabled {
		return err
	}
	for _, d := range drafts {
		if policy.Applies(d.Type, d.StateKey) {
			return errPoliced
		}
	}
	return nil
}

// proposePoliced is propose in a room with a policy server: each event is made, signed by it, and taken in like one of
// another server's, as the room goes on meanwhile. Several drafts are several events: those before a refused one stay.
// A refusal is passed on to the client as it is.
//
// spec:server-server-api#validating-policy-server-signatures
func (r *Rooms) proposePoliced(ctx context.Context, roomID id.RoomID, opts store.CommitOptions, drafts []event.Draft) (room.Result, error) {
	var all room.Result
	for i, draft := range drafts {
		made, _, err := r.template(ctx, roomID, draft)
		if err != nil {
			return all, err
		}
		e, err := r.recommended(ctx, roomID, made.Event)
		if err != nil {
			return all, err
		}
		var txn store.CommitOptions
		if i == len(drafts)-1 {
			txn = opts
		}
		result, err := r.step(ctx, roomID, room.Accept{Origin: r.self, Event: e}, txn)
		if err != nil {
			return all, err
		}
		if v, ok := result.Verdict(e.ID()); ok && v.Status != room.Accepted {
			return all, refusal(v)
		}
		all.Verdicts = append(all.Verdicts, result.Verdicts...)
		all.Commit.Events = append(all.Commit.Events, result.Commit.Events...)
	}
	return all, nil
}

// recommended is an event of ours with the signature of the room's policy server, if there is one. The error is for the
// client.
func (r *Rooms) recommended(ctx context.Context, roomID id.RoomID, e *event.Event) (*event.Event, error) {
	policy, enabled, err := r.policyOf(ctx, roomID)
	if err != nil || !enabled || policy.Recommends(e) {
		return e, err
	}
	signed, err := r.askPolicy(ctx, policy, e)
	if err == nil {
		return signed, nil
	}
	if remote, ok := errors.AsType[*client.Error](err); ok && remote.Matrix != nil && remote.Status >= 400 && remote.Status < 500 {
		return nil, remote.Matrix
	}
	r.log.Info("a policy server did not sign", "room", roomID, "server", policy.Server, "error", err)
	return nil, federation.NewError(502, federation.CodeUnknown,
		fmt.Sprintf("the policy server of this room, %s, can't be asked now; nothing is sent without it", policy.Server))
}

// policed asks the room's policy server, if there is one, for the signatures that events of other servers lack. Where it
// gives none the event stays as it is: its room soft-fails it.
//
// spec:server-server-api#validating-policy-server-signatures
func (r *Rooms) policed(ctx context.Context, roomID id.RoomID, events []*event.Event) []*event.Event {
	if len(events) == 0 {
		return events
	}
	policy, enabled, err := r.policyOf(ctx, roomID)
	if err != nil || !enabled {
		return events // the room's step will find what the error was
	}
	defer server.Pause(ctx)()
	ctx, cancel := context.WithTimeout(ctx, policyBatchTime)
	defer cancel()
	signed := make([]*event.Event, len(events))
	var group errgroup.Group
	group.SetLimit(policyAtOnce)
	for i, e := range events {
		signed[i] = e
		if policy.Recommends(e) {
			continue
		}
		group.Go(func() error {
			if s, err := r.askPolicy(ctx, policy, e); err == nil {
				signed[i] = s
			} else {
				r.log.Debug("a policy server does not recommend an event", "room", roomID, "server", policy.Server, "event", e.ID(), "error", err)
			}
			return nil
		})
	}
	_ = group.Wait() // no question fails the others
	return signed
}

// askPolicy gets a policy server's signature on an event. That of other keys in its answer is of no use here; signatures
// that the event has stay.
//
// spec:server-server-api#asking-for-a-policy-server-signature-on-an-event
func (r *Rooms) askPolicy(ctx context.Context, policy room.Policy, e *event.Event) (*event.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, policyTime)
	defer cancel()
	answer, err := r.cfg.Client.PolicySign(ctx, policy.Server, e.JSON())
	if err != nil {
		return nil, err
	}
	signature, err := signedjson.DecodeBase64(answer[string(policy.Server)][string(room.PolicyKeyID)])
	if err != nil {
		return nil, fmt.Errorf("the policy server's signature is no base64: %w", err)
	}
	signed, err := e.WithSignature(policy.Server, room.PolicyKeyID, signature)
	if err != nil {
		return nil, err
	}
	if !policy.Recommends(signed) {
		return nil, errors.New("the policy server's signature is not good by the key that the room names")
	}
	return signed, nil
}

// policyOf is the policy server of a room, by what is on disk. It costs next to nothing where there is none.
func (r *Rooms) policyOf(ctx context.Context, roomID id.RoomID) (room.Policy, bool, error) {
	state, err := r.store.CurrentState(ctx, roomID)
	if err != nil {
		return room.Policy{}, false, err
	}
	if named, err := state.Event(typePolicy, ""); err != nil || named == "" {
		return room.Policy{}, false, err
	}
	events, err := r.store.StateEvents(ctx, state, roomstate.Key{Type: typePolicy})
	if err != nil || len(events) == 0 {
		return room.Policy{}, false, err
	}
	policy, ok := room.ParsePolicy(events[0].Content())
	if !ok {
		return policy, false, nil
	}
	servers, err := r.store.ServersIn(ctx, roomID)
	_, in := servers[policy.Server]
	return policy, in, err
}
