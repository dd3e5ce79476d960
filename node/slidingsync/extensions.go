package slidingsync

import (
	"context"
	"slices"
	"strconv"

	"hanse/federation/id"
	"hanse/node/store"
)

// inScope are the rooms that an extension tells of: of those that the answer may have, and that the client knows.
func (b *builder) inScope(s *scope) []id.RoomID {
	if s.rooms == nil {
		return b.shown // which has the lists' too
	}
	in := map[id.RoomID]bool{}
	for _, room := range s.rooms {
		in[id.RoomID(room)] = true
	}
	for name, list := range b.answer.Lists {
		if s.lists != nil && !slices.Contains(s.lists, name) {
			continue
		}
		for _, window := range list.Windows {
			for _, room := range window.Rooms {
				in[room] = true
			}
		}
	}
	rooms := make([]id.RoomID, 0, len(in))
	for _, room := range b.shown {
		if in[room] {
			rooms = append(rooms, room)
		}
	}
	return rooms
}

// joinedInScope leaves out the rooms that the user isn't in.
func (b *builder) joinedInScope(s *scope) []id.RoomID {
	return slices.DeleteFunc(slices.Clone(b.inScope(s)), func(room id.RoomID) bool {
		return b.wanted[room].membership.Membership != "join" || b.wanted[room].membership.OutOfRoom
	})
}

// toDevice puts in the messages to the device.
func (b *builder) toDevice(ctx context.Context) error {
	r := b.request.extensions.toDevice
	if r == nil {
		return nil
	}
	if r.since > b.now.Position || b.request.MessagesAside { // from before the database was put back, or made up; or they go another way
		b.answer.ToDevice = &ToDevice{Next: number(r.since)}
		return nil
	}
	messages, err := b.Syncer.rooms.ToDevice(ctx, b.request.User, b.request.Device, r.since, b.now.Position, r.limit)
	next := b.now.Position
	if len(messages) == r.limit { // what is behind them comes next
		next = messages[len(messages)-1].Position
	}
	b.answer.ToDevice = &ToDevice{Next: number(next), Messages: messages}
	b.newsworthy = b.newsworthy || len(messages) > 0
	return err
}

func number(at store.Position) string { return strconv.FormatInt(int64(at), 10) }

// encryption puts in whose devices have changed, and how many keys the device has.
func (b *builder) encryption(ctx context.Context) error {
	if !b.request.extensions.encryption {
		return nil
	}
	user := b.request.User
	counts, unused, err := b.Syncer.rooms.KeyCounts(ctx, user, b.request.Device, b.now.Position)
	if err != nil {
		return err
	}
	b.answer.Encryption = &Encryption{OneTimeKeys: counts, Unused: unused}
	if b.begins {
		return nil
	}
	lists, err := b.Syncer.rooms.DeviceLists(ctx, user, b.since.Position, b.now.Position)
	b.answer.Encryption.Lists = &lists
	b.newsworthy = b.newsworthy || len(lists.Changed)+len(lists.Left) > 0 || b.stream.OneTimeKeysSince(user, b.since.Position)
	return err
}

// accountData puts in the user's account data: all that isn't of a room, and of rooms what the connection has not told.
func (b *builder) accountData(ctx context.Context) error {
	s := b.request.extensions.accountData
	if s == nil {
		return nil
	}
	a := &AccountData{Whole: b.begins, Rooms: map[id.RoomID][]store.AccountData{}}
	b.answer.AccountData = a
	in := map[id.RoomID]bool{} // whether all of it is to be told
	whole := b.begins
	for _, room := range b.inScope(s) {
		_, told := b.told.data[room]
		if in[room] = !told; !told {
			b.news.data[room], whole = true, true
		}
	}
	_, changed := b.stream.UserSince(b.request.User, b.since.Position)
	after := b.since.Position
	switch {
	case whole:
		after = 0
	case !changed:
		return nil
	}
	entries, err := b.store.AccountDataChanges(ctx, b.request.User, after, b.now.Position)
	if err != nil {
		return err
	}
	if whole && changed && !b.begins { // what was deleted is told as changed alone
		newer, err := b.store.AccountDataChanges(ctx, b.request.User, b.since.Position, b.now.Position)
		if err != nil {
			return err
		}
		entries = slices.DeleteFunc(entries, func(e store.AccountData) bool { return e.Position > b.since.Position })
		entries = append(entries, newer...)
	}
	for _, entry := range entries {
		fresh := b.begins || entry.Position > b.since.Position
		all, scoped := in[entry.Room]
		switch {
		case entry.Room == "":
			if fresh {
				a.Global = append(a.Global, entry)
			}
		case scoped && (all || fresh):
			a.Rooms[entry.Room] = append(a.Rooms[entry.Room], entry)
		case fresh && !scoped:
			if _, told := b.told.data[entry.Room]; told {
				b.news.data[entry.Room] = false
			}
		}
	}
	b.newsworthy = b.newsworthy || len(a.Global)+len(a.Rooms) > 0
	return nil
}

