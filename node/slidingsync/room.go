package slidingsync

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/node/clientsync"
	"hanse/node/store"
)

// roomAnswer builds what is new of one room.
type roomAnswer struct {
	*builder
	id     id.RoomID
	wanted *wanted
	known  toldRoom // what the client knows; nothing unless shown
	shown  bool
	room   *Room
	next   roomNews // what it knows then
	// events is whether something may have happened beyond what the client knows, heroes who is to be told as one.
	events bool
	heroes []id.UserID
}

// joined is a room that the user is in. It tells whether there is something new.
func (a *roomAnswer) joined(ctx context.Context) (news bool, err error) {
	m, c := a.wanted.membership, a.wanted.config
	a.room.Initial = !a.shown || a.known.membership != "join"
	changes := a.stream.RoomSince(a.id, a.known.upto)
	a.events = changes.Events
	if !a.room.Initial && !a.events && !a.expands() {
		return a.quiet(ctx, changes.Receipts)
	}
	d := stateDelta{required: c.required, known: a.known.required}
	if c.required.allMembers(a.server) {
		whole, err := a.reader.Whole(ctx, a.id)
		if err != nil || !whole && a.room.Initial {
			return false, err
		}
		if !whole {
			d.required = a.known.required // more of it comes with the members; what is said is told at once
		}
	}
	if d.final, err = a.reader.State(ctx, a.id, a.now.Position); err != nil {
		return false, err
	}
	after := a.known.upto
	if a.room.Initial {
		a.known, a.next.first, after = toldRoom{}, true, 0
		d.whole, d.known = true, nil
	} else if d.has, err = a.reader.State(ctx, a.id, after); err != nil {
		return false, err
	}
	if a.room.Expanded = !a.room.Initial && c.timeline > a.known.timeline; a.room.Expanded {
		after = 0
	}
	if c.timeline > 0 {
		t, err := a.reader.Timeline(ctx, a.id, after, c.timeline)
		if err != nil {
			return false, err
		}
		a.timeline(&t)
	}
	if err := a.members(ctx, &d); err != nil {
		return false, err
	}
	if err := a.state(ctx, &d, nil); err != nil {
		return false, err
	}
	return a.finish(ctx, *m)
}

// members finds out how many members there are, if that has changed, and who helps to name the room, if they are others or are
// known by other names.
func (a *roomAnswer) members(ctx context.Context, d *stateDelta) (err error) {
	if a.room.Members, err = a.reader.Summary(ctx, a.id, d.has, d.final); err != nil || !a.wanted.config.heroes {
		return err
	}
	if a.room.Members != nil {
		a.heroes = a.room.Members.Heroes
		return nil
	}
	a.heroes, err = a.reader.Heroes(ctx, a.id, d.has, d.final)
	return err
}

// expands tells whether more is wanted than the client has, whatever has happened.
func (a *roomAnswer) expands() bool {
	return a.wanted.config.timeline > a.known.timeline || !a.wanted.config.required.within(a.known.required)
}

// quiet is a room in which nothing has happened. If receipts came and are the user's own, less may be unread.
func (a *roomAnswer) quiet(ctx context.Context, receipts bool) (news bool, err error) {
	direct := a.wanted.direct != a.known.direct
	read := false
	if receipts {
		if read, err = a.reader.HasRead(ctx, a.id, a.known.upto); err != nil {
			return false, err
		}
	}
	kept := a.known
	kept.upto, kept.members, kept.direct = a.now.Position, nil, a.wanted.direct
	if direct || read {
		if kept.unread, err = a.reader.Unread(ctx, *a.wanted.membership); err != nil {
			return false, err
		}
		a.room.Unread = kept.unread
	}
	if receipts || direct {
		a.news.rooms[a.id] = roomNews{toldRoom: kept}
	}
	return direct || kept.unread != a.known.unread, nil
}

