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
)

// joinedRoom is what is new in a room that the user is in.
func (b *builder) joinedRoom(ctx context.Context, m store.Membership) (*JoinedRoom, error) {
	fresh, after := b.fresh(m.RoomID), b.since()
	if fresh {
		after = 0
		b.sent.forget(sentKey{b.request.User, b.request.Device, m.RoomID})
	}
	room := &JoinedRoom{AccountData: b.data[m.RoomID]}
	if fresh && !b.request.Initial {
		all, err := b.roomData(ctx, m.RoomID)
		if err != nil {
			return nil, err
		}
		room.AccountData = all
	}
	var err error
	if room.Timeline, err = b.timeline(ctx, m.RoomID, after, b.now.Position); err != nil {
		return nil, err
	}
	known := roomstate.Map{} // what the client has
	if !fresh && !b.request.FullState {
		if known, err = b.store.CurrentStateAt(ctx, m.RoomID, after); err != nil {
			return nil, err
		}
	}
	current, err := b.store.CurrentStateAt(ctx, m.RoomID, b.now.Position)
	if err != nil {
		return nil, err
	}
	if room.Summary, err = b.summary(ctx, m.RoomID, known, current); err != nil {
		return nil, err
	}
	if room.State, err = b.state(ctx, m.RoomID, room.Timeline.Events, known, current, room.Summary); err != nil {
		return nil, err
	}
	return room, b.ephemeralOf(ctx, room, m.RoomID, after, fresh)
}

// roomData is all the user's account data of a room.
func (b *builder) roomData(ctx context.Context, room id.RoomID) ([]store.AccountData, error) {
	entries, err := b.store.AccountDataChanges(ctx, b.request.User, 0, b.now.Position)
	return slices.DeleteFunc(entries, func(entry store.AccountData) bool {
		return entry.Room != room || !b.request.Filter.Room.AccountData.Match(entry.Type, "")
	}), err
}

func (b *builder) ephemeralOf(ctx context.Context, room *JoinedRoom, roomID id.RoomID, after store.Position, fresh bool) error {
	filter := b.request.Filter.Room.Ephemeral
	if !filter.MatchRoom(roomID) {
		return nil
	}
	if filter.Match("m.typing", "") {
		typing, serial := b.ephemeral.Typing(roomID)
		if fresh || b.request.FullState {
			room.HasTyping = len(typing) > 0
		} else {
			room.HasTyping = serial > b.request.Since.Typing
		}
		room.Typing = typing
	}
	if !filter.Match("m.receipt", "") {
		return nil
	}
	if b.request.FullState {
		after = 0
	}
	receipts, err := b.store.Receipts(ctx, roomID, after, b.now.Position)
	room.Receipts = slices.DeleteFunc(receipts, func(r store.Receipt) bool {
		return r.Type == ephemeral.ReadPrivate && r.User != b.request.User
	})
	return err
}

// timeline is the newest wanted and visible events in (after, upto].
func (b *builder) timeline(ctx context.Context, room id.RoomID, after, upto store.Position) (Timeline, error) {
	filter := b.request.Filter.Room.Timeline
	limit := DefaultTimeline
	if filter.Limit > 0 {
		limit = min(filter.Limit, maxTimeline)
	}
	if !filter.MatchRoom(room) {
		place, err := b.store.TopologicalAt(ctx, room, upto)
		return Timeline{PrevBatch: place}, err
	}
	var rows []store.EventRow // the newest first
	limited, end := false, upto
	for scanned := 0; scanned < maxScan; {
		page, more, err := b.store.Timeline(ctx, room, after, end, limit+1, true)
		if err != nil {
			return Timeline{}, err
		}
		visible, err := b.rooms.Visible(ctx, b.request.User, room, page)
		if err != nil {
			return Timeline{}, err
		}
		for _, row := range visible {
			if filter.MatchEvent(row.Event) {
				rows = append(rows, row)
			}
		}
		scanned += len(page)
		if limited = more; len(rows) > limit || !more || len(page) == 0 {
			break
		}
		end = page[len(page)-1].Position - 1
	}
	if len(rows) > limit {
		rows, limited = rows[:limit], true
	}
	slices.Reverse(rows)
	if len(rows) == 0 {
		place, err := b.store.TopologicalAt(ctx, room, upto)
		return Timeline{PrevBatch: place, Limited: limited}, err
	}
	events, err := b.Decorate(ctx, b.request.User, b.request.Device, rows)
	return Timeline{Events: events, Limited: limited, PrevBatch: rows[0].Topological()}, err
}

