// Package clientsync says what is new for a user between two places in the commit order: the content of a /sync answer.
// It reads the store at a fixed position and the rooms' immutable state maps; it takes no room's lock and asks no actor.
// The form of the API is node/clientapi's.
package clientsync

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"hanse/federation/id"
	"hanse/node/ephemeral"
	"hanse/node/rooms"
	"hanse/node/store"
	"hanse/node/stream"
)

// Syncer builds answers. Safe for concurrent use.
type Syncer struct {
	store     *store.Store
	stream    *stream.Stream
	rooms     *rooms.Rooms
	ephemeral *ephemeral.Ephemeral
	sent      sentMembers
}

// New makes a Syncer.
func New(s *store.Store, places *stream.Stream, r *rooms.Rooms, e *ephemeral.Ephemeral) *Syncer {
	return &Syncer{store: s, stream: places, rooms: r, ephemeral: e}
}

// Request is a /sync.
type Request struct {
	User      id.UserID
	Device    string
	Since     stream.Token
	Initial   bool // no since
	FullState bool
	// StateAfter asks for the state at the end of the timeline in place of that before it.
	StateAfter bool
	// Timeout is how long to wait while there is nothing new.
	Timeout time.Duration
	Filter  Filter
}

// Sync answers as soon as there is something new, or at the timeout with an empty answer. The error is ctx's, or our own
// trouble.
func (s *Syncer) Sync(ctx context.Context, r Request) (*Answer, error) {
	watch := s.stream.Watch(r.User)
	defer watch.Close()
	timeout := time.NewTimer(r.Timeout)
	defer timeout.Stop()
	for {
		now := s.stream.Now()
		b := &builder{Syncer: s, request: r, now: now, answer: &Answer{
			Next: now, Joined: map[id.RoomID]*JoinedRoom{}, Left: map[id.RoomID]*LeftRoom{},
			Invited: map[id.RoomID][]json.RawMessage{}, Knocked: map[id.RoomID][]json.RawMessage{},
		}}
		if err := b.build(ctx); err != nil {
			return nil, err
		}
		if r.Initial || r.FullState || !b.answer.Empty() || r.Timeout <= 0 {
			return b.answer, nil
		}
		watch.Rooms(b.joinedIDs)
		if s.stream.Now() != now {
			continue // something came before the rooms were being watched
		}
		select {
		case <-watch.C:
		case <-timeout.C:
			return b.answer, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// builder builds one answer. Owned by the call that made it.
type builder struct {
	*Syncer
	request   Request
	now       stream.Token
	answer    *Answer
	joinedIDs []id.RoomID
	before    map[id.RoomID]string // memberships at since, of rooms where they changed
	away      map[id.RoomID]bool   // the user was out of the room after since
	data      map[id.RoomID][]store.AccountData
}

// since is where the answer begins.
func (b *builder) since() store.Position {
	if b.request.Initial {
		return 0
	}
	return b.request.Since.Position
}

func (b *builder) build(ctx context.Context) error {
	memberships, err := b.memberships(ctx)
	if err != nil {
		return err
	}
	if err := b.accountData(ctx); err != nil {
		return err
	}
	for _, m := range memberships {
		if m.Membership == "join" && !m.OutOfRoom {
			b.joinedIDs = append(b.joinedIDs, m.RoomID)
		}
	}
	active, err := b.active(ctx)
	if err != nil {
		return err
	}
	for _, m := range memberships {
		if !wantsRoom(b.request.Filter.Room.Rooms, b.request.Filter.Room.NotRooms, m.RoomID) {
			continue
		}
		if err := b.membership(ctx, m, active); err != nil {
			return err
		}
	}
	return nil
}

// membership puts one room into the answer, where it belongs there.
func (b *builder) membership(ctx context.Context, m store.Membership, active map[id.RoomID]bool) error {
	changed := m.Position > b.since()
	switch m.Membership {
	case "join":
		if !active[m.RoomID] || m.OutOfRoom {
			return nil
		}
		room, err := b.joinedRoom(ctx, m)
		if err == nil && (!room.empty() || b.request.Initial || b.request.FullState) {
			b.answer.Joined[m.RoomID] = room
		}
		return err
	case "invite", "knock":
		if !changed && !b.request.FullState {
			return nil
		}
		stripped, err := b.stripped(ctx, m)
		if m.Membership == "invite" {
			b.answer.Invited[m.RoomID] = stripped
		} else {
			b.answer.Knocked[m.RoomID] = stripped
		}
		return err
	default: // leave, ban
		wanted := changed && !b.request.Initial || b.request.Filter.Room.IncludeLeave && (b.request.Initial || b.request.FullState)
		if m.Forgotten || !wanted {
			return nil
		}
		room, err := b.leftRoom(ctx, m)
		b.answer.Left[m.RoomID] = room
		return err
	}
}

// memberships reads the user's memberships, and what those were at since that have changed.
func (b *builder) memberships(ctx context.Context) ([]store.Membership, error) {
	memberships, err := b.store.Memberships(ctx, b.request.User)
	if err != nil || b.request.Initial {
		return memberships, err
	}
	changed := slices.ContainsFunc(memberships, func(m store.Membership) bool { return m.Position > b.since() })
	if !changed {
		return memberships, nil
	}
	changes, err := b.store.MembershipChanges(ctx, b.request.User, b.since(), b.now.Position)
	if err != nil {
		return nil, err
	}
	earlier, err := b.store.MembershipsAt(ctx, b.request.User, b.since())
	if err != nil {
		return nil, err
	}
	then := map[id.RoomID]string{}
	for _, m := range earlier {
		then[m.RoomID] = m.Membership
	}
	b.before, b.away = map[id.RoomID]string{}, map[id.RoomID]bool{}
	for _, m := range changes {
		b.before[m.RoomID] = then[m.RoomID]
		b.away[m.RoomID] = b.away[m.RoomID] || m.Membership != "join"
	}
	return memberships, nil
}

// fresh tells whether the client must get a joined room from the start.
func (b *builder) fresh(room id.RoomID) bool {
	before, changed := b.before[room]
	return b.request.Initial || changed && (before != "join" || b.away[room])
}

func (b *builder) accountData(ctx context.Context) error {
	entries, err := b.store.AccountDataChanges(ctx, b.request.User, b.since(), b.now.Position)
	if err != nil {
		return err
	}
	b.data = map[id.RoomID][]store.AccountData{}
	for _, entry := range entries {
		switch {
		case entry.Room != "":
			if b.request.Filter.Room.AccountData.Match(entry.Type, "") && b.request.Filter.Room.AccountData.MatchRoom(entry.Room) {
				b.data[entry.Room] = append(b.data[entry.Room], entry)
			}
		case b.request.Filter.AccountData.Match(entry.Type, ""):
			b.answer.AccountData = append(b.answer.AccountData, entry)
		}
	}
	return nil
}

// active are the joined rooms in which something may be new.
func (b *builder) active(ctx context.Context) (map[id.RoomID]bool, error) {
	active := make(map[id.RoomID]bool, len(b.joinedIDs))
	if b.request.Initial || b.request.FullState {
		for _, room := range b.joinedIDs {
			active[room] = true
		}
		return active, nil
	}
	withEvents, err := b.store.RoomsWithEvents(ctx, b.joinedIDs, b.since(), b.now.Position)
	if err != nil {
		return nil, err
	}
	withReceipts, err := b.store.RoomsWithReceipts(ctx, b.joinedIDs, b.since(), b.now.Position)
	if err != nil {
		return nil, err
	}
	for _, room := range slices.Concat(withEvents, withReceipts) {
		active[room] = true
	}
	for _, room := range b.joinedIDs {
		_, serial := b.ephemeral.Typing(room)
		if serial > b.request.Since.Typing || len(b.data[room]) > 0 || b.fresh(room) {
			active[room] = true
		}
	}
	return active, nil
}
