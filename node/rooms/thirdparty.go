package rooms

import (
	"context"
	"fmt"

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/node/store"
)

const (
	typeThirdPartyInvite = "m.room.third_party_invite"
	// boundNotices is how many notices of identity servers are worked on at a time. Their requests are signed by nobody,
	// and each makes us ask other servers.
	boundNotices = 4
)

// ExchangeThirdPartyInvite makes an invite of what an identity server signed for a user of the asking server: a user of
// ours had invited their address. Whether it is good is for the room's rules, which check the signature by the keys in the
// m.room.third_party_invite event.
//
// spec:server-server-api#put_matrixfederationv1exchange_third_party_inviteroomid
func (r *Rooms) ExchangeThirdPartyInvite(ctx context.Context, origin id.ServerName, invite federation.ThirdPartyInvite) error {
	if _, err := r.serves(ctx, origin, invite.RoomID); err != nil {
		return err
	}
	switch {
	case invite.Sender.Server() != r.self:
		return federation.InvalidParam("the inviting user is not of this server")
	case invite.Target.Server() != origin:
		return federation.Forbidden("the invited user is not of your server")
	}
	return r.inviteThirdParty(ctx, invite)
}

// Bound takes an identity server's notice that an address belongs to a user of ours now, and was invited to rooms. In
// rooms that we are in the invite is made here, otherwise by the inviting user's server. An invite that fails is lost, as
// the notice comes once; the others go on.
//
// spec:server-server-api#put_matrixfederationv13pidonbind
func (r *Rooms) Bound(ctx context.Context, notice federation.BoundNotice) error {
	if notice.User.Server() != r.self {
		return federation.InvalidParam(fmt.Sprintf("%s is not of this server", notice.User))
	}
	select {
	case r.bound <- struct{}{}:
		defer func() { <-r.bound }()
	default:
		return errBusy()
	}
	ctx, cancel := context.WithTimeout(ctx, r.limits.Handshake)
	defer cancel()
	for _, invite := range notice.Invites {
		info, ok, err := r.store.Room(ctx, invite.RoomID)
		if err != nil {
			return err
		}
		err = r.acceptsInvite(ctx, notice.User, invite.Sender)
		switch {
		case err != nil:
		case ok && info.Resident:
			err = r.inviteThirdParty(ctx, invite)
		case invite.Sender.Server() == r.self:
			err = errUnknownRoom(invite.RoomID)
		default:
			invite.DisplayName = string(notice.User) // the inviting server knows the one that was agreed on
			err = r.cfg.Client.ExchangeThirdPartyInvite(ctx, invite.Sender.Server(), invite)
		}
		if err != nil {
			r.log.Info("an invite by an address did not become an invite of its user", "room", invite.RoomID, "user", notice.User, "error", err)
		}
	}
	return nil
}

// inviteThirdParty makes the invite in a room that we are in.
func (r *Rooms) inviteThirdParty(ctx context.Context, invite federation.ThirdPartyInvite) error {
	name, err := r.thirdPartyName(ctx, invite)
	if err != nil {
		return err
	}
	content := object{}
	content.set("membership", "invite")
	content.set("third_party_invite", map[string]any{"display_name": name, "signed": invite.Signed})
	draft := memberDraft(invite.Sender, invite.Target, content.raw())
	if invite.Target.Server() == r.self {
		_, err := r.propose(ctx, invite.RoomID, store.CommitOptions{}, nil, draft)
		return err
	}
	for range inviteAttempts {
		var again bool
		if _, again, err = r.inviteOnce(ctx, invite.RoomID, draft, invite.Target.Server()); !again {
			break
		}
	}
	return err
}

// thirdPartyName is the name that the room shows for the invited address: that of the m.room.third_party_invite event, which
// must be there.
func (r *Rooms) thirdPartyName(ctx context.Context, invite federation.ThirdPartyInvite) (string, error) {
	var signed struct {
		Token string `json:"token"`
	}
	if exactjson.Unmarshal(invite.Signed, &signed) != nil || signed.Token == "" {
		return "", federation.InvalidParam("signed has no token")
	}
	var asked *event.Event
	err := r.look(ctx, invite.RoomID, func(m *room.Machine, src room.Source) (err error) {
		asked, err = stateOf{m.Current(), src}.StateEvent(typeThirdPartyInvite, signed.Token)
		return err
	})
	if err != nil {
		return "", err
	}
	if asked == nil {
		return "", federation.Forbidden("no address was invited to this room by that token, or the invite was taken back")
	}
	return field(asked.Content(), "display_name"), nil
}
