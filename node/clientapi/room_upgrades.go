package clientapi

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"hanse/federation"
	"hanse/federation/authrules"
	"hanse/federation/event"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/node/rooms"
)

func (a *API) upgradeRoutes() []route {
	return []route{{http.MethodPost, "/rooms/{roomId}/upgrade", stable, withUser, joins, a.upgradeRoom}}
}

// transferred are the state events that a new room takes from the one it replaces.
//
// spec:client-server-api/modules/room_upgrades#server-behaviour 3
func transferred(typ string) bool {
	switch typ {
	case "m.room.server_acl", "m.room.encryption", "m.room.name", "m.room.avatar", "m.room.topic",
		"m.room.guest_access", "m.room.history_visibility", "m.room.join_rules", spaceChild:
		return true
	}
	return false
}

// spaceChild is the state that says which rooms are in a space. It isn't recommended to transfer it, but by an upgrade a space isn't to
// lose its rooms: deployed servers do it.
const spaceChild = "m.space.child"

// spec:client-server-api#post_matrixclientv3roomsroomidupgrade
func (a *API) upgradeRoom(r *request) (any, error) {
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	var req struct {
		Version  string   `json:"new_version"`
		Creators []string `json:"additional_creators"`
	}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if req.Version == "" {
		return nil, missingParam("new_version")
	}
	rules, ok := roomversion.Lookup(roomversion.Version(req.Version))
	if !ok {
		return nil, federation.UnsupportedRoomVersion(req.Version)
	}
	// Once begun it goes on although the client gives up: half an upgrade is worse than one unasked for.
	ctx, cancel := r.detached()
	defer cancel()
	state, err := a.config.Rooms.State(ctx, r.user, room)
	if err != nil {
		return nil, err
	}
	// 1. The permission is that of the tombstone; it is asked before anything is made.
	if err := a.config.Directory.MaySend(ctx, room, r.user, "m.room.tombstone"); err != nil {
		return nil, err
	}
	replacement, err := a.replace(ctx, r.user, room, rules, req.Creators, state)
	if err != nil {
		return nil, err
	}
	// 4. to 6. What fails here leaves two rooms, of which the old one says less than it could.
	if err := a.config.Directory.Move(ctx, room, replacement); err != nil {
		return nil, err
	}
	if err := a.entomb(ctx, r.user, room, replacement, state); err != nil {
		return nil, err
	}
	a.inherit(ctx, r.user, replacement)
	return map[string]any{"replacement_room": replacement}, nil
}

// replace is steps 2 and 3: the new room, with the state that goes along.
func (a *API) replace(ctx context.Context, user id.UserID, room id.RoomID, rules *roomversion.Rules, creators []string, state []*event.Event) (id.RoomID, error) {
	predecessor := map[string]any{"room_id": room}
	creation := map[string]any{"predecessor": predecessor}
	// Clients from before Matrix 1.16, which don't know version 12, want to know where the old room ended.
	if !rules.RoomIDIsCreateEvent {
		last, err := a.config.Rooms.Messages(ctx, rooms.MessagesRequest{User: user, Room: room, Backwards: true, Limit: 1})
		if err != nil {
			return "", err
		}
		for _, row := range last.Events {
			predecessor["event_id"] = row.Event.ID()
		}
	}
	if rules.PrivilegedCreators && len(creators) > 0 {
		creation["additional_creators"] = creators
	}
	create := rooms.CreateRequest{Creator: user, Version: rules.Version}
	var levels newLevels
	for _, e := range state {
		key, isState := e.StateKey()
		switch {
		case !isState || key != "":
		case e.Type() == "m.room.create":
			if typ := contentText(e, "type"); typ != "" {
				creation["type"] = typ
			}
			if federate, ok := rawMember(e.Content(), "m.federate"); ok {
				creation["m.federate"] = federate
			}
		case e.Type() == "m.room.power_levels":
			var err error
			if levels, err = levelsFor(rules, user, creators, above(state), e); err != nil {
				return "", err
			}
			create.PowerLevelOverride = levels.first
		case e.Type() == canonicalAlias:
			if moved, _, some := a.splitAliases(e.Content()); some {
				create.InitialState = append(create.InitialState, rooms.StateEvent{Type: e.Type(), Content: moved})
			}
		case transferred(e.Type()):
			create.InitialState = append(create.InitialState, rooms.StateEvent{Type: e.Type(), Content: json.RawMessage(e.Content())})
		}
	}
	var err error
	if create.CreationContent, err = marshal(creation); err != nil {
		return "", err
	}
	replacement, err := a.config.Rooms.Create(ctx, create)
	if err == nil {
		err = a.repeat(ctx, user, replacement, state)
	}
	if err != nil || levels.final == nil {
		return replacement, err
	}
	_, err = a.config.Rooms.Send(ctx, rooms.SendRequest{
		Room: replacement, Sender: user, Type: "m.room.power_levels", StateKey: new(string), Content: levels.final,
	})
	return replacement, err
}

