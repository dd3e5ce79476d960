package rooms

import (
	"context"
	"encoding/json"
	"fmt"

	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/node/store"
)

// Knock knocks on a room, through another server if nobody of ours is in it. It goes on if ctx ends.
//
// spec:client-server-api#knocking-on-rooms
func (r *Rooms) Knock(ctx context.Context, req KnockRequest) error {
	info, ok, err := r.store.Room(ctx, req.Room)
	if err != nil {
		return err
	}
	if ok && info.Resident {
		content := r.memberContent(ctx, req.User, knock, reason(req.Reason))
		_, err := r.propose(ctx, req.Room, store.CommitOptions{}, nil, memberDraft(req.User, req.User, content))
		return err
	}
	return r.detached(ctx, fmt.Sprintf("knock %s %s", req.Room, req.User), func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, r.limits.Handshake)
		defer cancel()
		return r.knockThrough(ctx, req)
	})
}

// knockThrough knocks through another server.
//
// spec:server-server-api#knocking-rooms
func (r *Rooms) knockThrough(ctx context.Context, req KnockRequest) error {
	candidates, err := r.candidates(ctx, req.User, req.Room, req.Via)
	if err != nil {
		return err
	}
	return r.tryEach(ctx, "knock", req.Room, candidates, func(ctx context.Context, server id.ServerName, turn turnTaker) error {
		answer, err := r.cfg.Client.MakeKnock(ctx, server, req.Room, req.User, versions())
		if err != nil {
			return err
		}
		rules, draft, err := readTemplate(answer, req.Room, req.User, knock)
		if err != nil {
			return err
		}
		draft.Content = r.memberContent(ctx, req.User, knock, reason(req.Reason))
		ours, err := r.sign(rules, draft)
		if err != nil {
			return err
		}
		handingIn, err := turn(ctx)
		if err != nil {
			return err
		}
		state, err := r.cfg.Client.SendKnock(handingIn, server, req.Room, ours.ID(), ours.JSON())
		if err != nil {
			return err
		}
		_, err = r.store.SaveOutOfRoom(ctx, store.OutOfRoom{
			RoomID: req.Room, Rules: rules, Event: ours, User: req.User, Stripped: r.prune(state.KnockRoomState),
		})
		return err
	})
}

// prune brings the state that came with an invite or knock into the form of stripped state: what other servers put in
// besides must not reach clients. Entries that don't fit are left out, and those for which there are no bytes left.
//
// spec:client-server-api#stripped-state
func (r *Rooms) prune(state []json.RawMessage) []json.RawMessage {
	var pruned []json.RawMessage
	size := 0
	for _, raw := range state[:min(len(state), r.limits.StrippedState)] {
		var e struct {
			Type     string          `json:"type"`
			StateKey *string         `json:"state_key"`
			Sender   string          `json:"sender"`
			Content  json.RawMessage `json:"content"`
		}
		if exactjson.Unmarshal(raw, &e) != nil || e.Type == "" || e.StateKey == nil || len(e.Content) == 0 || e.Content[0] != '{' {
			continue
		}
		if _, err := id.ParseUserID(e.Sender); err != nil {
			continue
		}
		stripped := object{"content": e.Content}
		stripped.set("type", e.Type)
		stripped.set("state_key", *e.StateKey)
		stripped.set("sender", e.Sender)
		text := stripped.raw()
		if size+len(text) > r.limits.StrippedBytes {
			continue
		}
		size += len(text)
		pruned = append(pruned, text)
	}
	return pruned
}
