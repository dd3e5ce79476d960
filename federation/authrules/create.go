package authrules

import (
	"slices"

	"hanse/federation/canonicaljson"
	"hanse/federation/event"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

// createEvent is rule 1.
func (c *check) createEvent() (verdict, error) {
	// spec:rooms/v12#authorisation-rules 1
	if c.e.Type() != typeCreate {
		return next, nil
	}
	// spec:rooms/v12#authorisation-rules 1.1
	if len(c.e.PrevEvents()) > 0 {
		return next, c.reject("create.prev_events", "a create event starts its room and can't have previous events")
	}
	if err := c.createRoomID(); err != nil {
		return next, err
	}
	// spec:rooms/v12#authorisation-rules 1.3
	if value, ok := member(c.e.Content(), "room_version"); ok {
		version, ok := canonicaljson.String(value)
		if ok {
			_, ok = roomversion.Lookup(roomversion.Version(version))
		}
		if !ok {
			return next, c.reject("create.room_version", "room version %s is not known", value)
		}
	}
	// spec:rooms/v10#authorisation-rules 1.4
	if !c.rules.ImplicitCreator {
		if _, ok := member(c.e.Content(), "creator"); !ok {
			return next, c.reject("create.creator", "the create event names no creator")
		}
	}
	// spec:rooms/v12#authorisation-rules 1.4
	if c.rules.PrivilegedCreators {
		if _, ok := additionalCreators(c.e.Content()); !ok {
			return next, c.reject("create.additional_creators", "additional_creators is not a list of user IDs")
		}
	}
	// spec:rooms/v12#authorisation-rules 1.5
	return allow, nil
}

// createRoomID is rule 1.2.
func (c *check) createRoomID() error {
	if c.rules.RoomIDIsCreateEvent {
		// spec:rooms/v12#authorisation-rules 1.2
		if c.e.HasRoomID() {
			return c.reject("create.room_id", "a create event has no room_id in this room version: its event ID is the room's")
		}
		return nil
	}
	// spec:rooms/v11#authorisation-rules 1.2
	if server, ok := c.e.RoomID().Server(); !ok || server != c.e.Sender().Server() {
		return c.reject("create.room_id_domain", "room %s is not of the server of its creator %s", c.e.RoomID(), c.e.Sender())
	}
	return nil
}

// Creators are the users who count as the room's creators: the creator that the content names in room versions 1 to
// 10, the create event's sender in version 11, the sender and the additional creators from version 12 on. The first is who
// may join first. There is none where the content names a creator that is not a string.
//
// spec:rooms/v12#event-format
func Creators(create *event.Event) []id.UserID {
	rules := create.Rules()
	if !rules.ImplicitCreator {
		if creator, ok := canonicaljson.GetString(create.Content(), "creator"); ok {
			return []id.UserID{id.UserID(creator)}
		}
		return nil
	}
	users := []id.UserID{create.Sender()}
	if rules.PrivilegedCreators {
		more, _ := additionalCreators(create.Content())
		for _, user := range more {
			if !slices.Contains(users, user) {
				users = append(users, user)
			}
		}
	}
	return users
}

// additionalCreators reads the property of that name; false when it is there but not a list of user IDs.
func additionalCreators(content []byte) ([]id.UserID, bool) {
	value, ok := member(content, "additional_creators")
	if !ok {
		return nil, true
	}
	var texts []string
	if value[0] != '[' || exactjson.Unmarshal(value, &texts) != nil {
		return nil, false
	}
	users := make([]id.UserID, len(texts))
	for i, text := range texts {
		user, err := id.ParseUserID(text)
		if err != nil {
			return nil, false
		}
		users[i] = user
	}
	return users, true
}
