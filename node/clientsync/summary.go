package clientsync

import (
	"cmp"
	"context"
	"slices"

	"hanse/federation/event"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/node/store"
)

// summary is given when members or the room's name have changed.
func (b *builder) summary(ctx context.Context, room id.RoomID, known, current roomstate.Map) (*Summary, error) {
	if !b.request.FullState && known.Len() > 0 {
		if known.Equal(current) { // most often it is
			return nil, nil
		}
		changed, err := b.summaryChanged(ctx, known, current)
		if err != nil || !changed {
			return nil, err
		}
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

// summaryChanged tells whether the summary may be another one: a member's other name or picture makes no difference.
func (b *builder) summaryChanged(ctx context.Context, known, current roomstate.Map) (bool, error) {
	var ids []id.EventID
	for change, err := range known.Changes(current) {
		if err != nil {
			return false, err
		}
		switch change.Key.Type {
		case "m.room.name", "m.room.canonical_alias":
			return true, nil
		case "m.room.member":
			if change.Old == "" || change.New == "" || len(ids) >= maxMembersCompared {
				return true, nil
			}
			ids = append(ids, change.Old, change.New)
		}
	}
	members, err := b.events(ctx, ids)
	for i := 0; i < len(ids) && err == nil; i += 2 {
		was, is := members[ids[i]].Event, members[ids[i+1]].Event
		if was == nil || is == nil || was.Membership() != is.Membership() {
			return true, nil
		}
	}
	return false, err
}

// named tells whether the room has a name or an alias that stands for one.
func (b *builder) named(ctx context.Context, current roomstate.Map) (bool, error) {
	events, err := b.store.StateEvents(ctx, current,
		roomstate.Key{Type: "m.room.name"}, roomstate.Key{Type: "m.room.canonical_alias"})
	return slices.ContainsFunc(events, func(e *event.Event) bool {
		var content struct {
			Name  string `json:"name"`
			Alias string `json:"alias"`
		}
		return exactjson.Unmarshal(e.Content(), &content) == nil && content.Name+content.Alias != ""
	}), err
}

// heroes are the first of the other members: the joined and invited, or where there are none those who were there.
func (b *builder) heroes(ctx context.Context, room id.RoomID, invited []store.Membership) ([]id.UserID, error) {
	heroes := []id.UserID{}
	add := func(members []store.Membership) {
		slices.SortStableFunc(members, func(x, y store.Membership) int { return cmp.Compare(x.Position, y.Position) })
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