// state is what a client must be told besides the timeline, so that it arrives at the current state: it knows `known`,
// then applies the answer's state, then the timeline's state events in their order.
func (b *builder) state(ctx context.Context, room id.RoomID, timeline []Decorated, known, current roomstate.Map, summary *Summary) ([]store.EventRow, error) {
	filter := b.request.Filter.Room.State
	if !filter.MatchRoom(room) {
		return nil, nil
	}
	start := current // the state before the timeline
	if len(timeline) > 0 && !b.request.StateAfter {
		before, ok, err := b.store.StateBefore(ctx, timeline[0].Event.ID())
		if err != nil {
			return nil, err
		}
		if ok {
			start = before
		}
	}
	inTimeline := map[roomstate.Key]bool{}
	if !b.request.StateAfter {
		for _, d := range timeline {
			if stateKey, isState := d.Event.StateKey(); isState {
				inTimeline[roomstate.Key{Type: d.Event.Type(), StateKey: stateKey}] = true
			}
		}
	}
	wanted := map[roomstate.Key]id.EventID{}
	for change := range known.Diff(current) { // whatever changed: also by resolution, without an event
		if change.New != "" && !inTimeline[change.Key] {
			wanted[change.Key] = change.New
		}
	}
	if len(inTimeline) > 0 {
		for change := range known.Diff(start) { // what the timeline's own state events replaced
			if change.New != "" && inTimeline[change.Key] {
				wanted[change.Key] = change.New
			}
		}
	}
	if filter.LazyLoadMembers {
		b.lazyLoad(room, timeline, wanted, start, current, summary)
	}
	ids := make([]id.EventID, 0, len(wanted))
	for _, eventID := range wanted {
		ids = append(ids, eventID)
	}
	rows, err := b.RowsOf(ctx, ids)
	rows = slices.DeleteFunc(rows, func(row store.EventRow) bool { return !filter.MatchEvent(row.Event) })
	slices.SortFunc(rows, func(x, y store.EventRow) int {
		if x.Topological().Before(y.Topological()) {
			return -1
		}
		return 1
	})
	return rows, err
}

// lazyLoad leaves only those members in the wanted state whom the client needs to show the timeline and the room's name,
// and adds them where they were not there. spec:client-server-api#lazy-loading-room-members
func (b *builder) lazyLoad(room id.RoomID, timeline []Decorated, wanted map[roomstate.Key]id.EventID, start, current roomstate.Map, summary *Summary) {
	needed := map[id.UserID]bool{b.request.User: true}
	for _, d := range timeline {
		needed[d.Event.Sender()] = true
	}
	if summary != nil {
		for _, hero := range summary.Heroes {
			needed[hero] = true
		}
	}
	for key := range wanted {
		if key.Type == "m.room.member" && !needed[id.UserID(key.StateKey)] {
			delete(wanted, key)
		}
	}
	remembered := sentKey{b.request.User, b.request.Device, room}
	for member := range needed {
		key := roomstate.Key{Type: "m.room.member", StateKey: string(member)}
		eventID, ok := start.Get(key.Type, key.StateKey)
		if !ok {
			eventID, ok = current.Get(key.Type, key.StateKey)
		}
		if !ok {
			continue
		}
		_, changed := wanted[key]
		if known := b.sent.remember(remembered, member, eventID); !changed && (!known || b.request.Filter.Room.State.IncludeRedundantMembers) {
			wanted[key] = eventID
		}
	}
}

// summary is given when members or the room's name have changed.
func (b *builder) summary(ctx context.Context, room id.RoomID, known, current roomstate.Map) (*Summary, error) {
	changed := b.request.FullState
	for change := range known.Diff(current) {
		if change.Key.Type == "m.room.member" || change.Key.Type == "m.room.name" || change.Key.Type == "m.room.canonical_alias" {
			changed = true
			break
		}
	}
	if !changed {
		return nil, nil
	}
	info, _, err := b.store.Room(ctx, room)
	if err != nil {
		return nil, err
	}
	invited, err := b.store.Members(ctx, room, store.MemberFilter{Membership: "invite"})
	if err != nil {
		return nil, err
	}
	summary := &Summary{Joined: info.Joined, Invited: len(invited)}
	named, err := b.named(ctx, current)
	if err != nil || named {
		return summary, err
	}
	summary.Heroes, err = b.heroes(ctx, room, invited)
	return summary, err
}