// receipts puts in rooms' receipts: of a room that begins the user's own, and those at the events of the timeline.
func (b *builder) receipts(ctx context.Context) error {
	s := b.request.extensions.receipts
	if s == nil {
		return nil
	}
	b.answer.Receipts = map[id.RoomID][]store.Receipt{}
	for _, room := range b.joinedInScope(s) {
		upto, told := b.told.receipts[room]
		answer := b.answer.Rooms[room]
		begins := !told || answer != nil && (answer.Initial || answer.Expanded)
		if !begins && !b.stream.RoomSince(room, upto).Receipts {
			continue
		}
		b.news.receipts[room] = b.now.Position
		var receipts []store.Receipt
		var err error
		if told {
			receipts, err = b.reader.Receipts(ctx, room, upto)
		}
		if begins && err == nil {
			receipts, err = b.firstReceipts(ctx, room, answer, receipts)
		}
		if err != nil {
			return err
		}
		if len(receipts) > 0 {
			b.answer.Receipts[room], b.newsworthy = receipts, true
		}
	}
	return nil
}

// firstReceipts adds to the new ones those that a client needs which begins with a timeline.
func (b *builder) firstReceipts(ctx context.Context, room id.RoomID, answer *Room, fresh []store.Receipt) ([]store.Receipt, error) {
	receipts, err := b.reader.UserReceipts(ctx, room)
	if err != nil {
		return nil, err
	}
	for _, r := range fresh {
		if r.User != b.request.User {
			receipts = append(receipts, r)
		}
	}
	if answer == nil || answer.Timeline == nil || len(answer.Timeline.Events) == 0 {
		return receipts, nil
	}
	shown := map[id.EventID]bool{}
	for _, e := range answer.Timeline.Events {
		shown[e.Event.ID()] = true
	}
	all, err := b.reader.Receipts(ctx, room, max(answer.Timeline.Events[0].Position, 0)) // a receipt comes after its event
	for _, r := range all {
		if shown[r.Event] && r.User != b.request.User && !slices.Contains(fresh, r) {
			receipts = append(receipts, r)
		}
	}
	return receipts, err
}

// typing puts in who types. That somebody did while a room was out of sight is no news any more, unless the client was told of
// somebody who doesn't any more.
func (b *builder) typing(context.Context) error {
	s := b.request.extensions.typing
	if s == nil {
		return nil
	}
	b.answer.Typing = map[id.RoomID][]id.UserID{}
	tell := func(room id.RoomID, evenNobody bool) {
		users, serial := b.ephemeral.Typing(room)
		if len(users) == 0 && !evenNobody {
			return
		}
		b.answer.Typing[room], b.newsworthy = users, true
		if b.news.typing[room] = serial; len(users) == 0 {
			b.news.typing[room] = 0
		}
	}
	rooms := b.joinedInScope(s)
	for _, room := range rooms {
		last, told := b.told.typing[room]
		_, serial := b.ephemeral.Typing(room)
		answer := b.answer.Rooms[room]
		if answer != nil && answer.Initial || told && serial != last {
			tell(room, told)
		}
	}
	if b.now.Typing > b.since.Typing {
		for _, room := range b.ephemeral.TypingSince(rooms, b.since.Typing) {
			tell(room, !b.begins)
		}
	}
	return nil
}
