package rooms

import (
	"context"
	"fmt"
	"math"
	"slices"

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/node/store"
)

// Info says what is known of a room; false if this server doesn't know it.
func (r *Rooms) Info(ctx context.Context, roomID id.RoomID) (store.RoomInfo, bool, error) {
	return r.store.Room(ctx, roomID)
}

// Event returns one event of a room if the user may see it, M_NOT_FOUND otherwise.
//
// spec:client-server-api#get_matrixclientv3roomsroomideventeventid
func (r *Rooms) Event(ctx context.Context, user id.UserID, roomID id.RoomID, eventID id.EventID) (store.EventRow, error) {
	unknown := federation.NotFound(fmt.Sprintf("there is no event %s, or you may not see it", eventID))
	row, ok, err := r.store.Event(ctx, eventID)
	switch {
	case err != nil:
		return store.EventRow{}, err
	case !ok || row.RoomID != roomID:
		return store.EventRow{}, unknown
	}
	visible, err := r.Visible(ctx, user, roomID, []store.EventRow{row})
	if err != nil {
		return store.EventRow{}, err
	}
	if len(visible) == 0 {
		return store.EventRow{}, unknown
	}
	return visible[0], nil
}

// EventByID is Event for who doesn't say in which room.
//
// spec:client-server-api#get_matrixclientv3eventseventid
func (r *Rooms) EventByID(ctx context.Context, user id.UserID, eventID id.EventID) (store.EventRow, error) {
	row, _, err := r.store.Event(ctx, eventID)
	if err != nil {
		return store.EventRow{}, err
	}
	return r.Event(ctx, user, row.RoomID, eventID)
}

// State returns the room's state as the user may see it: now if they are joined or the room is world readable, when
// they left otherwise. All of it is in memory then; of large rooms StateMap and EachEvent give a part at a time.
//
// spec:client-server-api#get_matrixclientv3roomsroomidstate
func (r *Rooms) State(ctx context.Context, user id.UserID, roomID id.RoomID) ([]*event.Event, error) {
	state, err := r.StateMap(ctx, user, roomID)
	if err != nil {
		return nil, err
	}
	return r.store.StateEvents(ctx, state)
}

// StateMap is State without the events.
func (r *Rooms) StateMap(ctx context.Context, user id.UserID, roomID id.RoomID) (roomstate.Map, error) {
	if err := r.withMembers(ctx, roomID); err != nil {
		return roomstate.Map{}, err
	}
	return r.stateFor(ctx, user, roomID)
}

// EachEvent gives use events of a room's state, in no particular order: those of a large room while more of them are read, a part of
// them in memory at a time, until it returns an error. Of those no more of the row is given than the event, its room and its redaction.
func (r *Rooms) EachEvent(ctx context.Context, roomID id.RoomID, ids []id.EventID, use func(store.EventRow) error) error {
	given := 0
	if len(ids) <= stateAtOnce {
		rows, err := r.store.Events(ctx, ids)
		for _, eventID := range ids {
			if row, ok := rows[eventID]; ok && err == nil {
				given++
				err = use(row)
			}
		}
		return allGiven(given, ids, err)
	}
	info, _, err := r.store.Room(ctx, roomID)
	if err != nil {
		return err
	}
	err = r.store.EachEvent(ctx, roomID, ids, func(served store.ServedEvent) error {
		given++
		e, err := event.Load(info.Rules, served.ID, slices.Clone(served.JSON))
		if err != nil {
			return fmt.Errorf("rooms: the stored event %s: %w", served.ID, err)
		}
		return use(store.EventRow{Event: e, RoomID: roomID, RedactedBy: served.RedactedBy})
	})
	return allGiven(given, ids, err)
}

// StateEvent returns one event of what State returns; M_NOT_FOUND if there is none.
//
// spec:client-server-api#get_matrixclientv3roomsroomidstateeventtypestatekey
func (r *Rooms) StateEvent(ctx context.Context, user id.UserID, roomID id.RoomID, typ, stateKey string) (*event.Event, error) {
	state, err := r.stateFor(ctx, user, roomID)
	if err != nil {
		return nil, err
	}
	key := roomstate.Key{Type: typ, StateKey: stateKey}
	events, err := r.store.StateEvents(ctx, state, key)
	if err != nil {
		return nil, err
	}
	if len(events) == 0 && typ == typeMember {
		if err := r.withMembers(ctx, roomID); err != nil {
			return nil, err
		}
		if state, err = r.stateFor(ctx, user, roomID); err != nil {
			return nil, err
		}
		if events, err = r.store.StateEvents(ctx, state, key); err != nil {
			return nil, err
		}
	}
	if len(events) == 0 {
		return nil, federation.NotFound(fmt.Sprintf("the room has no state %q with the state key %q", typ, stateKey))
	}
	return events[0], nil
}

