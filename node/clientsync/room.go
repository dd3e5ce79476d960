package clientsync

import (
	"context"
	"encoding/json"
	"slices"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/node/ephemeral"
	"hanse/node/store"
	"hanse/node/stream"
)

// joinedRoom is what is new in a room that the user is in; fresh: the client gets it from the start.
func (b *builder) joinedRoom(ctx context.Context, m store.Membership, fresh bool) (*JoinedRoom, error) {
	after := b.since()
	b.sent.got(sentKey{b.request.User, b.request.Device, m.RoomID}, after)
	room := &JoinedRoom{AccountData: b.data[m.RoomID]}
	var err error
	if fresh {
		after = 0
		if !b.request.Initial {
			if room.AccountData, err = b.roomData(ctx, m.RoomID); err != nil {
				return nil, err
			}
			b.sent.got(sentKey{b.request.User, b.request.Device, m.RoomID}, 0)
		}
	}
	if fresh || b.request.FullState || b.stream.RoomSince(m.RoomID, after).Events {
		if err := b.happened(ctx, room, m.RoomID, after, fresh); err != nil {
			return nil, err
		}
	} else {
		room.Timeline.PrevBatch = stream.PlaceBelow(b.now.Position + 1)
	}
	return room, b.ephemeralOf(ctx, room, m.RoomID, after, fresh)
}

// happened fills in the timeline, the state and the summary.
func (b *builder) happened(ctx context.Context, room *JoinedRoom, roomID id.RoomID, after store.Position, fresh bool) error {
	d := stateDelta{room: roomID, whole: fresh || b.request.FullState}
	var err error
	if d.final, err = b.stateAt(ctx, roomID, b.now.Position); err != nil {
		return err
	}
	if !fresh {
		if d.has, err = b.stateAt(ctx, roomID, after); err != nil {
			return err
		}
	}
	if !d.whole {
		d.known = d.has
	}
	d.timeline, room.Timeline, err = b.timeline(ctx, span{
		room: roomID, after: after, upto: b.now.Position, joinedUntil: always, final: d.final,
	})
	if err != nil {
		return err
	}
	if fresh && !b.request.Initial {
		room.Timeline.Limited = true // it does not follow on what the client may have from an earlier stay
	}
	if room.Summary, err = b.summary(ctx, roomID, d.known, d.final); err != nil {
		return err
	}
	if room.Summary != nil {
		d.heroes = room.Summary.Heroes
	}
	room.State, room.Rest, err = b.state(ctx, d)
	return err
}

// roomData is all the user's account data of a room.
func (b *builder) roomData(ctx context.Context, room id.RoomID) ([]store.AccountData, error) {
	entries, err := b.store.AccountDataChanges(ctx, b.request.User, 0, b.now.Position)
	return slices.DeleteFunc(entries, func(entry store.AccountData) bool {
		return entry.Room != room || !b.wantsData(entry)
	}), err
}

func (b *builder) ephemeralOf(ctx context.Context, room *JoinedRoom, roomID id.RoomID, after store.Position, fresh bool) error {
	filter := b.request.Filter.Room.Ephemeral
	if !filter.MatchRoom(roomID) {
		return nil
	}
	whole := fresh || b.request.FullState
	if filter.Match("m.typing", "") && (whole || b.now.Typing > b.request.Since.Typing) {
		typing, serial := b.ephemeral.Typing(roomID)
		if whole {
			room.HasTyping = len(typing) > 0
		} else {
			room.HasTyping = serial > b.request.Since.Typing
		}
		room.Typing = typing
	}
	if b.request.FullState {
		after = 0
	}
	if !filter.Match("m.receipt", "") {
		return nil
	}
	receipts, err := b.receipts(ctx, roomID, after, b.now.Position)
	room.Receipts = slices.DeleteFunc(receipts, func(r store.Receipt) bool {
		return hidden(r, b.request.User) || !filter.matchSender(r.User)
	})
	return err
}

// hidden tells whether a receipt is another one's private one.
func hidden(r store.Receipt, from id.UserID) bool {
	return r.Type == ephemeral.ReadPrivate && r.User != from
}

// stripped is the state that an invited or knocking user is shown: that of the time of the invite or knock, as where it came from another
// server; what changes in the room after it is not theirs to know yet. spec:client-server-api#stripped-state
func (b *builder) stripped(ctx context.Context, m store.Membership) ([]json.RawMessage, error) {
	if m.OutOfRoom {
		// What came along describes the room; who invited the user is in the membership event itself.
		row, ok, err := b.store.Event(ctx, m.EventID)
		if err != nil || !ok {
			return m.Stripped, err
		}
		return append(slices.Clip(m.Stripped), event.Stripped(row.Event)), nil
	}
	current, err := b.store.CurrentStateAt(ctx, m.RoomID, m.Position)
	if err != nil {
		return nil, err
	}
	return b.roomStripped(ctx, current, m.Sender, b.request.User) // as the last one, which it is where it came from outside
}

// Invitation is what a user is shown of a room by an invite or knock that has its place there.
//
// spec:client-server-api#stripped-state
func (s *Syncer) Invitation(ctx context.Context, e *event.Event) ([]json.RawMessage, error) {
	state, _, err := s.store.StateAfter(ctx, e.ID())
	if err != nil {
		return nil, err
	}
	user, _ := e.StateKey()
	return s.roomStripped(ctx, state, e.Sender(), id.UserID(user))
}

// roomStripped is what others are shown of a room's state, with some of its members.
func (s *Syncer) roomStripped(ctx context.Context, state roomstate.Map, members ...id.UserID) ([]json.RawMessage, error) {
	var keys []roomstate.Key
	for _, typ := range []string{
		"m.room.create", "m.room.name", "m.room.avatar", "m.room.topic", "m.room.join_rules", "m.room.canonical_alias", "m.room.encryption",
	} {
		keys = append(keys, roomstate.Key{Type: typ})
	}
	for i, member := range members {
		if !slices.Contains(members[i+1:], member) {
			keys = append(keys, roomstate.Key{Type: "m.room.member", StateKey: string(member)})
		}
	}
	events, err := s.store.StateEvents(ctx, state, keys...)
	stripped := make([]json.RawMessage, 0, len(events))
	for _, e := range events {
		stripped = append(stripped, event.Stripped(e))
	}
	return stripped, err
}
