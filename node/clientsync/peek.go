package clientsync

import (
	"context"
	"errors"
	"time"

	"hanse/federation/canonicaljson"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/node/stream"
)

// PeekRequest is a look at what happens in a room that the user isn't in.
type PeekRequest struct {
	User    id.UserID
	Device  string
	Room    id.RoomID
	Since   stream.Token
	Timeout time.Duration // how long to wait while there is nothing new
	Limit   int           // of the events, the newest of which are told; at most 500
}

// ErrUnreadable says that a room may be read only by those who are, or were, in it.
var ErrUnreadable = errors.New("clientsync: the room is not world readable")

// Peek answers as soon as there is something new in a world readable room, or at the timeout with nothing in the answer: events of the
// time in which it was that, who types, and receipts. Who is there is for those who share a room. next is where the answer ends; of
// messages to the device it acknowledges what Since does. The error is ErrUnreadable, also when the room becomes that; ErrLoggedOut,
// ctx's, or our own trouble.
func (s *Syncer) Peek(ctx context.Context, r PeekRequest) (room *JoinedRoom, next stream.Token, err error) {
	watch := s.stream.Watch(r.User)
	defer watch.Close()
	watch.Rooms([]id.RoomID{r.Room})
	timeout := time.NewTimer(r.Timeout)
	defer timeout.Stop()
	for {
		next = s.stream.Now()
		next.ToDevice = r.Since.ToDevice
		if room, err = s.peek(ctx, r, next); err != nil || !room.empty() || r.Timeout <= 0 {
			return room, next, err
		}
		select {
		case <-watch.C:
		case <-timeout.C:
			return room, next, nil
		case <-ctx.Done():
			return nil, next, ctx.Err()
		}
	}
}

func (s *Syncer) peek(ctx context.Context, r PeekRequest, now stream.Token) (*JoinedRoom, error) {
	if err := s.LoggedIn(ctx, r.User, r.Device); err != nil {
		return nil, err
	}
	b := &builder{Syncer: s, request: Request{User: r.User, Device: r.Device, Since: r.Since}, now: now}
	b.request.Filter.Room.Timeline.Limit = &r.Limit
	var err error
	if b.facts, err = s.facts(ctx, r.User, now.Position); err != nil {
		return nil, err
	}
	state, err := s.stateAt(ctx, r.Room, now.Position)
	if err != nil {
		return nil, err
	}
	if err := s.readable(ctx, state); err != nil {
		return nil, err
	}
	room := &JoinedRoom{}
	if s.stream.RoomSince(r.Room, r.Since.Position).Events {
		if _, room.Timeline, err = b.timeline(ctx, span{room: r.Room, after: r.Since.Position, upto: now.Position}); err != nil {
			return nil, err
		}
	}
	return room, b.ephemeralOf(ctx, room, r.Room, r.Since.Position, false)
}

// readable is ErrUnreadable if a room in that state isn't world readable.
func (s *Syncer) readable(ctx context.Context, state roomstate.Map) error {
	visibility, err := state.Event("m.room.history_visibility", "")
	if err != nil {
		return err
	}
	row, _, err := s.store.Event(ctx, visibility)
	if err != nil {
		return err
	}
	if row.Event != nil {
		if value, _ := canonicaljson.GetString(row.Event.Content(), "history_visibility"); value == "world_readable" {
			return nil
		}
	}
	return ErrUnreadable
}

// Now is the newest place: what comes from now on is after it. Of messages to a device it acknowledges none.
func (s *Syncer) Now() stream.Token {
	now := s.stream.Now()
	now.ToDevice = 0
	return now
}

// OwnMembership is the event that made a user's membership of a room what it is, also where the room is elsewhere; known is false if there
// is none.
func (s *Syncer) OwnMembership(ctx context.Context, user id.UserID, room id.RoomID) (row EventRow, known bool, err error) {
	m, known, err := s.store.Membership(ctx, room, user)
	if err != nil || !known {
		return row, false, err
	}
	return s.store.Event(ctx, m.EventID)
}
