// Package clientsync says what is new for a user between two places in the commit order: the content of a /sync answer.
// It reads the store at a fixed position and the rooms' immutable state maps; it takes no room's lock and asks no actor.
// The form of the API is node/clientapi's.
package clientsync

import (
	"context"
	"encoding/json"
	"errors"
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
	store       *store.Store
	stream      *stream.Stream
	rooms       *rooms.Rooms
	ephemeral   *ephemeral.Ephemeral
	sent        sentMembers
	users       *Cache[id.UserID, userFacts]
	recents     *Cache[id.RoomID, *recentRoom]
	unreads     *Cache[unreadKey, *unreadRoom]
	saving      chan store.Unread // what Run saves; full: that one isn't
	saveAfter   int               // saveUnreadAfter, but in tests
	answerBytes int               // the constant, but in tests
	// deviceFacts are of the devices that asked last.
	deviceFacts *Cache[deviceName, deviceFacts]
}

// New makes a Syncer.
func New(s *store.Store, places *stream.Stream, r *rooms.Rooms, e *ephemeral.Ephemeral) *Syncer {
	return &Syncer{
		store: s, stream: places, rooms: r, ephemeral: e,
		users: NewCache[id.UserID, userFacts](maxUsers), recents: NewCache[id.RoomID, *recentRoom](maxRooms),
		unreads: NewCache[unreadKey, *unreadRoom](maxUnreadRooms), saving: make(chan store.Unread, maxSaving), saveAfter: saveUnreadAfter,
		deviceFacts: NewCache[deviceName, deviceFacts](maxDevices), answerBytes: answerBytes,
	}
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
	// PresenceAside says that who is there is told with other news, or at the timeout, and is no reason to answer: for clients
	// that are not to be seen, which mostly nobody looks at.
	PresenceAside bool
	// MessagesAside says that messages to the device go another way, and are not told.
	MessagesAside bool
}

// ErrLoggedOut says that a device was logged out while it waited.
var ErrLoggedOut = errors.New("clientsync: the device was logged out")

// LoggedIn is ErrLoggedOut if a user's device is not there (any more), though it was when the request was admitted. Where no device of
// theirs has changed since it was looked at last, that costs nothing. device "" is none, which can't be taken away.
func (s *Syncer) LoggedIn(ctx context.Context, user id.UserID, device string) error {
	name := deviceName{user, device}
	facts, _ := s.deviceFacts.Get(name)
	if device == "" || facts.thereAt != 0 && !s.stream.DevicesSince(user, nil, facts.thereAt) {
		return nil
	}
	facts.thereAt = s.stream.Now().Position
	_, there, err := s.store.Device(ctx, user, device)
	switch {
	case err != nil:
		return err
	case !there:
		return ErrLoggedOut
	}
	s.deviceFacts.Put(name, facts)
	return nil
}

