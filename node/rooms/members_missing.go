package rooms

import (
	"context"
	"net/http"
	"time"

	"hanse/federation"
	"hanse/federation/id"
)

// What can't be answered, or done, without the members of a room waits for them while they are on their way, but not for ever.

// membersTime is how long a client waits for the members of a room: most proxies and clients give up after a minute.
const membersTime = 50 * time.Second

// withMembers waits for the members of a room that was joined without them. A list that lacks most of them would be worse than none:
// clients keep it, and send their keys to nobody else.
func (r *Rooms) withMembers(ctx context.Context, roomID id.RoomID) error {
	info, _, err := r.store.Room(ctx, roomID)
	if err != nil || !info.Partial || !info.Resident {
		return err
	}
	if whole, err := r.awaitWhole(ctx, roomID, membersTime, false); whole || err != nil {
		return err
	}
	return federation.NewError(http.StatusGatewayTimeout, federation.CodeUnknown, "the members of this room are still being fetched from other servers: try again later")
}

// withMember is withMembers for what is done to one user, unless we know the user's membership.
func (r *Rooms) withMember(ctx context.Context, roomID id.RoomID, user id.UserID) error {
	if known, err := r.knowsMember(ctx, roomID, user); known || err != nil {
		return err
	}
	return r.withMembers(ctx, roomID)
}

// knowsMember tells whether we know a user's membership of a room, whatever it is.
func (r *Rooms) knowsMember(ctx context.Context, roomID id.RoomID, user id.UserID) (bool, error) {
	state, err := r.store.CurrentState(ctx, roomID)
	if err != nil {
		return false, err
	}
	member, err := state.Event(typeMember, string(user))
	return member != "", err
}

const (
	// enterTime is how long, from the first join on, a user who joins a room whose members we don't know waits for these: those of small
	// rooms come at once.
	enterTime = 2 * time.Second
	// enterServers is how many servers are asked then whether the user may join, and enterAnswers how long they have for it together.
	enterServers = 3
	enterAnswers = 20 * time.Second
)

// mayEnter asks a server that has the members of a room whether a user of ours may join it, where we don't know: who is banned would
// see the room until its state is whole. The template that it answers with isn't used: we are in the room. If nobody answers, what we
// know counts.
func (r *Rooms) mayEnter(ctx context.Context, req JoinRequest) error {
	if known, err := r.knowsMember(ctx, req.Room, req.User); known || err != nil {
		return err
	}
	if whole, err := r.awaitWhole(ctx, req.Room, enterTime, true); whole || err != nil {
		return err
	}
	servers, err := r.holders(ctx, req.Room, "")
	if err != nil {
		return err
	}
	servers = servers[:min(len(servers), enterServers)]
	answers, cancel := context.WithTimeout(ctx, enterAnswers)
	defer cancel()
	var refused error
	for i, server := range servers {
		asking, end := share(answers, i < len(servers)-1)
		_, err := r.cfg.Client.MakeJoin(asking, server, req.Room, req.User, versions())
		end()
		if err == nil {
			return nil
		}
		if telling(wireError(err)) > telling(wireError(refused)) {
			refused = wireError(err)
		}
	}
	if wire := wireError(refused); wire != nil && wire.Code == federation.CodeForbidden {
		return refused
	}
	return ctx.Err()
}
