package rooms

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/exactjson"
	"hanse/federation/id"
)

// createContent is the content of the create event: what the client asked for and what the room version wants.
func (c *creation) createContent() (json.RawMessage, error) {
	content, err := parseObject(c.req.CreationContent)
	if err != nil {
		return nil, federation.BadJSON("creation_content is not an object")
	}
	content.set("room_version", c.rules.Version)
	delete(content, "creator")
	if !c.rules.ImplicitCreator {
		content.set("creator", c.req.Creator)
	}
	if !c.rules.PrivilegedCreators {
		return content.raw(), nil
	}
	creators, err := c.additionalCreators(content["additional_creators"])
	if err != nil {
		return nil, err
	}
	if len(creators) > 0 {
		content.set("additional_creators", creators)
	}
	return content.raw(), nil
}

// additionalCreators joins those asked for with those invited to a trusted private chat, each once.
//
// spec:rooms/v12#event-format
func (c *creation) additionalCreators(asked json.RawMessage) ([]id.UserID, error) {
	var names []string
	if len(asked) > 0 {
		if err := exactjson.Unmarshal(asked, &names); err != nil {
			return nil, federation.BadJSON("additional_creators is not a list of user IDs")
		}
	}
	creators := make([]id.UserID, 0, len(names))
	for _, name := range names {
		user, err := id.ParseUserID(name)
		if err != nil {
			return nil, federation.InvalidParam(fmt.Sprintf("additional_creators: %v", err))
		}
		creators = append(creators, user)
	}
	if c.req.Preset == presetTrusted {
		creators = append(append(creators, c.local...), c.remote...)
	}
	var once []id.UserID
	for _, user := range creators {
		if user != c.req.Creator && !slices.Contains(once, user) {
			once = append(once, user)
		}
	}
	return once, nil
}

// powerLevels is the content of the first power levels event, the client's wishes on top.
func (c *creation) powerLevels() (json.RawMessage, error) {
	users := map[id.UserID]int{}
	tombstone := 100
	if c.rules.PrivilegedCreators {
		tombstone = 150 // higher than state_default and than admins: upgrades are the creators'
	} else {
		users[c.req.Creator] = 100
		if c.req.Preset == presetTrusted {
			for _, user := range append(slices.Clone(c.local), c.remote...) {
				users[user] = 100
			}
		}
	}
	invites := 50
	if c.req.Preset != presetPublic {
		invites = 0 // in a private room everybody may bring somebody along; deployed servers do the same
	}
	content := object{}
	content.set("users", users)
	content.set("users_default", 0)
	content.set("events", map[string]int{
		typeName: 50, typeAvatar: 50, typeCanonicalAlias: 50,
		typePowerLevels: 100, typeHistoryVisibility: 100, typeServerACL: 100, typeEncryption: 100, typeTombstone: tombstone,
	})
	for _, level := range []struct {
		key   string
		value int
	}{{"events_default", 0}, {"state_default", 50}, {"ban", 50}, {"kick", 50}, {"redact", 50}, {"invite", invites}} {
		content.set(level.key, level.value)
	}
	override, err := parseObject(c.req.PowerLevelOverride)
	if err != nil {
		return nil, federation.BadJSON("power_level_content_override is not an object")
	}
	for key, value := range override {
		content[key] = value
	}
	return content.raw(), checkContent(typePowerLevels, content.raw())
}

// preset makes the state that the preset stands for, but what initial_state sets itself. That guests are forbidden is said
// by no event, as by Synapse: it is so without one.
func (c *creation) preset() []event.Draft {
	joinRule, guests := invite, "can_join"
	if c.req.Preset == presetPublic {
		joinRule, guests = "public", ""
	}
	var drafts []event.Draft
	for _, e := range []struct{ typ, key, value string }{
		{typeJoinRules, "join_rule", joinRule},
		{typeHistoryVisibility, "history_visibility", "shared"},
		{typeGuestAccess, "guest_access", guests},
	} {
		if !c.initial[e.typ] && e.value != "" {
			drafts = append(drafts, c.state(e.typ, "", object{e.key: quote(e.value)}.raw()))
		}
	}
	return drafts
}

func (c *creation) inviteContent(ctx context.Context, user id.UserID) json.RawMessage {
	extra := object{}
	if c.req.Direct {
		extra.set("is_direct", true)
	}
	return c.r.memberContent(ctx, user, invite, extra)
}

// topicContent is m.room.topic with the text in both forms.
//
// spec:client-server-api#mroomtopic
func topicContent(topic string) json.RawMessage {
	content := object{"topic": quote(topic)}
	content.set("m.topic", map[string]any{"m.text": []map[string]string{{"body": topic}}})
	return content.raw()
}

func quote(text string) json.RawMessage {
	o := object{}
	o.set("", text)
	return o[""]
}