// timeline takes a timeline into the answer.
func (a *roomAnswer) timeline(t *clientsync.Timeline) {
	a.room.Timeline = t
	if a.begins {
		return
	}
	for _, e := range slices.Backward(t.Events) {
		if e.Position <= a.since.Position {
			break
		}
		a.room.Live++
	}
}

// limited tells whether there is a gap before the timeline.
func (a *roomAnswer) limited() bool { return a.room.Timeline != nil && a.room.Timeline.Limited }

// finish adds what of a joined room is neither state nor timeline, and notes what the client knows.
func (a *roomAnswer) finish(ctx context.Context, m store.Membership) (news bool, err error) {
	if a.room.Unread, err = a.reader.Unread(ctx, m); err != nil {
		return false, err
	}
	bump, err := a.rooms.Bumped(ctx, a.id, a.now.Position)
	if err != nil {
		return false, err
	}
	if bump == 0 {
		bump = m.Position // all that was said is history from before the join
	}
	if a.next.bump = bump; bump != a.known.bump {
		a.room.Bump = bump
	}
	a.next.timeline = a.wanted.config.timeline
	if !a.room.Initial && (!a.events || a.room.Timeline != nil && !a.limited()) {
		a.next.timeline = max(a.next.timeline, a.known.timeline)
	}
	a.next.unread, a.next.direct = a.room.Unread, a.wanted.direct
	a.news.rooms[a.id] = a.next
	if _, leaving := a.told.leaving[a.id]; leaving {
		a.news.leaving[a.id] = false // and has come back
	}
	r := a.room
	return r.Initial || r.Expanded || len(r.State)+r.Rest.Len()+len(r.Heroes) > 0 || r.Timeline != nil && len(r.Timeline.Events) > 0 || r.Members != nil ||
		r.Bump != 0 || r.Name != nil || r.Avatar != nil || r.Unread != a.known.unread || a.wanted.direct != a.known.direct, nil
}

// invited is a room that the user is invited to, or knocked at.
func (a *roomAnswer) invited(ctx context.Context) (news bool, err error) {
	m := a.wanted.membership
	same := a.shown && a.known.membership == m.Membership
	if same && m.Position <= a.known.upto || a.reader.Hides(*m) {
		return false, nil
	}
	a.room.Initial, a.next.first = !same, true
	a.room.Bump, a.next.bump = m.Position, m.Position
	a.room.Stripped, err = a.reader.Stripped(ctx, *m)
	a.news.rooms[a.id] = a.next
	if _, leaving := a.told.leaving[a.id]; leaving {
		a.news.leaving[a.id] = false
	}
	return true, err
}

// left is a room that the user has left, was removed from, or was not let into. They are told how it was when they left; where they
// never were in it, that they are out.
func (a *roomAnswer) left(ctx context.Context) (news bool, err error) {
	m, c := a.wanted.membership, a.wanted.config
	if a.shown && m.Position <= a.known.upto && (a.known.membership == "leave" || a.known.membership == "ban") {
		return false, nil
	}
	wasIn := a.shown && a.known.membership == "join"
	a.room.Initial, a.next.first = !a.shown || m.EventID == "", !wasIn
	a.room.Bump, a.next.bump = m.Position, m.Position
	a.next.timeline = c.timeline
	a.news.rooms[a.id], a.news.leaving[a.id] = a.next, false
	if m.EventID == "" { // state resolution has found that they never were in it
		return true, nil
	}
	d := stateDelta{required: c.required, whole: !wasIn}
	timeline, final, was, err := a.reader.Left(ctx, *m, a.known.upto, c.timeline)
	if err != nil {
		return false, err
	}
	if c.timeline > 0 {
		a.timeline(&timeline)
	}
	if d.final = final; wasIn {
		d.known = a.known.required
		if d.has, err = a.reader.State(ctx, a.id, a.known.upto); err != nil {
			return false, err
		}
	}
	if !was || a.shown && !wasIn {
		d = stateDelta{} // nothing of it is theirs to see, or they have seen its end
	}
	return true, a.state(ctx, &d, &m.EventID)
}

