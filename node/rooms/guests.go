package rooms

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
)

// Who is a guest is known to a user's own server alone, so that each keeps its guests out of rooms that don't let guests in.
//
// spec:client-server-api#guest-access

// isGuest tells whether a user is a guest of this server.
func (r *Rooms) isGuest(user id.UserID) bool { return r.store.Restrictions(user).Guest }

// letsGuestsIn is nil if guests may be in the room.
func letsGuestsIn(m *room.Machine, src room.Source) error {
	e, err := stateOf{m.Current(), src}.StateEvent(typeGuestAccess, "")
	switch {
	case err != nil:
		return err
	case e == nil || field(e.Content(), "guest_access") != "can_join":
		return noGuests("this room doesn't let guests in")
	}
	return nil
}

func noGuests(message string) error {
	return federation.NewError(http.StatusForbidden, federation.CodeGuestAccessForbidden, message)
}

// changesGuests tells whether a commit changes who may be in the room as a guest.
func changesGuests(c room.Commit) bool {
	return slices.ContainsFunc(c.Changes, func(s room.StateChange) bool { return s.Key == roomstate.Key{Type: typeGuestAccess} })
}

// guestsLeave has this server's guests leave a room that doesn't let guests in any more. When it returns they have left, also those whom
// another call of it sees to.
func (r *Rooms) guestsLeave(ctx context.Context, roomID id.RoomID) error {
	unlock, err := r.guests.lock(ctx, roomID)
	if err != nil {
		return err
	}
	defer unlock()
	err = r.look(ctx, roomID, letsGuestsIn)
	if wire := wireError(err); wire == nil || wire.Code != federation.CodeGuestAccessForbidden {
		return err
	}
	members, err := r.store.LocalJoined(ctx, roomID)
	for _, user := range members {
		if r.isGuest(user) {
			err = errors.Join(err, r.Leave(ctx, user, roomID, "the room lets no guests in any more"))
		}
	}
	return err
}

// tryGuestsLeave is guestsLeave where nobody waits for it: what fails is tried again at the next start.
func (r *Rooms) tryGuestsLeave(ctx context.Context, roomID id.RoomID) {
	if err := r.guestsLeave(ctx, roomID); err != nil && ctx.Err() == nil {
		r.log.Warn("guests are still in a room that lets no guests in; it is tried again at the next start", "room", roomID, "error", err)
	}
}

// allGuestsLeave does it, after a start, for all rooms with guests: the server may have stopped midway.
func (r *Rooms) allGuestsLeave(ctx context.Context) {
	seen := map[id.RoomID]bool{}
	for _, guest := range r.store.Guests() {
		var joined []id.RoomID
		if !r.untilRead(ctx, "can't read which rooms guests are in; those who may not be there any more stay until it can be read", func() (err error) {
			joined, err = r.store.JoinedRooms(ctx, guest)
			return err
		}) {
			return
		}
		for _, roomID := range joined {
			if !seen[roomID] {
				seen[roomID] = true
				r.tryGuestsLeave(ctx, roomID)
			}
		}
	}
}