// newLevels are the power levels of a room that replaces another.
type newLevels struct {
	first json.RawMessage // what the room is made with: its maker can send all that goes along
	final json.RawMessage // what holds then, if it is something else: the maker's level as it was
}

// repeat says again what the old room says of others: the rooms of a space, but those that were taken out of it, and bans. "Membership
// events should not be transferred", since servers can't speak for others' users; but a ban is the moderators' own word, and a room that lost
// them by an upgrade would have to be cleared again.
func (a *API) repeat(ctx context.Context, user id.UserID, replacement id.RoomID, state []*event.Event) error {
	var drafts []event.Draft
	for _, e := range state {
		_, inSpace := rawMember(e.Content(), "via")
		if e.Type() == spaceChild && inSpace || e.Type() == "m.room.member" && e.Membership() == "ban" {
			about, _ := e.StateKey()
			drafts = append(drafts, event.Draft{Type: e.Type(), StateKey: &about, Sender: user, Content: json.RawMessage(e.Content())})
		}
	}
	for some := range slices.Chunk(drafts, maxRepeatedAtOnce) {
		if _, err := a.config.Rooms.Propose(ctx, replacement, some...); err != nil {
			return err
		}
	}
	return nil
}

// splitAliases is m.room.canonical_alias for the new room and for the old one: those of the shown aliases go along that are ours.
// False if there is none.
func (a *API) splitAliases(content []byte) (moved, kept json.RawMessage, some bool) {
	var form aliasesForm
	if exactjson.Unmarshal(content, &form) != nil {
		return nil, nil, false
	}
	ours := func(text string) bool {
		alias, err := id.ParseRoomAlias(text)
		return err == nil && alias.Server() == a.config.Self
	}
	split, others := map[bool]map[string]any{true: {}, false: {}}, map[bool][]string{}
	if form.Alias != nil {
		split[ours(*form.Alias)]["alias"] = *form.Alias
	}
	for _, text := range form.AltAliases {
		others[ours(text)] = append(others[ours(text)], text)
	}
	for our, list := range others {
		split[our]["alt_aliases"] = list
	}
	moved, err := marshal(split[true])
	if err == nil {
		kept, err = marshal(split[false])
	}
	return moved, kept, err == nil && len(split[true]) > 0
}

// above are the users who stand above all power levels in a room.
func above(state []*event.Event) []id.UserID {
	for _, e := range state {
		if e.Is("m.room.create", "") && e.Rules().PrivilegedCreators {
			return authrules.Creators(e)
		}
	}
	return nil
}

// highestLevel is the highest power level that canonical JSON can say.
const highestLevel = 1<<53 - 1

// levelsFor makes the old power levels fit for the new room. Where creators stand above all levels they must not be
// listed, and an upgrade must need more than other state; elsewhere the one who makes the room needs the level for it. Those who
// stood above all levels in the old room (above) have the highest in such a one, and others less, as by Synapse: who could do
// everything would be nobody there.
func levelsFor(rules *roomversion.Rules, user id.UserID, creators []string, above []id.UserID, old *event.Event) (newLevels, error) {
	levels, err := parseLevels(old)
	if err != nil {
		return newLevels{}, err
	}
	users := levels.part("users")
	if rules.PrivilegedCreators {
		delete(users, string(user))
		for _, creator := range creators {
			delete(users, creator)
		}
		events := levels.part("events")
		if level(events["m.room.tombstone"], 0) <= level(levels["state_default"], 50) {
			events["m.room.tombstone"] = json.RawMessage(strconv.FormatInt(max(150, level(levels["state_default"], 50)+1), 10))
		}
		first, err := levels.with(map[string]levelMap{"users": users, "events": events})
		return newLevels{first: first}, err
	}
	if len(above) > 0 {
		for name, raw := range users {
			if level(raw, 0) >= highestLevel {
				users[name] = json.RawMessage(strconv.FormatInt(highestLevel-1, 10))
			}
		}
		for _, creator := range above {
			users[string(creator)] = json.RawMessage(strconv.FormatInt(highestLevel, 10))
		}
	}
	own, need := level(users[string(user)], level(levels["users_default"], 0)), levels.needed()
	final, err := levels.with(map[string]levelMap{"users": users})
	if err != nil || own >= need {
		return newLevels{first: final}, err
	}
	users[string(user)] = json.RawMessage(strconv.FormatInt(need, 10))
	first, err := levels.with(map[string]levelMap{"users": users})
	return newLevels{first: first, final: final}, err
}