// stateDelta is between what states a client is to be brought.
type stateDelta struct {
	required union         // what is wanted
	known    union         // of what the client has, as it was in has
	has      roomstate.Map // empty if it begins
	final    roomstate.Map // where it is to arrive
	whole    bool          // it begins
}

// state puts in the state, the name, the picture and the heroes. own, if there is one, is an event that is told in any case.
func (a *roomAnswer) state(ctx context.Context, d *stateDelta, own *id.EventID) error {
	wanted, err := a.stateToTell(ctx, d)
	if err != nil {
		return err
	}
	told := make(map[id.EventID]bool, len(wanted)+1)
	for _, event := range wanted {
		told[event] = true
	}
	if own != nil {
		told[*own] = true
	}
	looks, err := d.looks(a.heroes)
	if err != nil {
		return err
	}
	if len(told) > clientsync.MaxStateRows {
		a.room.Rest = a.reader.Rest(a.id, slices.Collect(maps.Keys(told)))
		clear(told)
	}
	rows, err := a.read(ctx, told, append(looks.heroes, looks.name, looks.avatar))
	if err != nil {
		return err
	}
	byID := make(map[id.EventID]clientsync.Decorated, len(rows))
	for _, row := range rows {
		byID[row.Event.ID()] = row
		if told[row.Event.ID()] {
			a.room.State = append(a.room.State, row)
		}
	}
	slices.SortFunc(a.room.State, func(x, y clientsync.Decorated) int {
		if x.Topological().Before(y.Topological()) {
			return -1
		}
		return 1
	})
	if a.room.Name, err = d.text("m.room.name", looks.name, byID[looks.name], "name"); err != nil {
		return err
	}
	if a.room.Avatar, err = d.text("m.room.avatar", looks.avatar, byID[looks.avatar], "url"); err != nil {
		return err
	}
	for _, member := range looks.heroes {
		if row, there := byID[member]; there {
			a.room.Heroes = append(a.room.Heroes, heroOf(row))
		}
	}
	return nil
}

// stateToTell is what of the state the client is to be brought. It notes what the client has of the state from then on.
func (a *roomAnswer) stateToTell(ctx context.Context, d *stateDelta) (map[roomstate.Key]id.EventID, error) {
	wanted, missed, members, newcomers, err := d.changes()
	if err == nil {
		err = d.added(wanted)
	}
	if err != nil {
		return nil, err
	}
	if d.required.lazy() {
		if len(newcomers) > 0 {
			came, err := a.reader.MembersCame(ctx, a.id, a.known.upto)
			if err != nil {
				return nil, err
			}
			if !came {
				members = append(members, newcomers...)
			}
		}
		if err := a.lazyLoad(d, wanted, members); err != nil {
			return nil, err
		}
	}
	a.next.required = d.required
	if !missed && len(d.known)+len(d.required) <= maxKeptRequired {
		a.next.required = d.required.withAll(d.known) // it has this too, if it is wanted again
	}
	return wanted, nil
}

// looks are the events that say what a room looks like in a list; "" is none.
type looks struct {
	name, avatar id.EventID
	heroes       []id.EventID // the members among them that there are
}

func (d *stateDelta) looks(heroes []id.UserID) (l looks, err error) {
	if l.name, err = d.final.Event("m.room.name", ""); err != nil {
		return l, err
	}
	if l.avatar, err = d.final.Event("m.room.avatar", ""); err != nil {
		return l, err
	}
	for _, hero := range heroes {
		member, err := d.final.Event(memberType, string(hero))
		if err != nil {
			return l, err
		}
		if member != "" {
			l.heroes = append(l.heroes, member)
		}
	}
	return l, nil
}

// read reads the events of two lists, each once; "" is none.
func (a *roomAnswer) read(ctx context.Context, told map[id.EventID]bool, others []id.EventID) ([]clientsync.Decorated, error) {
	ids := make([]id.EventID, 0, len(told)+len(others))
	for event := range told {
		ids = append(ids, event)
	}
	for _, event := range others {
		if event != "" && !told[event] {
			ids = append(ids, event)
		}
	}
	return a.reader.Events(ctx, ids)
}

