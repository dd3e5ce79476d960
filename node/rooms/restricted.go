package rooms

import (
	"context"
	"fmt"

	"hanse/federation"
	"hanse/federation/authrules"
	"hanse/federation/canonicaljson"
	"hanse/federation/event"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
)

// entrance is how a user may come into a room.
type entrance struct {
	restricted bool      // by fulfilling a condition of a restricted room; otherwise by the rules alone
	via        id.UserID // a user of ours who may let them in
}

const (
	ruleRestricted      = "restricted"
	ruleKnockRestricted = "knock_restricted"
	// maxConditions bounds the rooms of a restricted room's conditions that are looked at: each costs a read.
	maxConditions = 100
)

// conditions are the rooms whose members may join, by the content of m.room.join_rules; false if the room isn't restricted. As for
// the authorisation rules, the rule alone says that it is: a list of conditions that can't be read is an empty one, by which nobody
// may join.
//
// spec:client-server-api#conditions
func conditions(content []byte) ([]id.RoomID, bool) {
	if rule := field(content, "join_rule"); rule != ruleRestricted && rule != ruleKnockRestricted {
		return nil, false
	}
	allow, _ := canonicaljson.Get(content, "allow")
	var rooms []id.RoomID
	seen := 0
	for raw := range canonicaljson.Elements(allow) {
		if seen++; seen > maxConditions {
			break
		}
		var condition struct {
			Type   string `json:"type"`
			RoomID string `json:"room_id"`
		}
		if exactjson.Unmarshal(raw, &condition) != nil || condition.Type != "m.room_membership" {
			continue // unknown conditions are not fulfilled
		}
		if roomID, err := id.ParseRoomID(condition.RoomID); err == nil {
			rooms = append(rooms, roomID)
		}
	}
	return rooms, true
}

// entrance finds out how a user may join a room we are in. For a restricted room without an invite:
//
//   - M_FORBIDDEN: the user fulfils no condition;
//   - M_UNABLE_TO_AUTHORISE_JOIN: there are conditions that we can't judge, as we aren't in those rooms or lack their members;
//   - M_UNABLE_TO_GRANT_JOIN: a condition is fulfilled, but no user of ours may invite.
//
// spec:server-server-api#restricted-rooms
func (r *Rooms) entrance(ctx context.Context, m *room.Machine, src room.Source, user id.UserID) (entrance, error) {
	if !m.Rules().RestrictedJoins {
		return entrance{}, nil
	}
	state := stateOf{m.Current(), src}
	rules, err := state.StateEvent(typeJoinRules, "")
	if rules == nil || err != nil {
		return entrance{}, err
	}
	rooms, restricted := conditions(rules.Content())
	if !restricted {
		return entrance{}, nil
	}
	switch membership, err := membershipIn(m, src, user); {
	case err != nil:
		return entrance{}, err
	case membership == join || membership == invite || membership == ban:
		return entrance{}, nil // the rules say what that means
	}
	if err := r.fulfils(ctx, user, rooms); err != nil {
		return entrance{}, err
	}
	via, err := r.inviter(ctx, m, src)
	if err != nil {
		return entrance{}, err
	}
	return entrance{restricted: true, via: via}, nil
}

// fulfils tells whether a user is in one of the rooms: nil if so.
func (r *Rooms) fulfils(ctx context.Context, user id.UserID, rooms []id.RoomID) error {
	blind := false
	for _, roomID := range rooms {
		info, ok, err := r.store.Room(ctx, roomID)
		if err != nil {
			return err
		}
		if !ok || !info.Resident {
			blind = true
			continue
		}
		m, ok, err := r.store.Membership(ctx, roomID, user)
		if err != nil {
			return err
		}
		if ok && m.Membership == join && !m.OutOfRoom {
			return nil
		}
		blind = blind || !ok && info.Partial // the user may be among the members that are missing
	}
	if blind {
		return federation.UnableToAuthoriseJoin("this server is not in the rooms whose members may join, or does not know their members yet")
	}
	return federation.Forbidden("you are not invited to this room and not in a room whose members may join it")
}

// inviter finds a user of ours who may invite.
func (r *Rooms) inviter(ctx context.Context, m *room.Machine, src room.Source) (id.UserID, error) {
	levels, err := authrules.LevelsOf(stateOf{m.Current(), src})
	if err != nil {
		return "", err
	}
	users, err := r.store.LocalJoined(ctx, m.RoomID())
	if err != nil {
		return "", err
	}
	for _, user := range users {
		if levels.User(user) < levels.Invite() {
			continue
		}
		// The table may lag behind the machine by a commit.
		if membership, err := membershipIn(m, src, user); err != nil || membership == join {
			return user, err
		}
	}
	return "", federation.UnableToGrantJoin("no user of this server may invite to this room")
}

// authorises checks, when a restricted join that we are to co-sign comes back, what was checked when its template was
// made: the user still fulfils a condition, and the authorising user is ours.
func (r *Rooms) authorises(ctx context.Context, e *event.Event) error {
	via, err := id.ParseUserID(field(e.Content(), authorisedVia))
	if err != nil || via.Server() != r.self {
		return federation.InvalidParam(fmt.Sprintf("the join is not authorised by a user of this server: %s", authorisedVia))
	}
	state, err := r.store.CurrentState(ctx, e.RoomID())
	if err != nil {
		return err
	}
	rules, err := r.store.StateEvents(ctx, state, roomstate.Key{Type: typeJoinRules})
	if err != nil || len(rules) == 0 {
		return err
	}
	rooms, restricted := conditions(rules[0].Content())
	if !restricted {
		return nil
	}
	return r.fulfils(ctx, e.Sender(), rooms)
}