// levelMap is the content of m.room.power_levels, or one of the maps in it.
type levelMap map[string]json.RawMessage

// parseLevels reads an m.room.power_levels event. Levels that are integers for its room's version alone, as "50" before version 10, become
// what they mean: the new room's version may not know them, and nobody is to send them any more.
func parseLevels(e *event.Event) (levelMap, error) {
	var levels levelMap
	if err := exactjson.Unmarshal(e.Content(), &levels); err != nil {
		return nil, err
	}
	levels.makeIntegers(e.Rules(), "users_default", "events_default", "state_default", "ban", "kick", "redact", "invite")
	for _, name := range []string{"users", "events", "notifications"} {
		if part := levels.part(name); len(part) > 0 {
			part.makeIntegers(e.Rules(), slices.Collect(maps.Keys(part))...)
			raw, err := marshal(part)
			if err != nil {
				return nil, err
			}
			levels[name] = raw
		}
	}
	return levels, nil
}

// makeIntegers makes integers of levels, as far as they can be read.
func (l levelMap) makeIntegers(rules *roomversion.Rules, names ...string) {
	for _, name := range names {
		if n, err := authrules.ParseLevel(rules, l[name]); err == nil {
			l[name] = json.RawMessage(strconv.FormatInt(min(max(n, -highestLevel), highestLevel), 10))
		}
	}
}

// part is one of the maps in the content; empty if it is not there.
func (l levelMap) part(name string) levelMap {
	var part levelMap
	if exactjson.Unmarshal(l[name], &part) != nil || part == nil {
		return make(levelMap)
	}
	return part
}

// with is the content with some maps in place of its own.
func (l levelMap) with(parts map[string]levelMap) (json.RawMessage, error) {
	changed := maps.Clone(l)
	for name, part := range parts {
		raw, err := marshal(part)
		if err != nil {
			return nil, err
		}
		changed[name] = raw
	}
	return marshal(changed)
}

// needed is the level that sends everything a new room begins with.
func (l levelMap) needed() int64 {
	events, need := l.part("events"), level(l["state_default"], 50)
	for typ, raw := range events {
		if transferred(typ) || typ == "m.room.power_levels" || typ == canonicalAlias {
			need = max(need, level(raw, 0))
		}
	}
	return need
}

// level reads a power level; fallback if it is none.
func level(raw json.RawMessage, fallback int64) int64 {
	var n int64
	if exactjson.Unmarshal(raw, &n) != nil || string(raw) == "null" {
		return fallback
	}
	return n
}

// entomb is steps 5 and 6: the old room points to the new one and takes no more messages. Nor does it show aliases that lead to the
// new one, as with other deployed servers.
func (a *API) entomb(ctx context.Context, user id.UserID, room, replacement id.RoomID, state []*event.Event) error {
	tombstone, err := marshal(map[string]any{"body": "This room has been replaced", "replacement_room": replacement})
	if err != nil {
		return err
	}
	stateKey := ""
	send := rooms.SendRequest{Room: room, Sender: user, Type: "m.room.tombstone", StateKey: &stateKey, Content: tombstone}
	if _, err := a.config.Rooms.Send(ctx, send); err != nil {
		return err
	}
	for _, e := range state {
		send.Type = e.Type()
		switch {
		case e.Is("m.room.power_levels", ""):
			if send.Content, err = mutedLevels(e); err != nil {
				continue
			}
		case e.Is(canonicalAlias, ""):
			var some bool
			if _, send.Content, some = a.splitAliases(e.Content()); !some {
				continue
			}
		default:
			continue
		}
		if _, err := a.config.Rooms.Send(ctx, send); err != nil { // "if possible"
			a.log.Debug("a replaced room's state stays as it was", "room", room, "type", send.Type, "error", err)
		}
	}
	return nil
}

// mutedLevels raises what ordinary members need to talk and invite.
func mutedLevels(old *event.Event) (json.RawMessage, error) {
	levels, err := parseLevels(old)
	if err != nil {
		return nil, err
	}
	need := max(50, level(levels["users_default"], 0)+1)
	for _, key := range []string{"events_default", "invite"} {
		levels[key] = json.RawMessage(strconv.FormatInt(max(need, level(levels[key], 0)), 10))
	}
	return marshal(levels)
}

func rawMember(object []byte, key string) (json.RawMessage, bool) {
	var members map[string]json.RawMessage
	if exactjson.Unmarshal(object, &members) != nil {
		return nil, false
	}
	value, ok := members[key]
	return value, ok
}
