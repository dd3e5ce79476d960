package clientsync

import (
	"context"

	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/node/store"
	"hanse/node/stream"
)

// stay is the last time that a user was joined to a room.
type stay struct {
	was   bool
	since store.Position // when it began
	until store.Position // when it ended
	end   id.EventID     // what ended it
	state roomstate.Map  // the room's state when it ended
}

// leftRoom is what happened until the user left, was removed, or turned an invite down.
func (b *builder) leftRoom(ctx context.Context, m store.Membership) (*LeftRoom, error) {
	room := &LeftRoom{AccountData: b.data[m.RoomID]}
	if m.OutOfRoom {
		return room, b.addOwn(ctx, &room.Timeline, m)
	}
	last, err := b.lastStay(ctx, m)
	if err != nil {
		return nil, err
	}
	whole := b.request.Initial || b.request.FullState
	b.sent.got(sentKey{b.request.User, b.request.Device, m.RoomID}, b.since())
	sp := span{room: m.RoomID, after: b.since(), upto: last.until, joinedUntil: last.until + 1, own: last.end, final: last.state}
	var timeline []*entry
	if last.was {
		if timeline, room.Timeline, err = b.timeline(ctx, sp); err != nil {
			return nil, err
		}
	}
	if err := b.addOwn(ctx, &room.Timeline, m); err != nil {
		return nil, err
	}
	was := b.before[m.RoomID] == "join"
	if !last.was || !whole && !was && last.since <= b.since() {
		return room, nil // the client has never seen the room, or has seen its end
	}
	d := stateDelta{
		room: m.RoomID, timeline: timeline, final: last.state, whole: whole || !was,
		heroes: []id.UserID{m.Sender}, // who ended it is shown too
	}
	if was && !b.request.Initial {
		if d.has, err = b.stateAt(ctx, m.RoomID, b.since()); err != nil {
			return nil, err
		}
	}
	if !whole {
		d.known = d.has
	}
	room.State, room.Rest, err = b.state(ctx, d)
	return room, err
}

// addOwn ends a timeline with what made the user's membership what it is, if it is not there yet: an invite or knock that
// was turned down or taken back, a ban after a leave. The room's history is not theirs to see, but this is.
func (b *builder) addOwn(ctx context.Context, timeline *Timeline, m store.Membership) error {
	filter := b.request.Filter.Room.Timeline
	if timeline.PrevBatch == (stream.Place{}) {
		timeline.PrevBatch = stream.PlaceBelow(m.Position + 1)
	}
	if n := len(timeline.Events); n > 0 && timeline.Events[n-1].Event.ID() == m.EventID || m.Position <= b.since() {
		return nil
	}
	row, ok, err := b.store.Event(ctx, m.EventID)
	if err != nil || !ok || !filter.MatchEvent(row.Event) {
		return err
	}
	own, err := b.Decorate(ctx, b.request.User, b.request.Device, []store.EventRow{row})
	timeline.Events = append(timeline.Events, own...)
	return err
}

// lastStay finds out when the user, who is out of a room, was last in it.
func (b *builder) lastStay(ctx context.Context, m store.Membership) (stay, error) {
	if b.moves == nil {
		all, err := b.store.MembershipChanges(ctx, b.request.User, 0, b.now.Position)
		if err != nil {
			return stay{}, err
		}
		b.moves = map[id.RoomID][]store.Membership{}
		for _, move := range all {
			b.moves[move.RoomID] = append(b.moves[move.RoomID], move)
		}
	}
	moves := b.moves[m.RoomID]
	end := len(moves) - 1
	for end > 0 && (moves[end-1].Membership != "join" || moves[end-1].OutOfRoom) {
		end--
	}
	if end <= 0 || moves[end].Membership == "join" {
		return stay{}, nil
	}
	begin := end - 1
	for begin > 0 && moves[begin-1].Membership == "join" {
		begin--
	}
	last := stay{was: true, since: moves[begin].Position, until: moves[end].Position, end: moves[end].EventID}
	row, ok, err := b.store.Event(ctx, moves[end].EventID)
	if err != nil {
		return last, err
	}
	if ok && row.Position > 0 {
		last.until = row.Position
		if last.state, ok, err = b.store.StateAfter(ctx, row.Event.ID()); err != nil || ok {
			return last, err
		}
	}
	last.state, err = b.store.CurrentStateAt(ctx, m.RoomID, moves[end].Position)
	return last, err
}