// named tells whether the room has a name or an alias that stands for one.
func (b *builder) named(ctx context.Context, current roomstate.Map) (bool, error) {
	events, err := b.store.StateEvents(ctx, current,
		roomstate.Key{Type: "m.room.name"}, roomstate.Key{Type: "m.room.canonical_alias"})
	return slices.ContainsFunc(events, func(e *event.Event) bool {
		var content struct{ Name, Alias string }
		return json.Unmarshal(e.Content(), &content) == nil && content.Name+content.Alias != ""
	}), err
}

// heroes are the first of the other members: the joined and invited, or where there are none those who were there.
func (b *builder) heroes(ctx context.Context, room id.RoomID, invited []store.Membership) ([]id.UserID, error) {
	heroes := []id.UserID{}
	add := func(members []store.Membership) {
		slices.SortFunc(members, func(x, y store.Membership) int { return int(x.Position - y.Position) })
		for _, m := range members {
			if m.User != b.request.User && len(heroes) < maxHeroes {
				heroes = append(heroes, m.User)
			}
		}
	}
	joined, err := b.store.Members(ctx, room, store.MemberFilter{Membership: "join", Limit: maxHeroes + 1})
	if err != nil {
		return nil, err
	}
	add(joined)
	add(invited)
	for _, membership := range []string{"leave", "ban"} {
		if len(heroes) > 0 {
			break
		}
		gone, err := b.store.Members(ctx, room, store.MemberFilter{Membership: membership, Limit: maxHeroes + 1})
		if err != nil {
			return nil, err
		}
		add(gone)
	}
	return heroes, nil
}

// leftRoom is what happened until the user left, was removed, or turned an invite down.
func (b *builder) leftRoom(ctx context.Context, m store.Membership) (*LeftRoom, error) {
	room := &LeftRoom{AccountData: b.data[m.RoomID]}
	if m.OutOfRoom {
		rows, err := b.RowsOf(ctx, []id.EventID{m.EventID})
		if err != nil || len(rows) == 0 {
			return room, err
		}
		room.Timeline.Events, err = b.Decorate(ctx, b.request.User, b.request.Device, rows)
		return room, err
	}
	wasJoined := b.request.Initial || b.before[m.RoomID] == "join"
	if !wasJoined && b.request.FullState && m.Position <= b.since() {
		wasJoined = true
	}
	after := b.since()
	if b.request.FullState {
		after = 0
	}
	var err error
	if room.Timeline, err = b.timeline(ctx, m.RoomID, after, m.Position); err != nil || !wasJoined {
		return room, err
	}
	known := roomstate.Map{}
	if after > 0 {
		if known, err = b.store.CurrentStateAt(ctx, m.RoomID, after); err != nil {
			return nil, err
		}
	}
	final, err := b.store.CurrentStateAt(ctx, m.RoomID, m.Position)
	if err != nil {
		return nil, err
	}
	room.State, err = b.state(ctx, m.RoomID, room.Timeline.Events, known, final, nil)
	return room, err
}

// stripped is the state that an invited or knocking user is shown. spec:client-server-api#stripped-state
func (b *builder) stripped(ctx context.Context, m store.Membership) ([]json.RawMessage, error) {
	if m.OutOfRoom {
		// What came along describes the room; who invited the user is in the membership event itself.
		row, ok, err := b.store.Event(ctx, m.EventID)
		if err != nil || !ok {
			return m.Stripped, err
		}
		return append(slices.Clip(m.Stripped), event.Stripped(row.Event)), nil
	}
	current, err := b.store.CurrentStateAt(ctx, m.RoomID, b.now.Position)
	if err != nil {
		return nil, err
	}
	keys := []roomstate.Key{{Type: "m.room.member", StateKey: string(b.request.User)}, {Type: "m.room.member", StateKey: string(m.Sender)}}
	for _, typ := range []string{
		"m.room.create", "m.room.name", "m.room.avatar", "m.room.topic", "m.room.join_rules", "m.room.canonical_alias", "m.room.encryption",
	} {
		keys = append(keys, roomstate.Key{Type: typ})
	}
	events, err := b.store.StateEvents(ctx, current, keys...)
	stripped := make([]json.RawMessage, 0, len(events))
	for _, e := range events {
		stripped = append(stripped, event.Stripped(e))
	}
	return stripped, err
}
