package rooms

import (
	"context"
	"encoding/json"
	"fmt"

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/node/store"
)

// memberContent is the content of a membership event: the extra members given, the profile of a user of ours unless
// given, and the membership.
//
// spec:client-server-api#mroommember
func (r *Rooms) memberContent(ctx context.Context, user id.UserID, membership string, extra object) json.RawMessage {
	content := object{}
	if (membership == join || membership == invite || membership == knock) && user.Server() == r.self && r.cfg.Profiles != nil {
		name, avatar, err := r.cfg.Profiles.Profile(ctx, user)
		if err != nil {
			r.log.Debug("a membership event goes without profile", "user", user, "error", err)
		}
		if name != "" {
			content.set("displayname", name)
		}
		if avatar != "" {
			content.set("avatar_url", avatar)
		}
	}
	for key, value := range extra {
		content[key] = value
	}
	content.set("membership", membership)
	return content.raw()
}

// reason is the extra content of a membership event that was given a reason.
func reason(text string) object {
	extra := object{}
	if text != "" {
		extra.set("reason", text)
	}
	return extra
}

func memberDraft(sender, target id.UserID, content json.RawMessage) event.Draft {
	return event.Draft{Type: typeMember, StateKey: ptr(string(target)), Sender: sender, Content: content}
}

// acceptsInvite asks whether a user of ours exists and takes an invite.
func (r *Rooms) acceptsInvite(ctx context.Context, user, from id.UserID) error {
	if r.cfg.Invitees == nil {
		return nil
	}
	return r.cfg.Invitees.AcceptsInvite(ctx, user, from)
}

// Kick makes Target leave: it also takes back an invite or refuses a knock.
//
// spec:client-server-api#post_matrixclientv3roomsroomidkick
func (r *Rooms) Kick(ctx context.Context, req MembershipRequest) error {
	return r.changeMembership(ctx, req, leave, func(now string) error {
		switch now {
		case join, invite, knock:
			return nil
		}
		return federation.Forbidden(fmt.Sprintf("%s is not in the room", req.Target))
	})
}

// Ban bans Target. Who is banned already stays so.
//
// spec:client-server-api#post_matrixclientv3roomsroomidban
func (r *Rooms) Ban(ctx context.Context, req MembershipRequest) error {
	return r.changeMembership(ctx, req, ban, func(string) error { return nil })
}

// Unban takes a ban back; Target must be banned.
//
// spec:client-server-api#post_matrixclientv3roomsroomidunban
func (r *Rooms) Unban(ctx context.Context, req MembershipRequest) error {
	return r.changeMembership(ctx, req, leave, func(now string) error {
		if now != ban {
			return federation.Forbidden(fmt.Sprintf("%s is not banned", req.Target))
		}
		return nil
	})
}

// changeMembership sets somebody else's membership, if what it is now passes a check, made in the same turn.
func (r *Rooms) changeMembership(ctx context.Context, req MembershipRequest, membership string, allowed func(now string) error) error {
	if err := r.withMember(ctx, req.Room, req.Target); err != nil {
		return err
	}
	draft := memberDraft(req.Sender, req.Target, r.memberContent(ctx, req.Target, membership, reason(req.Reason)))
	_, err := r.propose(ctx, req.Room, store.CommitOptions{}, func(m *room.Machine, src room.Source) error {
		now, err := membershipIn(m, src, req.Target)
		if err != nil {
			return err
		}
		return allowed(now)
	}, draft)
	return err
}

// membershipIn is a user's membership in the machine's current state; "" if there has never been one.
func membershipIn(m *room.Machine, src room.Source, user id.UserID) (string, error) {
	e, err := stateOf{m.Current(), src}.StateEvent(typeMember, string(user))
	if e == nil || err != nil {
		return "", err
	}
	return e.Membership(), nil
}

// sendMembership is a membership event as a state event of the client's own making.
func (r *Rooms) sendMembership(ctx context.Context, req SendRequest) (id.EventID, error) {
	target, err := id.ParseUserID(*req.StateKey)
	if err != nil {
		return "", federation.InvalidParam(fmt.Sprintf("the state key of m.room.member: %v", err))
	}
	content, err := parseObject(req.Content)
	if err != nil {
		return "", federation.BadJSON("the content of m.room.member is not an object")
	}
	switch membership := field(req.Content, "membership"); {
	case membership == "":
		return "", federation.BadJSON("the content of m.room.member has no membership")
	case membership == invite && target.Server() != r.self:
		return r.inviteWith(ctx, req.Room, req.Sender, target, content)
	case membership == invite:
		if err := r.acceptsInvite(ctx, target, req.Sender); err != nil {
			return "", err
		}
	case membership == join && target == req.Sender:
		return r.joinWith(ctx, JoinRequest{User: target, Room: req.Room, Content: req.Content})
	}
	draft := memberDraft(req.Sender, target, req.Content)
	draft.OriginServerTS = req.TS
	result, err := r.propose(ctx, req.Room, req.options(), nil, draft)
	if err != nil {
		return "", err
	}
	return lastAccepted(result), nil
}
