package rooms

import (
	"context"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/node/store"
)

// Values of m.room.history_visibility. What is not understood means shared.
//
// spec:client-server-api/modules/history_visibility#server-behaviour
const (
	visibleToWorld   = "world_readable"
	visibleShared    = "shared"
	visibleToInvited = "invited"
	visibleToJoined  = "joined"
)

// sight is what a user's memberships over time say about what they may see of a room.
type sight struct {
	user   id.UserID
	member store.Membership // now; the zero value if there never was one
	joined bool             // now
	// shared: events before this position were followed by a time in which the user was joined; for joined users
	// these are all.
	shared store.Position
	// left is the event that ended that time, "" if the user is joined or never was.
	left id.EventID
}

// maxMemberships bounds how many earlier memberships of a user are looked at to find the last time they were joined.
const maxMemberships = 50

// sightOf finds out when a user was last joined.
func (r *Rooms) sightOf(ctx context.Context, user id.UserID, roomID id.RoomID) (sight, error) {
	m, ok, err := r.store.Membership(ctx, roomID, user)
	if err != nil || !ok || m.OutOfRoom || m.Forgotten {
		return sight{user: user}, err
	}
	s := sight{user: user, member: m, joined: m.Membership == join}
	if s.joined {
		return s, nil
	}
	// Walk back: what was the user before they became what they are?
	at := m.EventID
	for range maxMemberships {
		row, ok, err := r.store.Event(ctx, at)
		if err != nil || !ok {
			return s, err
		}
		before, ok, err := r.store.StateBefore(ctx, at)
		if err != nil || !ok {
			return s, err
		}
		earlier, err := before.Event(typeMember, string(user))
		if err != nil || earlier == "" {
			return s, err
		}
		was, ok, err := r.store.Event(ctx, earlier)
		if err != nil || !ok {
			return s, err
		}
		if was.Event.Membership() == join {
			s.shared, s.left = row.Position, at
			return s, nil
		}
		at = earlier
	}
	return s, nil
}

// allows is the list of the specification: visibility and membership at the event, and whether the user was joined
// later.
func allows(visibility, membership string, joinedLater bool) bool {
	switch {
	case visibility == visibleToWorld: // 1
		return true
	case membership == join: // 2
		return true
	case visibility == visibleShared && joinedLater: // 3
		return true
	case visibility == visibleToInvited && membership == invite: // 4
		return true
	}
	return false // 5
}

func visibilityOf(e *event.Event) string {
	if e == nil {
		return visibleShared
	}
	switch v := field(e.Content(), "history_visibility"); v {
	case visibleToWorld, visibleToInvited, visibleToJoined:
		return v
	}
	return visibleShared
}

func membershipOf(e *event.Event) string {
	if e == nil {
		return ""
	}
	return e.Membership()
}

// Visible returns those of the events, all of one room, that a user may see, in the same order.
//
// spec:client-server-api/modules/history_visibility#server-behaviour
func (r *Rooms) Visible(ctx context.Context, user id.UserID, roomID id.RoomID, events []store.EventRow) ([]store.EventRow, error) {
	s, err := r.sightOf(ctx, user, roomID)
	if err != nil {
		return nil, err
	}
	return r.visible(ctx, s, events)
}

func (r *Rooms) visible(ctx context.Context, s sight, events []store.EventRow) ([]store.EventRow, error) {
	// What was the visibility, and what was the user, before each event?
	asked := make([][2]id.EventID, len(events)) // "" where there is none
	var ids []id.EventID
	for i, row := range events {
		if row.Outlier || row.Status != room.Accepted {
			continue
		}
		before, ok, err := r.store.StateBeforeRow(ctx, row)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue // hidden below: the zero state says nothing about the user
		}
		if target, _ := awaited(row); target != "" {
			ids = append(ids, target)
		}
		for k, key := range [2]roomstate.Key{{Type: typeHistoryVisibility}, {Type: typeMember, StateKey: string(s.user)}} {
			if asked[i][k], err = before.Event(key.Type, key.StateKey); err != nil {
				return nil, err
			}
			ids = append(ids, asked[i][k])
		}
	}
	found, err := r.store.Events(ctx, ids)
	if err != nil {
		return nil, err
	}
	visible := make([]store.EventRow, 0, len(events))
	for i, row := range events {
		if row.Outlier || row.Status != room.Accepted {
			continue
		}
		visibility, member := found[asked[i][0]].Event, found[asked[i][1]].Event
		if !MaySee(row.Event, s.user, visibility, member, s.joined || row.Position < s.shared) {
			continue
		}
		if applied(row, found) {
			visible = append(visible, row)
		}
	}
	return visible, nil
}

