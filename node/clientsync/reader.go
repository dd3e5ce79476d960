package clientsync

import (
	"context"
	"encoding/json"
	"slices"

	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/node/store"
	"hanse/node/stream"
)

// Reader reads what one device of a user may be told of rooms, up to one place: for another form of /sync that says in its own
// way which rooms, and what of them, are wanted (node/slidingsync). State is read as it is at the end of a timeline. Owned by
// the call that made it.
type Reader struct{ b *builder }

// Reader makes one for what is up to now.
func (s *Syncer) Reader(ctx context.Context, user id.UserID, device string, now stream.Token) (*Reader, error) {
	b := &builder{Syncer: s, now: now, answer: &Answer{}, request: Request{User: user, Device: device, StateAfter: true}}
	var err error
	b.facts, err = s.facts(ctx, user, now.Position)
	return &Reader{b}, err
}

// Memberships are all of the user's; they must not be changed. At is since when they are the same.
func (r *Reader) Memberships() (all []store.Membership, at store.Position) {
	return r.b.facts.memberships, r.b.facts.at
}

// Joined are the rooms that the user is in; they must not be changed.
func (r *Reader) Joined() []id.RoomID { return r.b.facts.joined }

// Hides tells whether a membership is an invite that the user is not to be shown.
func (r *Reader) Hides(m store.Membership) bool { return r.b.facts.hides(m) }

// Timeline is the newest events of a room that the user is in, at most limit, of those that came after a position; after 0 says
// that the client begins with them.
func (r *Reader) Timeline(ctx context.Context, room id.RoomID, after store.Position, limit int) (Timeline, error) {
	r.wants(after, limit)
	_, timeline, err := r.b.timeline(ctx, span{room: room, after: after, upto: r.b.now.Position, joinedUntil: always})
	return timeline, err
}

// wants prepares the builder for the timeline of one room.
func (r *Reader) wants(after store.Position, limit int) {
	r.b.request.Filter.Room.Timeline.Limit = &limit
	r.b.request.Since.Position, r.b.request.Initial = after, after == 0
}

// Left is Timeline for a room that the user is out of: up to where they left, with what ended it, and the state that they left it
// in. Of a room that they have never been in it is what ended the invite or knock, and was is false.
func (r *Reader) Left(ctx context.Context, m store.Membership, after store.Position, limit int) (t Timeline, state roomstate.Map, was bool, err error) {
	r.wants(after, limit)
	var last stay
	if !m.OutOfRoom {
		if last, err = r.b.lastStay(ctx, m); err != nil {
			return t, state, false, err
		}
	}
	if last.was {
		sp := span{room: m.RoomID, after: after, upto: last.until, joinedUntil: last.until + 1, own: last.end, final: last.state}
		if _, t, err = r.b.timeline(ctx, sp); err != nil {
			return t, state, true, err
		}
	}
	if limit > 0 {
		err = r.b.addOwn(ctx, &t, m)
	}
	return t, last.state, last.was, err
}

// LeftState is the state in which the user, who is out of a room, left it; was is false if they have never been in it.
func (r *Reader) LeftState(ctx context.Context, m store.Membership) (state roomstate.Map, was bool, err error) {
	last, err := r.b.lastStay(ctx, m)
	return last.state, last.was, err
}

// State is what a room's state was when a position was the newest.
func (r *Reader) State(ctx context.Context, room id.RoomID, at store.Position) (roomstate.Map, error) {
	return r.b.stateAt(ctx, room, at)
}

// Events are events of states, with what stands beside them, in the order of the IDs; those that are not stored are left out.
func (r *Reader) Events(ctx context.Context, ids []id.EventID) ([]Decorated, error) {
	return r.b.stateRows(ctx, ids)
}

// Rest is events of a room's state that are read when they are told, in place of Events, which has a bound of how many that's for.
func (r *Reader) Rest(room id.RoomID, ids []id.EventID) *Rest {
	return &Rest{syncer: r.b.Syncer, room: room, ids: ids}
}

// Summary is given where members or the name differ between two states of a room that the user is in; else nil.
func (r *Reader) Summary(ctx context.Context, room id.RoomID, known, current roomstate.Map) (*Summary, error) {
	return r.b.summary(ctx, room, known, current)
}

// Heroes are those who help to name a room without a name, where members differ between two states of it: they may be others, or be
// called otherwise. Else nil.
func (r *Reader) Heroes(ctx context.Context, room id.RoomID, known, current roomstate.Map) ([]id.UserID, error) {
	changed := known.Len() == 0 // there is who made the room, then
	if !changed {
		for change, err := range known.Changes(current) {
			if err != nil {
				return nil, err
			}
			if changed = change.Key.Type == "m.room.member"; changed {
				break
			}
		}
	}
	if !changed {
		return nil, nil
	}
	if named, err := r.b.named(ctx, current); named || err != nil {
		return nil, err
	}
	invited, err := r.b.store.Members(ctx, room, store.MemberFilter{Membership: "invite"})
	if err != nil {
		return nil, err
	}
	return r.b.heroes(ctx, room, invited)
}

// Stripped is what an invited or knocking user is shown of a room.
func (r *Reader) Stripped(ctx context.Context, m store.Membership) ([]json.RawMessage, error) {
	return r.b.stripped(ctx, m)
}

// Unread is what the user has not read of a room that they are in, of all its threads.
func (r *Reader) Unread(ctx context.Context, m store.Membership) (Unread, error) {
	var sum Unread
	counts, err := r.b.unread(ctx, r.b.facts.judge, m, r.b.now.Position)
	for _, c := range counts {
		sum.Notifications += c.Notifications
		sum.Highlights += c.Highlights
	}
	return sum, err
}

// HasRead tells whether the user has read something in a room after a position.
func (r *Reader) HasRead(ctx context.Context, room id.RoomID, after store.Position) (bool, error) {
	return r.b.hasRead(ctx, r.b.request.User, room, after, r.b.now.Position)
}

// Receipts are a room's that came after a position and that the user may see.
func (r *Reader) Receipts(ctx context.Context, room id.RoomID, after store.Position) ([]store.Receipt, error) {
	receipts, err := r.b.receipts(ctx, room, after, r.b.now.Position)
	return slices.DeleteFunc(receipts, func(receipt store.Receipt) bool { return hidden(receipt, r.b.request.User) }), err
}

// Whole tells whether a room that the user is in has all its members: clients that want these are shown it only then.
func (r *Reader) Whole(ctx context.Context, room id.RoomID) (bool, error) {
	whole, err := r.b.wholeness(ctx, room)
	return !whole.partial && whole.since <= r.b.now.Position, err
}

// MembersCame tells whether the members of a room, which was joined without them, came after a position: they are no news to who loads
// members lazily.
func (r *Reader) MembersCame(ctx context.Context, room id.RoomID, after store.Position) (bool, error) {
	return r.b.membersCame(ctx, room, after)
}

// UserReceipts are the user's own in a room.
func (r *Reader) UserReceipts(ctx context.Context, room id.RoomID) ([]store.Receipt, error) {
	return r.b.store.UserReceipts(ctx, room, r.b.request.User)
}
