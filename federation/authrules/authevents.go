package authrules

import (
	"slices"

	"hanse/federation/canonicaljson"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
)

// CheckAuthEvents applies the rules on the list of auth events: auth holds the events that e names in auth_events,
// in any order (they all have to be known: fetching missing ones comes first), and rejected tells which event IDs
// were rejected before. It returns nil or a *Rejection. Where e names more than [event.MaxAuthEvents], auth isn't looked at.
//
// spec:rooms/v12#authorisation-rules 3
func CheckAuthEvents(e *event.Event, auth []*event.Event, rejected func(id.EventID) bool) error {
	rules := e.Rules()
	// Events of before there was a limit of the list may name any number. No selection has as many.
	if n := len(e.AuthEvents()); n > event.MaxAuthEvents {
		return reject(e, "auth_events.not_selected", "not all of its %d auth events belong there", n)
	}
	if e.Type() == typeCreate {
		return nil // rule 1 has decided before
	}
	// spec:rooms/v12#authorisation-rules 2
	if create, ok := e.RoomID().CreateEvent(); rules.RoomIDIsCreateEvent && (!ok || rejected(create)) {
		return reject(e, "room_id.no_create", "the create event of room %s was rejected, or the ID is none", e.RoomID())
	}
	// spec:rooms/v12#authorisation-rules 3.1
	for i, a := range auth {
		key, ok := keyOf(a)
		if ok && stateEvent(auth[:i], key.Type, key.StateKey) != nil {
			return reject(e, "auth_events.duplicate", "two auth events of type %s and state key %q", key.Type, key.StateKey)
		}
	}
	// spec:rooms/v12#authorisation-rules 3.2
	var stateKey *string
	if key, ok := e.StateKey(); ok {
		stateKey = &key
	}
	selected := Selection(rules, e.Type(), stateKey, e.Sender(), e.Content())
	for _, a := range auth {
		if key, ok := keyOf(a); !ok || !slices.Contains(selected, key) {
			return reject(e, "auth_events.not_selected", "auth event %s (%s) doesn't belong there", a.ID(), a.Type())
		}
	}
	// spec:rooms/v12#authorisation-rules 3.3
	for _, a := range auth {
		if rejected(a.ID()) {
			return reject(e, "auth_events.rejected", "auth event %s was rejected", a.ID())
		}
	}
	// spec:rooms/v11#authorisation-rules 2.4
	if rules.CreateInAuthEvents && stateEvent(auth, typeCreate, "") == nil {
		return reject(e, "auth_events.no_create", "no m.room.create event among the auth events")
	}
	// spec:rooms/v12#authorisation-rules 3.5
	for _, a := range auth {
		if a.RoomID() != e.RoomID() {
			return reject(e, "auth_events.other_room", "auth event %s is of room %s", a.ID(), a.RoomID())
		}
	}
	return nil
}

// keyOf is the event's place in the state; false when it isn't a state event.
func keyOf(e *event.Event) (roomstate.Key, bool) {
	key, ok := e.StateKey()
	return roomstate.Key{Type: e.Type(), StateKey: key}, ok
}

// Selection is the auth events selection: which state an event of that type, state key (nil: not a state event),
// sender and content (a canonical JSON object) names as its auth events, as far as there is such state. There are
// no duplicates.
//
// spec:server-server-api#auth-events-selection
func Selection(rules *roomversion.Rules, typ string, stateKey *string, sender id.UserID, content []byte) []roomstate.Key {
	return appendSelection(make([]roomstate.Key, 0, 6), rules, typ, stateKey, sender, content)
}

// appendSelection appends the selection to keys, which are none. [Selection] is so small for it that its list can live on its caller's stack.
func appendSelection(keys []roomstate.Key, rules *roomversion.Rules, typ string, stateKey *string, sender id.UserID, content []byte) []roomstate.Key {
	if typ == typeCreate {
		return keys
	}
	add := func(typ, stateKey string) {
		key := roomstate.Key{Type: typ, StateKey: stateKey}
		for _, k := range keys {
			if k == key {
				return
			}
		}
		keys = append(keys, key)
	}
	if rules.CreateInAuthEvents {
		add(typeCreate, "")
	}
	add(typePowerLevels, "")
	add(typeMember, string(sender))
	if typ != typeMember || stateKey == nil {
		return keys
	}
	add(typeMember, *stateKey)
	membership, _ := word(content, "membership")
	switch membership {
	case "join", "invite", "knock":
		add(typeJoinRules, "")
	}
	if membership == "invite" {
		if invite, ok := member(content, "third_party_invite"); ok {
			signed, _ := member(invite, "signed")
			if token, ok := canonicaljson.GetString(signed, "token"); ok {
				add(typeThirdPartyInvite, token)
			}
		}
	}
	if membership == "join" && rules.RestrictedJoins {
		if user, ok := canonicaljson.GetString(content, "join_authorised_via_users_server"); ok {
			add(typeMember, user)
		}
	}
	return keys
}
