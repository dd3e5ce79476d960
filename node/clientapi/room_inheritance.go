package clientapi

import (
	"context"
	"encoding/json"
	"reflect"
	"slices"

	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/node/push"
)

// directType is the global account data that says which rooms are direct chats, with whom.
const directType = "m.direct"

// inherit gives a user who has come into a room that replaces another what they had made of the old one: its tags, that it
// is a direct chat, and its push rules, as with other deployed servers. It does nothing unless both rooms say that one replaces the other: otherwise anybody could
// make a room that slips into the place of one.
//
// spec:client-server-api/modules/room_upgrades#server-behaviour
func (a *API) inherit(ctx context.Context, user id.UserID, room id.RoomID) {
	old, ok := a.predecessor(ctx, user, room)
	if !ok {
		return
	}
	if err := a.inheritTags(ctx, user, old, room); err != nil {
		a.log.Debug("a room's tags are not those of the one it replaces", "room", room, "error", err)
	}
	if err := a.inheritDirect(ctx, user, old, room); err != nil {
		a.log.Debug("a room is not a direct chat as the one it replaces", "room", room, "error", err)
	}
	if err := a.inheritRules(ctx, user, old, room); err != nil {
		a.log.Debug("a room's push rules are not those of the one it replaces", "room", room, "error", err)
	}
	if err := a.inheritNames(ctx, user, old, room); err != nil {
		a.log.Warn("a room has not got the aliases of the one it replaces, or its place in the room directory", "room", room, "error", err)
	}
}

// inheritByTombstone does so for a user who names the replacement of a room after they have come into it.
func (a *API) inheritByTombstone(ctx context.Context, user id.UserID, content json.RawMessage) {
	var tombstone struct {
		Replacement id.RoomID `json:"replacement_room"`
	}
	if exactjson.Unmarshal(content, &tombstone) == nil && tombstone.Replacement != "" {
		a.inherit(ctx, user, tombstone.Replacement)
	}
}

// predecessor is the room that a room replaces, if the user can see in both that it does.
func (a *API) predecessor(ctx context.Context, user id.UserID, room id.RoomID) (id.RoomID, bool) {
	create, err := a.config.Rooms.StateEvent(ctx, user, room, "m.room.create", "")
	if err != nil {
		return "", false
	}
	var content struct {
		Predecessor struct {
			RoomID id.RoomID `json:"room_id"`
		} `json:"predecessor"`
	}
	if exactjson.Unmarshal(create.Content(), &content) != nil || content.Predecessor.RoomID == "" {
		return "", false
	}
	old := content.Predecessor.RoomID
	tombstone, err := a.config.Rooms.StateEvent(ctx, user, old, "m.room.tombstone", "")
	return old, err == nil && contentText(tombstone, "replacement_room") == string(room)
}

// inheritNames gives a room that was made on another server our aliases of the old one, and its place in our room directory. With each of
// our users who comes into it: what failed with the first of them is made good with the next. Of a room that was made here this is up to who
// made it.
func (a *API) inheritNames(ctx context.Context, user id.UserID, old, room id.RoomID) error {
	create, err := a.config.Rooms.StateEvent(ctx, user, room, "m.room.create", "")
	if err != nil || create.Sender().Server() == a.config.Self {
		return err
	}
	return a.config.Directory.Move(ctx, old, room)
}

func (a *API) inheritTags(ctx context.Context, user id.UserID, old, room id.RoomID) error {
	tags, err := a.config.Users.AccountData(ctx, user, old, tagType)
	if err != nil {
		return ignoreNotFound(err)
	}
	if _, err := a.config.Users.AccountData(ctx, user, room, tagType); !isNotFound(err) {
		return err // the user has been here before
	}
	return a.config.Users.SetAccountData(ctx, user, room, tagType, tags)
}

func (a *API) inheritDirect(ctx context.Context, user id.UserID, old, room id.RoomID) error {
	now, err := a.config.Users.AccountData(ctx, user, "", directType)
	if err != nil {
		return ignoreNotFound(err)
	}
	if _, changed, err := withDirect(now, old, room); err != nil || !changed {
		return err
	}
	return a.config.Users.UpdateAccountData(ctx, user, "", directType, func(now json.RawMessage) (json.RawMessage, error) {
		content, _, err := withDirect(now, old, room)
		return content, err
	})
}

func (a *API) inheritRules(ctx context.Context, user id.UserID, old, room id.RoomID) error {
	now, err := a.rulesOf(ctx, user)
	if err != nil {
		return err
	}
	if with, err := now.Inherit(old, room); err != nil || reflect.DeepEqual(with, now) {
		return err
	}
	return a.changeRulesOf(ctx, user, func(rules push.Ruleset) (push.Ruleset, error) { return rules.Inherit(old, room) })
}

// withDirect puts a room beside the one it replaces, wherever that is listed. A client wrote this: what has another form
// stays as it is.
func withDirect(content json.RawMessage, old, room id.RoomID) (json.RawMessage, bool, error) {
	var people map[string]json.RawMessage
	if err := exactjson.Unmarshal(content, &people); err != nil {
		return content, false, err
	}
	changed := false
	for person, raw := range people {
		var rooms []string
		if exactjson.Unmarshal(raw, &rooms) != nil || !slices.Contains(rooms, string(old)) || slices.Contains(rooms, string(room)) {
			continue
		}
		list, err := marshal(append(rooms, string(room)))
		if err != nil {
			return content, false, err
		}
		people[person], changed = list, true
	}
	with, err := marshal(people)
	return with, changed, err
}

func ignoreNotFound(err error) error {
	if isNotFound(err) {
		return nil
	}
	return err
}