// changes are the wanted changes of the state; missed tells whether something has changed that the client has and doesn't want any
// more, members whose membership has, newcomers who had none.
func (d *stateDelta) changes() (wanted map[roomstate.Key]id.EventID, missed bool, members, newcomers []id.UserID, err error) {
	wanted = map[roomstate.Key]id.EventID{}
	if d.whole {
		return wanted, false, nil, nil, nil
	}
	for change, err := range d.has.Changes(d.final) {
		if err != nil {
			return nil, false, nil, nil, err
		}
		switch {
		case change.Key.Type != memberType:
		case change.Old == "":
			newcomers = append(newcomers, id.UserID(change.Key.StateKey))
		default:
			members = append(members, id.UserID(change.Key.StateKey))
		}
		switch {
		case !d.required.matches(change.Key):
			missed = missed || d.known.matches(change.Key)
		case change.New != "":
			wanted[change.Key] = change.New
		}
	}
	return wanted, missed, members, newcomers, nil
}

// added adds the state that is wanted now and that the client hasn't got, though it hasn't changed.
func (d *stateDelta) added(wanted map[roomstate.Key]id.EventID) error {
	for _, r := range d.required {
		if (union{r}).within(d.known) {
			continue
		}
		for e, err := range r.of(d.final) {
			if err != nil {
				return err
			}
			if r.matches(e.Key) && !d.known.matches(e.Key) {
				wanted[e.Key] = e.Event
			}
		}
	}
	return nil
}

// text is a text of a state without a key, if the client doesn't know it; "" if it is to know that there is none any more. now is the event
// of that type, row the event if there is one.
func (d *stateDelta) text(typ string, now id.EventID, row clientsync.Decorated, name string) (*string, error) {
	was, err := d.has.Event(typ, "")
	if err != nil || was == now {
		return nil, err
	}
	var t *string
	if row.Event != nil {
		t = field(row, name)
	}
	if t == nil && !d.whole {
		t = new(string)
	}
	if t != nil && *t == "" && d.whole {
		return nil, nil
	}
	return t, nil
}

// lazyLoad adds the members that the client needs to show the timeline, unless it was told of them, and, where the timeline has no
// gap before it, those that have changed.
func (a *roomAnswer) lazyLoad(d *stateDelta, wanted map[roomstate.Key]id.EventID, changed []id.UserID) error {
	needed := map[id.UserID]bool{}
	if a.room.Timeline != nil {
		for _, e := range a.room.Timeline.Events {
			needed[e.Event.Sender()] = true
			if member, isState := e.Event.StateKey(); isState && e.Event.Type() == memberType {
				needed[id.UserID(member)] = true
			}
		}
	}
	if !d.whole && !a.limited() {
		for _, member := range changed {
			needed[member] = true
		}
	}
	for member := range needed {
		key := roomstate.Key{Type: memberType, StateKey: string(member)}
		event, err := d.final.Event(key.Type, key.StateKey)
		if err != nil {
			return err
		}
		if event == "" || d.required.matches(key) || a.known.members[member] == event {
			continue
		}
		wanted[key] = event
		if a.next.members == nil {
			a.next.members = map[id.UserID]id.EventID{}
		}
		a.next.members[member] = event
	}
	return nil
}

func field(row clientsync.Decorated, name string) *string {
	var content map[string]json.RawMessage
	var t *string
	if exactjson.Unmarshal(row.Event.Content(), &content) != nil || exactjson.Unmarshal(content[name], &t) != nil {
		return nil
	}
	return t
}

func heroOf(row clientsync.Decorated) Hero {
	user, _ := row.Event.StateKey()
	return Hero{User: id.UserID(user), DisplayName: field(row, "displayname"), Avatar: field(row, "avatar_url")}
}
