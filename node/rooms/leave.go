package rooms

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup" // a few rooms at a time

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/node/store"
)

// rejectionTime bounds how long a user who rejects an invite or takes back a knock waits for other servers. After that the
// room is gone for the user, whatever its servers think: they will learn when they next ask.
const rejectionTime = 20 * time.Second

// leaveParallel is how many rooms one user leaves at once.
const leaveParallel = 8

// LeaveAll leaves a user's rooms, rejects their invites and takes back their knocks, a few at a time. Those that can't be left don't keep
// it from the others; the error is that of one of them.
func (r *Rooms) LeaveAll(ctx context.Context, user id.UserID) error {
	all, err := r.store.Memberships(ctx, user)
	if err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(leaveParallel)
	for _, m := range all {
		if m.Membership != join && m.Membership != invite && m.Membership != knock {
			continue
		}
		group.Go(func() error {
			if err := r.Leave(ctx, user, m.RoomID, ""); err != nil {
				r.log.Debug("a user could not leave a room", "user", user, "room", m.RoomID, "error", err)
				return fmt.Errorf("leaving the room %s: %w", m.RoomID, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// leaveForDeactivated leaves, after a start, the rooms that users who were deactivated are still in: the server stopped midway, they were
// being joined at that time, or couldn't be left.
func (r *Rooms) leaveForDeactivated(ctx context.Context) {
	var users []id.UserID
	if !r.untilRead(ctx, "can't read which users were deactivated and are still in rooms; they stay until it can be read", func() (err error) {
		users, err = r.store.DeactivatedInRooms(ctx)
		return err
	}) {
		return
	}
	for _, user := range users {
		if err := r.LeaveAll(ctx, user); err != nil && ctx.Err() == nil {
			r.log.Warn("a deactivated user is still in some rooms; it is tried again at the next start", "user", user, "error", err)
		}
	}
}

// Leave leaves a room, rejects an invite or takes back a knock. Who has left already stays so.
//
// spec:client-server-api#leaving-rooms
func (r *Rooms) Leave(ctx context.Context, user id.UserID, roomID id.RoomID, why string) error {
	m, ok, err := r.store.Membership(ctx, roomID, user)
	if err != nil {
		return err
	}
	if ok && m.OutOfRoom {
		switch m.Membership {
		case invite, knock:
			return r.reject(ctx, user, roomID, why)
		case leave:
			return nil
		}
	}
	draft := memberDraft(user, user, r.memberContent(ctx, user, leave, reason(why)))
	_, err = r.propose(ctx, roomID, store.CommitOptions{}, func(m *room.Machine, src room.Source) error {
		switch now, err := membershipIn(m, src, user); {
		case err != nil:
			return err
		case now == leave:
			return errLeftAlready
		case now == "":
			return federation.Forbidden("you are not in this room")
		}
		return nil
	}, draft)
	if err == errLeftAlready {
		return nil
	}
	return err
}

// errLeftAlready ends a leave that has nothing to do.
var errLeftAlready = fmt.Errorf("rooms: left already")

// reject rejects an invite to a room that we aren't in, or takes back a knock on it, through another server; if none
// answers in time, here alone. It goes on if ctx ends.
//
// spec:server-server-api#leaving-rooms-rejecting-invites
func (r *Rooms) reject(ctx context.Context, user id.UserID, roomID id.RoomID, why string) error {
	return r.detached(ctx, fmt.Sprintf("leave %s %s", roomID, user), func(ctx context.Context) error {
		asking, cancel := context.WithTimeout(ctx, rejectionTime)
		defer cancel()
		err := r.leaveThrough(asking, user, roomID, why)
		if err == nil {
			return nil
		}
		r.log.Info("an invite is rejected here only: no server of the room took the rejection", "room", roomID, "error", err)
		return r.leaveAlone(ctx, user, roomID, why)
	})
}

// leaveAlone ends an invite or knock here, with an event of our own that follows it: clients are shown what became of the
// room, although no other server ever gets the event.
func (r *Rooms) leaveAlone(ctx context.Context, user id.UserID, roomID id.RoomID, why string) error {
	m, ok, err := r.store.Membership(ctx, roomID, user)
	if err != nil {
		return err
	}
	if ok && m.OutOfRoom && (m.Membership == invite || m.Membership == knock) {
		row, known, err := r.store.Event(ctx, m.EventID)
		if err != nil {
			return err
		}
		if known {
			was := row.Event
			draft := memberDraft(user, user, r.memberContent(ctx, user, leave, reason(why)))
			draft.RoomID, draft.OriginServerTS, draft.Depth = roomID, time.Now().UnixMilli(), min(was.Depth(), event.MaxSharedDepth-1)+1
			draft.PrevEvents, draft.AuthEvents = []id.EventID{was.ID()}, append(slices.Clip(was.AuthEvents()), was.ID())
			if ours, err := r.sign(was.Rules(), draft); err == nil { // else it has more auth events than an event may have
				_, err = r.store.SaveOutOfRoom(ctx, store.OutOfRoom{RoomID: roomID, Rules: was.Rules(), Event: ours, User: user})
				return err
			}
		}
	}
	_, err = r.store.RemoveOutOfRoom(ctx, roomID, user)
	return err
}

func (r *Rooms) leaveThrough(ctx context.Context, user id.UserID, roomID id.RoomID, why string) error {
	candidates, err := r.candidates(ctx, user, roomID, nil)
	if err != nil {
		return err
	}
	return r.tryEach(ctx, "leave", roomID, candidates, func(ctx context.Context, server id.ServerName, turn turnTaker) error {
		answer, err := r.cfg.Client.MakeLeave(ctx, server, roomID, user)
		if err != nil {
			return err
		}
		rules, draft, err := readTemplate(answer, roomID, user, leave)
		if err != nil {
			return err
		}
		draft.Content = r.memberContent(ctx, user, leave, reason(why))
		ours, err := r.sign(rules, draft)
		if err != nil {
			return err
		}
		handingIn, err := turn(ctx)
		if err != nil {
			return err
		}
		if err := r.cfg.Client.SendLeave(handingIn, server, roomID, ours.ID(), ours.JSON()); err != nil {
			return err
		}
		_, err = r.store.SaveOutOfRoom(ctx, store.OutOfRoom{RoomID: roomID, Rules: rules, Event: ours, User: user})
		return err
	})
}

// Forget hides a room the user has left (or was banned from) from their lists and history.
//
// spec:client-server-api#post_matrixclientv3roomsroomidforget
func (r *Rooms) Forget(ctx context.Context, user id.UserID, roomID id.RoomID) error {
	m, ok, err := r.store.Membership(ctx, roomID, user)
	switch {
	case err != nil:
		return err
	case !ok:
		return federation.NewError(400, federation.CodeUnknown, "you were never in this room")
	case m.Membership != leave && m.Membership != ban:
		return federation.NewError(400, federation.CodeUnknown, "you must leave the room before you forget it")
	}
	_, err = r.store.Forget(ctx, user, roomID)
	return err
}

// Rescind takes in what ended an invite or knock of a user of ours from outside of the room: a leave or ban of the
// user that a server sent us although we aren't in the room. Its signatures have been checked. An invite ends if who
// had invited says so: nobody else's right to it can be checked without the room's state. Deployed servers do it alike.
// What ended an earlier one may come late: it is not authorised with the one of now.
func (r *Rooms) Rescind(ctx context.Context, origin id.ServerName, e *event.Event) error {
	stateKey, _ := e.StateKey()
	user, err := id.ParseUserID(stateKey)
	if err != nil || user.Server() != r.self || e.Type() != typeMember || e.Membership() != leave && e.Membership() != ban {
		return errUnknownRoom(e.RoomID())
	}
	m, ok, err := r.store.Membership(ctx, e.RoomID(), user)
	if err != nil {
		return err
	}
	open := ok && m.OutOfRoom && (m.Membership == invite || m.Membership == knock) && slices.Contains(e.AuthEvents(), m.EventID)
	if !open || m.Membership == invite && (e.Sender() != m.Sender || m.Sender.Server() != origin) {
		return errUnknownRoom(e.RoomID())
	}
	_, err = r.store.SaveOutOfRoom(ctx, store.OutOfRoom{RoomID: e.RoomID(), Rules: e.Rules(), Event: e, User: user, Ends: m.EventID})
	return err
}
