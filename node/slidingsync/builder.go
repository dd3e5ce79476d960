package slidingsync

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"hanse/federation/id"
	"hanse/node/clientsync"
	"hanse/node/store"
	"hanse/node/stream"
)

// builder builds one answer. Owned by the call that made it, which holds the connection's mu.
type builder struct {
	*Syncer
	request    *Request
	reader     *clientsync.Reader
	told       *told
	news       *news
	since, now stream.Token
	begins     bool
	answer     *Answer
	newsworthy bool // there is something to answer at once for

	user   *userRooms // nil: no rooms are asked for
	wanted map[id.RoomID]*wanted
	order  []id.RoomID        // of wanted
	shown  []id.RoomID        // those of them that the client has been told of, or is now
	gone   map[id.RoomID]bool // rooms that the client shows though the user is out of them, as far as is known
	events int                // in the answer's timelines
	listed int                // rooms in the answer's windows
}

// wanted is a room that the request asks for.
type wanted struct {
	config     *config
	membership *store.Membership
	direct     bool
}

func (b *builder) build(ctx context.Context) error {
	b.wanted = map[id.RoomID]*wanted{}
	if err := b.choose(ctx); err != nil {
		return err
	}
	leave, err := b.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	for _, room := range b.order {
		if len(b.answer.Rooms) >= maxRoomsAnswered || b.events >= maxEventsAnswered {
			break
		}
		if err := b.room(ctx, room, b.wanted[room]); err != nil {
			return err
		}
	}
	for _, room := range b.order {
		_, before := b.told.rooms[room]
		if before || b.answer.Rooms[room] != nil {
			b.shown = append(b.shown, room)
		}
	}
	for _, extension := range []func(context.Context) error{b.toDevice, b.encryption, b.accountData, b.receipts, b.typing} {
		if err := extension(ctx); err != nil {
			return err
		}
	}
	return nil
}

// enter waits until the answer may be made, if it is a large one. leave must be called in the end.
func (b *builder) enter(ctx context.Context) (leave func(), err error) {
	unknown := 0
	for _, room := range b.order {
		if _, known := b.told.rooms[room]; !known {
			unknown++
		}
	}
	if unknown <= fewRooms {
		return func() {}, nil
	}
	leave = func() {}
	for _, places := range []chan struct{}{b.user.large, b.large} {
		select {
		case places <- struct{}{}:
			before := leave
			leave = func() { <-places; before() }
		case <-ctx.Done():
			leave()
			return nil, ctx.Err()
		}
	}
	return leave, nil
}

// choose finds the rooms that the request's lists and subscriptions ask for.
func (b *builder) choose(ctx context.Context) error {
	if len(b.request.lists)+len(b.request.subscriptions) == 0 {
		return nil
	}
	u := b.users.GetOrAdd(b.request.User, newUserRooms)
	b.user = u
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.update(ctx, b.Syncer, b.request.User, b.reader, b.now); err != nil {
		return err
	}
	order := b.withLeft(u)
	for _, name := range slices.Sorted(maps.Keys(b.request.lists)) {
		l := b.request.lists[name]
		rooms, err := b.filter(ctx, u, order, l.filters)
		if err != nil {
			return err
		}
		b.answer.Lists[name] = b.look(l, rooms)
	}
	for room, c := range b.request.subscriptions {
		if l := u.rooms[room]; l != nil && !(l.membership.Forgotten && out(l.membership)) {
			b.want(l, c)
		}
	}
	return nil
}

