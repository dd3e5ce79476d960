package appservice

import (
	"context"
	"slices"

	"hanse/federation/id"
	"hanse/node/store"
)

// interest knows which events a service is interested in. Owned by the service's worker.
//
// Whether an event interests it doesn't change while it is away: who of its users was in the room counts when the event came.
type interest struct {
	service *Service
	store   *store.Store
	// rooms are those of the service's users who are or were in a room, in those that were looked at last. What changes a room's
	// members drops it.
	rooms map[id.RoomID][]store.Membership
}

func newInterest(s *Service, db *store.Store) *interest {
	return &interest{service: s, store: db, rooms: map[id.RoomID][]store.Membership{}}
}

// event tells whether the service is interested in an event: the room or one of its aliases is in its namespaces, one of its users
// sent it, is whom it is about, or is in the room.
//
// spec:application-service-api#application-services
func (i *interest) event(ctx context.Context, e store.LiveEvent) (bool, error) {
	if i.service.Covers(e.Event.Sender()) {
		return true, nil
	}
	if key, isState := e.Event.StateKey(); isState && e.Event.Type() == "m.room.member" && i.service.Covers(id.UserID(key)) {
		return true, nil
	}
	if e.OutOfRoom {
		return i.service.Rooms.Match(string(e.RoomID)), nil
	}
	return i.room(ctx, e.RoomID, e.Position)
}

// room tells whether the service is interested in what happens in a room at a position.
func (i *interest) room(ctx context.Context, room id.RoomID, at store.Position) (bool, error) {
	if i.service.Rooms.Match(string(room)) {
		return true, nil
	}
	if in, err := i.member(ctx, room, at); in || err != nil {
		return in, err
	}
	if len(i.service.Aliases) == 0 {
		return false, nil
	}
	aliases, err := i.store.Aliases(ctx, room)
	return slices.ContainsFunc(aliases, func(a store.Alias) bool { return i.service.Aliases.Match(string(a.Alias)) }), err
}

// user tells whether somebody is one of the service's users, or in a room that it is interested in at a position.
func (i *interest) user(ctx context.Context, user id.UserID, at store.Position) (bool, error) {
	if i.service.Covers(user) {
		return true, nil
	}
	rooms, err := i.store.JoinedRooms(ctx, user)
	if err != nil {
		return false, err
	}
	for _, room := range rooms {
		if wanted, err := i.room(ctx, room, at); err != nil || wanted {
			return wanted, err
		}
	}
	return false, nil
}

// member tells whether one of the service's users was in a room at a position.
func (i *interest) member(ctx context.Context, room id.RoomID, at store.Position) (bool, error) {
	members, err := i.members(ctx, room)
	if err != nil {
		return false, err
	}
	var earlier []id.UserID // whose membership was another one then
	for _, m := range members {
		switch {
		case m.Since > at:
			earlier = append(earlier, m.User)
		case m.Membership == "join":
			return true, nil
		}
	}
	for _, user := range earlier {
		if membership, err := i.store.MembershipAt(ctx, room, user, at); err != nil || membership == "join" {
			return err == nil, err
		}
	}
	return false, nil
}

func (i *interest) members(ctx context.Context, room id.RoomID) ([]store.Membership, error) {
	if members, known := i.rooms[room]; known {
		return members, nil
	}
	all, err := i.store.Members(ctx, room, store.MemberFilter{Local: true})
	if err != nil {
		return nil, err
	}
	var members []store.Membership
	for _, m := range all {
		if i.service.Covers(m.User) {
			members = append(members, store.Membership{User: m.User, Membership: m.Membership, Since: m.Since})
		}
	}
	if len(i.rooms) >= maxRooms {
		clear(i.rooms)
	}
	i.rooms[room] = members
	return members, nil
}

// changed drops what is remembered of a room.
func (i *interest) changed(room id.RoomID) { delete(i.rooms, room) }

// forget drops all that is remembered.
func (i *interest) forget() { clear(i.rooms) }
