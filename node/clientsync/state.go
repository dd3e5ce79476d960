package clientsync

import (
	"context"
	"slices"

	"hanse/federation/id"
	"hanse/federation/roomstate"
)

// stateDelta is between what states a client is to be brought.
type stateDelta struct {
	room     id.RoomID
	timeline []*entry
	has      roomstate.Map // what the client has at since; empty if it has nothing
	known    roomstate.Map // what it need not be told: has, or nothing if it wants the full state
	final    roomstate.Map // where it is to arrive
	whole    bool          // it begins anew, or wants the full state
	heroes   []id.UserID
}

// state is what a client must be told besides the timeline, so that it arrives at the final state: it knows `known`,
// then applies the answer's state, then the timeline's state events in their order. With StateAfter it applies the
// answer's state alone. Of a large state all is in the rest.
func (b *builder) state(ctx context.Context, d stateDelta) ([]Decorated, *Rest, error) {
	filter := b.request.Filter.Room.State
	if !filter.MatchRoom(d.room) {
		return nil, nil, nil
	}
	start := d.final // the state before the timeline
	told := map[roomstate.Key]bool{}
	if len(d.timeline) > 0 && !b.request.StateAfter {
		if first := d.timeline[0]; first.placed {
			start = first.before
		}
		for _, e := range d.timeline {
			if key, isState := stateKey(e.Event); isState {
				told[key] = true
			}
		}
	}
	wanted := map[roomstate.Key]id.EventID{}
	if !d.known.Equal(d.final) { // most often it is
		if err := d.changed(wanted, filter.LazyLoadMembers, told); err != nil {
			return nil, nil, err
		}
	}
	for key := range told { // what the timeline's own state events replaced
		replaced, err := start.Event(key.Type, key.StateKey)
		if err != nil {
			return nil, nil, err
		}
		known, err := d.known.Event(key.Type, key.StateKey)
		if err != nil {
			return nil, nil, err
		}
		if replaced != "" && replaced != known {
			wanted[key] = replaced
		}
	}
	if filter.LazyLoadMembers {
		came, err := b.membersCame(ctx, d.room, b.since())
		if err != nil {
			return nil, nil, err
		}
		if err := b.lazyLoad(d, came, wanted, told, start); err != nil {
			return nil, nil, err
		}
	}
	ids := make([]id.EventID, 0, len(wanted))
	for _, eventID := range wanted {
		ids = append(ids, eventID)
	}
	if len(ids) > MaxStateRows || b.held > b.answerBytes {
		return nil, &Rest{b.Syncer, d.room, ids, filter.MatchEvent}, nil
	}
	rows, err := b.stateRows(ctx, ids)
	for _, row := range rows {
		b.held += row.Event.Size()
	}
	rows = slices.DeleteFunc(rows, func(row Decorated) bool { return !filter.MatchEvent(row.Event) })
	sortRows(rows)
	return rows, nil, err
}

// changed adds to wanted whatever changed and isn't told: also by resolution, without an event. From the start a lazily loaded room has no member in it
// that hasn't changed since: those who are needed are few, and asked for one by one.
func (d *stateDelta) changed(wanted map[roomstate.Key]id.EventID, lazy bool, told map[roomstate.Key]bool) error {
	want := func(key roomstate.Key, event id.EventID) {
		if event != "" && !told[key] {
			wanted[key] = event
		}
	}
	known := d.known
	if lazy && known.Len() == 0 {
		for e, err := range d.final.OtherTypes("m.room.member") {
			if err != nil {
				return err
			}
			want(e.Key, e.Event)
		}
		if known = d.has; known.Len() == 0 {
			return nil
		}
	}
	for change, err := range known.Changes(d.final) {
		if err != nil {
			return err
		}
		want(change.Key, change.New)
	}
	return nil
}

// lazyLoad leaves only those members in the wanted state whom the client needs to show the timeline and the room's name,
// and whoever has changed since it last asked, and adds them where they were not there. Who is there only since the room became whole
// hasn't changed: they would be all members of a large room.
//
// spec:client-server-api#lazy-loading-room-members
func (b *builder) lazyLoad(d stateDelta, membersCame bool, wanted map[roomstate.Key]id.EventID, told map[roomstate.Key]bool, start roomstate.Map) error {
	needed := map[id.UserID]bool{}
	if d.whole {
		needed[b.request.User] = true
	}
	for _, e := range d.timeline {
		needed[e.Event.Sender()] = true
	}
	for _, hero := range d.heroes {
		needed[hero] = true
	}
	for key, eventID := range wanted {
		if key.Type != "m.room.member" || needed[id.UserID(key.StateKey)] {
			continue
		}
		has, err := d.has.Event(key.Type, key.StateKey)
		if err != nil {
			return err
		}
		if d.has.Len() == 0 || has == eventID || has == "" && membersCame {
			delete(wanted, key)
		}
	}
	device := sentKey{b.request.User, b.request.Device, d.room}
	for member := range needed {
		key := roomstate.Key{Type: "m.room.member", StateKey: string(member)}
		from := d.final
		if told[key] {
			from = start
		}
		eventID, err := from.Event(key.Type, key.StateKey)
		if err != nil {
			return err
		}
		if eventID == "" {
			continue // the timeline tells when they came
		}
		_, there := wanted[key]
		if known := b.sent.remember(device, member, eventID, b.now.Position); there {
			continue
		} else if !known || d.known.Len() == 0 || b.request.Filter.Room.State.IncludeRedundantMembers {
			wanted[key] = eventID
		}
	}
	return nil
}