// MaySee tells whether a user may see an event. visible and member are the room's history visibility and the user's
// membership before it, nil where there is none; joinedLater says whether the user was joined at some time after it.
//
// spec:client-server-api/modules/history_visibility#server-behaviour
func MaySee(e *event.Event, user id.UserID, visible, member *event.Event, joinedLater bool) bool {
	visibility, membership := visibilityOf(visible), membershipOf(member)
	if allows(visibility, membership, joinedLater) {
		return true
	}
	switch {
	case e.Is(typeHistoryVisibility, ""):
		return allows(visibilityOf(e), membership, joinedLater)
	case e.Is(typeMember, string(user)):
		return allows(visibility, e.Membership(), joinedLater)
	}
	return false
}

// shownToServer gives the events of one room as a server in it may have them: messages are redacted where hiddenFrom says so. State comes
// whole. The specification says nothing of visibility between servers, and /state, /state_ids and the answer to a join give the same events
// whole to each server in the room, whose users see by their own memberships what of it they may. Synapse redacts state here like messages;
// who builds on that has another state than we do: no access control list, no encryption.
//
// spec:server-server-api#backfilling-and-retrieving-missing-events
func (r *Rooms) shownToServer(ctx context.Context, server id.ServerName, rows []store.EventRow) ([]*event.Event, error) {
	hidden, err := r.hiddenFrom(ctx, server, rows)
	if err != nil {
		return nil, err
	}
	events := make([]*event.Event, len(rows))
	for i, row := range rows {
		events[i] = row.Event
		if hidden[i] && !row.Event.IsState() {
			events[i] = row.Event.Redacted()
		}
	}
	return events, nil
}

// hiddenFrom tells which events of one room the users of a server in it may not see: those made when none of them was there and only those
// who were there may see them, and what was said by who wants to be forgotten. A server that has seen that before has it anyway.
func (r *Rooms) hiddenFrom(ctx context.Context, server id.ServerName, rows []store.EventRow) ([]bool, error) {
	known := make(map[roomstate.Hash]bool) // by state: events in a row often share it
	var last roomstate.Map                 // the state that was looked at last
	told, err := r.saidToBeIn(ctx, server, rows)
	if err != nil {
		return nil, err
	}
	hidden := make([]bool, len(rows))
	for i, row := range rows {
		if _, erased := r.store.Erased(row.Event.Sender()); erased && !row.Event.IsState() {
			hidden[i] = true
			continue
		}
		state, ok, err := r.store.StateAfter(ctx, row.Event.ID())
		if err != nil {
			return nil, err
		}
		if !ok {
			hidden[i] = true
			continue
		}
		sees, asked := known[state.Hash()]
		if sees = sees || told; !asked && !told {
			sees = known[last.Hash()]
			same, err := sameFor(server, last, state)
			if err == nil && !same {
				sees, err = r.serverSees(ctx, server, state)
			}
			if err != nil {
				return nil, err
			}
			known[state.Hash()], last = sees, state
		}
		hidden[i] = !sees
	}
	return hidden, nil
}

// saidToBeIn tells whether a server is said to have been in the room of the events since before we were, whose state isn't whole yet: its users
// aren't known, but they have seen what we have.
func (r *Rooms) saidToBeIn(ctx context.Context, server id.ServerName, rows []store.EventRow) (bool, error) {
	if len(rows) == 0 {
		return false, nil
	}
	info, _, err := r.store.Room(ctx, rows[0].RoomID)
	if err != nil || !info.Partial {
		return false, err
	}
	servers, err := r.store.ServersIn(ctx, info.RoomID)
	_, in := servers[server]
	return in, err
}

// sameFor tells whether a server sees the same with two states: neither the visibility nor a membership of its users differs. The states of
// events in a row differ in little, and to look for a server's users takes a walk over all members.
func sameFor(server id.ServerName, last, state roomstate.Map) (bool, error) {
	if last.Len() == 0 {
		return false, nil
	}
	for change, err := range last.Changes(state) {
		if err != nil {
			return false, err
		}
		if change.Key.Type == typeHistoryVisibility ||
			change.Key.Type == typeMember && id.UserID(change.Key.StateKey).Server() == server {
			return false, nil
		}
	}
	return true, nil
}

// serverSees tells whether a server that is in the room now may see events with this state.
func (r *Rooms) serverSees(ctx context.Context, server id.ServerName, state roomstate.Map) (bool, error) {
	found, err := r.store.StateEvents(ctx, state, roomstate.Key{Type: typeHistoryVisibility})
	if err != nil {
		return false, err
	}
	visibility := visibleShared
	if len(found) > 0 {
		visibility = visibilityOf(found[0])
	}
	if visibility == visibleToWorld || visibility == visibleShared {
		return true, nil
	}
	var ids []id.EventID
	for member, err := range state.OfType(typeMember) {
		if err != nil {
			return false, err
		}
		if user, err := id.ParseUserID(member.StateKey); err == nil && user.Server() == server {
			ids = append(ids, member.Event)
		}
	}
	members, err := r.store.Events(ctx, ids)
	if err != nil {
		return false, err
	}
	for _, row := range members {
		if allows(visibility, row.Event.Membership(), false) {
			return true, nil
		}
	}
	return false, nil
}