// Sync answers as soon as there is something new, or at the timeout with an empty answer. The error is ErrLoggedOut, ctx's, or our own
// trouble.
func (s *Syncer) Sync(ctx context.Context, r Request) (*Answer, error) {
	watch := s.stream.Watch(r.User)
	defer watch.Close()
	if s.wantsPresence(r) && !r.PresenceAside {
		watch.Presence()
	}
	timeout := time.NewTimer(r.Timeout)
	defer timeout.Stop()
	if err := s.store.ForgetClaimed(ctx, r.User, r.Device, r.Since.Position); err != nil {
		return nil, err
	}
	// A token of the future is from before the database was put back: what comes now is new.
	first := s.stream.Now()
	r.Since = stream.Token{
		Position: min(r.Since.Position, first.Position), Typing: min(r.Since.Typing, first.Typing),
		ToDevice: min(r.Since.ToDevice, first.Position),
	}
	for now := first; ; now = s.stream.Now() {
		if err := s.LoggedIn(ctx, r.User, r.Device); err != nil {
			return nil, err
		}
		b := &builder{Syncer: s, request: r, now: now, answer: &Answer{
			Next: now, Joined: map[id.RoomID]*JoinedRoom{}, Left: map[id.RoomID]*LeftRoom{},
			Invited: map[id.RoomID][]json.RawMessage{}, Knocked: map[id.RoomID][]json.RawMessage{},
		}}
		if err := b.build(ctx); err != nil {
			return nil, err
		}
		empty := b.answer.Empty() || r.PresenceAside && b.answer.emptyButPresence()
		unsettled := b.unsettled
		if empty {
			unsettled = max(unsettled, b.idle)
		}
		if unsettled > 0 {
			watch.Rooms(b.facts.joined)
			select {
			case <-watch.C:
			case <-time.After(unsettled):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			continue
		}
		if r.Initial || r.FullState || !empty || r.Timeout <= 0 {
			return b.answer, nil
		}
		if b.answer.Empty() {
			// Nothing of typing and presence is new up to here; who asks with an old token needn't be compared with it again each time.
			r.Since.Typing = now.Typing
		}
		if watch.Rooms(b.facts.joined) && s.stream.Now() != now {
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
	request Request
	now     stream.Token
	answer  *Answer
	facts   userFacts
	before  map[id.RoomID]string             // memberships at since, of rooms where they changed; "" if there was none
	moves   map[id.RoomID][]store.Membership // what the user's memberships were, in order; read when needed
	data    map[id.RoomID][]store.AccountData
	// unsettled is for how long the answer waits for the members of a room that is left out for want of them; 0: there is none. idle is
	// the same of a room which the user was in at since: for it nothing else is held back.
	unsettled, idle time.Duration
	// becameWhole is whether a room is shown from the start because its members have come, which may be long after the join.
	becameWhole bool
	// held is what the events of the answer weigh that are in memory, in bytes.
	held int
}

// since is where the answer begins.
func (b *builder) since() store.Position {
	if b.request.Initial {
		return 0
	}
	return b.request.Since.Position
}

func (b *builder) build(ctx context.Context) error {
	var err error
	if b.facts, err = b.Syncer.facts(ctx, b.request.User, b.now.Position); err != nil {
		return err
	}
	if err := b.earlier(ctx); err != nil {
		return err
	}
	if err := b.accountData(ctx); err != nil {
		return err
	}
	if err := b.devices(ctx); err != nil {
		return err
	}
	active := b.active()
	for _, m := range b.facts.memberships {
		if !wantsRoom(b.request.Filter.Room.Rooms, b.request.Filter.Room.NotRooms, m.RoomID) {
			continue
		}
		if err := b.membership(ctx, m, active); err != nil {
			return err
		}
	}
	return b.presence(ctx)
}

// membership puts one room into the answer, where it belongs there.
func (b *builder) membership(ctx context.Context, m store.Membership, active map[id.RoomID]bool) error {
	changed := m.Position > b.since()
	switch m.Membership {
	case "join":
		if !active[m.RoomID] || m.OutOfRoom {
			return nil
		}
		shown, fresh, err := b.shown(ctx, m.RoomID)
		if err != nil || !shown {
			return err
		}
		room, err := b.joinedRoom(ctx, m, fresh)
		if err != nil {
			return err
		}
		if room.empty() && !b.request.Initial && !b.request.FullState {
			if read, err := b.hasRead(ctx, b.request.User, m.RoomID, b.since(), b.now.Position); !read || err != nil {
				return err
			}
		}
		b.answer.Joined[m.RoomID] = room
		room.Unread, err = b.unread(ctx, b.facts.judge, m, b.now.Position)
		return err
	case "invite", "knock":
		if !changed && !b.request.FullState || b.facts.hides(m) {
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
		// That it was left is told even of a room that was forgotten at once: the user's other clients would show it for ever.
		// spec:client-server-api#leaving-rooms
		news := changed && !b.request.Initial
		asked := b.request.Filter.Room.IncludeLeave && (b.request.Initial || b.request.FullState) && !m.Forgotten
		if !news && !asked {
			return nil
		}
		room, err := b.leftRoom(ctx, m)
		b.answer.Left[m.RoomID] = room
		return err
	}
}

// earlier finds out what those of the user's memberships were at since that have changed after it.
func (b *builder) earlier(ctx context.Context) error {
	if b.request.Initial {
		return nil
	}
	changed := slices.ContainsFunc(b.facts.memberships, func(m store.Membership) bool { return m.Position > b.since() })
	if !changed {
		return nil
	}
	changes, err := b.store.MembershipChanges(ctx, b.request.User, b.since(), b.now.Position)
	if err != nil {
		return err
	}
	then, err := b.store.MembershipsAt(ctx, b.request.User, b.since())
	if err != nil {
		return err
	}
	b.before = map[id.RoomID]string{}
	for _, m := range changes {
		b.before[m.RoomID] = ""
	}
	for _, m := range then {
		if _, moved := b.before[m.RoomID]; moved {
			b.before[m.RoomID] = m.Membership
		}
	}
	return nil
}

// fresh tells whether the client must get a joined room from the start: it was not joined at since. If it was, left and
// came back, what happened since is enough.
func (b *builder) fresh(room id.RoomID) bool {
	before, changed := b.before[room]
	return b.request.Initial || changed && before != "join"
}

func (b *builder) accountData(ctx context.Context) error {
	b.data = map[id.RoomID][]store.AccountData{}
	if _, changed := b.stream.UserSince(b.request.User, b.since()); !changed && !b.request.Initial {
		return nil
	}
	entries, err := b.store.AccountDataChanges(ctx, b.request.User, b.since(), b.now.Position)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		switch {
		case entry.Room != "":
			if b.wantsData(entry) {
				b.data[entry.Room] = append(b.data[entry.Room], entry)
			}
		case b.request.Filter.AccountData.Match(entry.Type, ""):
			b.answer.AccountData = append(b.answer.AccountData, entry)
		}
	}
	return nil
}

// wantsData tells whether the client wants an entry of a room's account data.
func (b *builder) wantsData(entry store.AccountData) bool {
	filter := b.request.Filter.Room.AccountData
	return filter.MatchRoom(entry.Room) && filter.Match(entry.Type, "")
}

// active are the joined rooms in which something may be new.
func (b *builder) active() map[id.RoomID]bool {
	active := map[id.RoomID]bool{}
	if b.request.Initial || b.request.FullState {
		for _, room := range b.facts.joined {
			active[room] = true
		}
		return active
	}
	for _, room := range b.stream.RoomsSince(b.facts.joined, b.since()) {
		active[room] = true
	}
	for room := range b.data {
		active[room] = true
	}
	for room := range b.before {
		active[room] = true
	}
	if b.now.Typing <= b.request.Since.Typing {
		return active
	}
	for _, room := range b.ephemeral.TypingSince(b.facts.joined, b.request.Since.Typing) {
		active[room] = true
	}
	return active
}