// stateFor is the state that a user may read.
func (r *Rooms) stateFor(ctx context.Context, user id.UserID, roomID id.RoomID) (roomstate.Map, error) {
	s, err := r.sightOf(ctx, user, roomID)
	if err != nil {
		return roomstate.Map{}, err
	}
	current, err := r.store.CurrentState(ctx, roomID)
	if err != nil || s.joined {
		return current, err
	}
	if visible, err := r.store.StateEvents(ctx, current, roomstate.Key{Type: typeHistoryVisibility}); err != nil {
		return roomstate.Map{}, err
	} else if len(visible) > 0 && visibilityOf(visible[0]) == visibleToWorld {
		return current, nil
	}
	if s.left == "" {
		return roomstate.Map{}, notJoined()
	}
	state, ok, err := r.store.StateAfter(ctx, s.left)
	if err == nil && !ok {
		err = notJoined()
	}
	return state, err
}

func notJoined() error { return federation.Forbidden("you are not in this room") }

// EachMember gives use the membership events of the state that the user may see, now or at a point in the past, as EachEvent does.
//
// spec:client-server-api#get_matrixclientv3roomsroomidmembers
func (r *Rooms) EachMember(ctx context.Context, req MembersRequest, use func(*event.Event) error) error {
	if err := r.withMembers(ctx, req.Room); err != nil {
		return err
	}
	state, err := r.membersState(ctx, req)
	if err != nil {
		return err
	}
	var ids []id.EventID
	for member, err := range state.OfType(typeMember) {
		if err != nil {
			return err
		}
		ids = append(ids, member.Event)
	}
	return r.EachEvent(ctx, req.Room, ids, func(row store.EventRow) error {
		m := row.Event.Membership()
		if (req.Membership == "" || m == req.Membership) && (req.NotMembership == "" || m != req.NotMembership) {
			return use(row.Event)
		}
		return nil
	})
}

// membersState is the state whose members a request is about.
func (r *Rooms) membersState(ctx context.Context, req MembersRequest) (roomstate.Map, error) {
	state, err := r.stateFor(ctx, req.User, req.Room)
	if err != nil || req.At == (Point{}) {
		return state, err
	}
	past, ok, err := r.stateAtPoint(ctx, req.Room, req.At)
	if err != nil {
		return state, err
	}
	// Who isn't in the room any more sees no later state than that of their leaving.
	s, err := r.sightOf(ctx, req.User, req.Room)
	if err != nil {
		return state, err
	}
	position := max(req.At.Stream, req.At.Below-1, req.At.Told)
	if ok && (s.joined || position > 0 && position <= s.shared) {
		state = past
	}
	return state, nil
}

// stateAtPoint is the room's state at a place in its history; false if nothing is known from before it.
func (r *Rooms) stateAtPoint(ctx context.Context, roomID id.RoomID, at Point) (roomstate.Map, bool, error) {
	place := at.place()
	if at.Told > 0 {
		place = Point{Stream: at.Told}.place()
	}
	var rows []store.EventRow
	var err error
	if place.byPosition() {
		var whole store.Position
		if _, whole, err = r.store.Wholeness(ctx, roomID); err != nil {
			return roomstate.Map{}, false, err
		}
		if position := place.below - 1; position >= whole {
			state, err := r.store.CurrentStateAt(ctx, roomID, position)
			return state, err == nil, err
		}
		// What was current then lacked members; the states at the events have been mended.
		rows, _, err = r.store.Timeline(ctx, roomID, math.MinInt64, place.below-1, 1, true)
	} else {
		rows, _, err = r.store.Page(ctx, roomID, place.at, store.Backward, 1, store.Topological{})
	}
	if err != nil || len(rows) == 0 {
		return roomstate.Map{}, false, err
	}
	return r.store.StateAfter(ctx, rows[0].Event.ID())
}

// stateAtOnce is up to how many events of a state are read at once, and kept in the cache: of more they would push out what is read more
// often.
const stateAtOnce = 100

// allGiven is err, or that some of a state's events were not stored.
func allGiven(given int, ids []id.EventID, err error) error {
	if err == nil && given != len(ids) {
		err = fmt.Errorf("rooms: %d events of a stored state of %d are not stored", len(ids)-given, len(ids))
	}
	return err
}

// EachJoined gives use the membership events of who is joined, as EachMember does; the user must be joined.
//
// spec:client-server-api#get_matrixclientv3roomsroomidjoined_members
func (r *Rooms) EachJoined(ctx context.Context, user id.UserID, roomID id.RoomID, use func(*event.Event) error) error {
	s, err := r.sightOf(ctx, user, roomID)
	if err != nil {
		return err
	}
	if !s.joined {
		return notJoined()
	}
	return r.EachMember(ctx, MembersRequest{User: user, Room: roomID, Membership: join}, use)
}