// withLeft are the rooms in order, with those that the user has left and the client shows.
func (b *builder) withLeft(u *userRooms) []*listed {
	if moved, _ := b.stream.UserSince(b.request.User, b.since.Position); moved {
		memberships, _ := b.reader.Memberships()
		for _, m := range memberships {
			if m.Position <= b.since.Position || !out(m) {
				continue
			}
			if known, shown := b.told.rooms[m.RoomID]; shown && known.membership != "leave" && known.membership != "ban" {
				b.news.leaving[m.RoomID] = true
			}
		}
	}
	b.gone = maps.Clone(b.news.leaving)
	for room := range b.told.leaving {
		b.gone[room] = true
	}
	var left []*listed
	for _, room := range slices.Sorted(maps.Keys(b.gone)) {
		if l := u.rooms[room]; l != nil && out(l.membership) && (l.membership.Forgotten || !removed(l.membership)) {
			left = append(left, l)
		}
	}
	if len(left) == 0 {
		return u.order
	}
	order := append(left, u.order...)
	slices.SortStableFunc(order, func(x, y *listed) int { return cmp.Compare(y.activity, x.activity) })
	return order
}

// filter are the rooms that a list's filters let through, in order. A room of which the user may know nothing any more is let through
// where the client is yet to be told that they are out of it: it was in some list before.
func (b *builder) filter(ctx context.Context, u *userRooms, order []*listed, f *filters) ([]*listed, error) {
	if f == nil {
		return order, nil
	}
	let := make([]*listed, 0, len(order))
	for _, l := range order {
		if f.lets(l) {
			let = append(let, l)
		}
	}
	if f.wantsTraits() {
		if err := b.check(ctx, b.reader, let, max(b.now.Position, u.upto)); err != nil {
			return nil, err
		}
		let = slices.DeleteFunc(let, func(l *listed) bool {
			return !f.letsTraits(l.traits) && (l.traits.known || !b.gone[l.membership.RoomID])
		})
	}
	if f.spaces == nil {
		return let, nil
	}
	children, err := b.children(ctx, b.reader, u, f.spaces, b.now)
	return slices.DeleteFunc(let, func(l *listed) bool { return !children[l.membership.RoomID] }), err
}

// look looks through a list's windows on its rooms.
func (b *builder) look(l *windows, rooms []*listed) List {
	answer := List{Count: len(rooms)}
	ranges := l.ranges
	if l.all {
		ranges = [][2]int{{0, max(len(rooms)-1, 0)}}
	}
	for _, r := range ranges {
		window := Window{Range: r, Rooms: []id.RoomID{}}
		for i := r[0]; i <= r[1] && i < len(rooms) && b.listed < maxListed; i++ {
			b.listed++
			window.Rooms = append(window.Rooms, rooms[i].membership.RoomID)
			b.want(rooms[i], &l.config)
		}
		answer.Windows = append(answer.Windows, window)
	}
	return answer
}

// want notes that a room is asked for.
func (b *builder) want(l *listed, c *config) {
	room := l.membership.RoomID
	if w := b.wanted[room]; w != nil {
		w.config = w.config.and(c)
		return
	}
	b.wanted[room] = &wanted{c, &l.membership, l.direct}
	b.order = append(b.order, room)
}

// room puts what is new of a room into the answer.
func (b *builder) room(ctx context.Context, room id.RoomID, w *wanted) error {
	known, shown := b.told.rooms[room]
	a := &roomAnswer{
		builder: b, id: room, wanted: w, known: known, shown: shown,
		room: &Room{Membership: w.membership.Membership},
		next: roomNews{toldRoom: toldRoom{upto: b.now.Position, membership: w.membership.Membership}},
	}
	if w.direct || known.direct {
		a.room.Direct = &w.direct
	}
	var news bool
	var err error
	switch m := w.membership; {
	case m.Membership == "join" && m.OutOfRoom: // it is about to be joined
		return nil
	case m.Membership == "join":
		news, err = a.joined(ctx)
	case m.Membership == "invite" || m.Membership == "knock":
		news, err = a.invited(ctx)
	default:
		news, err = a.left(ctx)
	}
	if err != nil || !news {
		return err
	}
	b.answer.Rooms[room], b.newsworthy = a.room, true
	if a.room.Timeline != nil {
		b.events += len(a.room.Timeline.Events)
	}
	return nil
}
