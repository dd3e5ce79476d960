package rooms

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/node/store"
)

// Join joins a user of ours to a room, through another server if nobody of ours is in it. It returns when the join is
// on disk. If ctx ends first the join goes on, and only the answer is lost; several joins of the same room through
// another server cost one. Who is joined already stays so.
//
// spec:client-server-api#joining-rooms
func (r *Rooms) Join(ctx context.Context, req JoinRequest) error {
	_, err := r.joinWith(ctx, req)
	return err
}

// joinWith is Join; the event's ID is known only if the join was made here.
func (r *Rooms) joinWith(ctx context.Context, req JoinRequest) (id.EventID, error) {
	eventID, err := r.joinHere(ctx, req)
	switch {
	case !goesElsewhere(err):
		return eventID, err
	case r.isGuest(req.User): // whether the room lets guests in isn't known
		return "", noGuests("guests can join rooms only that users of this server are in and can let them into")
	}
	return "", r.detached(ctx, fmt.Sprintf("join %s %s", req.Room, req.User), func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, r.limits.Handshake)
		defer cancel()
		unlock, err := r.entry.lock(ctx, req.Room)
		if err != nil {
			return err
		}
		if info, _, err := r.store.Room(ctx, req.Room); err != nil || info.Resident {
			// Somebody else of ours has come in meanwhile, so nobody need wait for this user any more.
			unlock()
			if _, err := r.joinHere(ctx, req); !goesElsewhere(err) {
				return err
			}
			if unlock, err = r.entry.lock(ctx, req.Room); err != nil {
				return err
			}
		}
		defer unlock()
		return r.joinThrough(ctx, req)
	})
}

// errNotHere: we can't let the user in, but others may.
var errNotHere = errors.New("rooms: no user of this server is in the room")

// goesElsewhere tells whether another server may do what we can't.
func goesElsewhere(err error) bool {
	var wire *federation.Error
	return errors.Is(err, errNotHere) || errors.As(err, &wire) &&
		(wire.Code == federation.CodeUnableToAuthoriseJoin || wire.Code == federation.CodeUnableToGrantJoin)
}

// joinHere joins a room that we are in.
func (r *Rooms) joinHere(ctx context.Context, req JoinRequest) (id.EventID, error) {
	info, ok, err := r.store.Room(ctx, req.Room)
	if err != nil {
		return "", err
	}
	if !ok || !info.Resident && !abandoned(info, req, r.self) {
		return "", errNotHere
	}
	extra, err := joinContent(req)
	if err != nil {
		return "", err
	}
	if info.Partial {
		if err := r.mayEnter(ctx, req); err != nil {
			return "", err
		}
	}
	// How the user may come in is part of the event, so it must be known before the event's turn.
	var way entrance
	var already id.EventID
	err = r.look(ctx, req.Room, func(m *room.Machine, src room.Source) error {
		if member, err := (stateOf{m.Current(), src}).StateEvent(typeMember, string(req.User)); err != nil {
			return err
		} else if member != nil && member.Membership() == join && len(extra) == 0 {
			already = member.ID()
			return nil
		}
		way, err = r.entrance(ctx, m, src, req.User)
		return err
	})
	if err != nil || already != "" {
		return already, err
	}
	if way.restricted {
		extra.set(authorisedVia, way.via)
	}
	var mayEnter func(*room.Machine, room.Source) error
	if r.isGuest(req.User) {
		mayEnter = letsGuestsIn
	}
	result, err := r.propose(ctx, req.Room, store.CommitOptions{}, mayEnter, memberDraft(req.User, req.User, r.memberContent(ctx, req.User, join, extra)))
	if err != nil {
		return "", err
	}
	return lastAccepted(result), nil
}

// abandoned tells whether a room that we know has nobody in it any more, and none is said to be: then what we know of it
// is all there is, and who may join by that can come in again.
func abandoned(info store.RoomInfo, req JoinRequest, self id.ServerName) bool {
	others := slices.ContainsFunc(req.Via, func(server id.ServerName) bool { return server != self })
	return info.Created && info.Joined == 0 && !others && !info.Partial
}

// joinContent is what the client wants in the content of its membership event, without what is not its to say.
func joinContent(req JoinRequest) (object, error) {
	extra, err := parseObject(req.Content)
	if err != nil {
		return nil, federation.BadJSON("the content of the join is not an object")
	}
	delete(extra, "membership")
	delete(extra, authorisedVia)
	return extra, nil
}
