package suite

import (
	"crypto/ed25519"
	"encoding/base64"

	"hanse/conformance/literal"
	"hanse/federation/event"
)

func levelRules() []rule {
	noChange := func(*court, map[string]any) {}
	return []rule{
		{text: "If any of the properties users_default, events_default, state_default, ban, redact, kick, or invite in content are present and not an integer, reject.", from: 10,
			forbidden: []side{
				levelsOf("ban as a text", "bob", setting("ban", "75")), levelsOf("users_default as a text", "bob", setting("users_default", "0")),
				levelsOf("kick as a list", "bob", setting("kick", []any{})), levelsOf("invite as null", "bob", setting("invite", nil)),
			},
			allowed: []side{levelsOf("integers", "bob", setting("ban", 74))}},
		{text: "If either of the properties events or notifications in content are present and not an object with values that are integers, reject.", from: 10,
			forbidden: []side{
				levelsOf("an event's level as a text", "bob", settingIn("events", "x", "50")), levelsOf("events as a list", "bob", setting("events", []any{})),
				levelsOf("a notification's level as a text", "bob", settingIn("notifications", "room", "50")),
			},
			allowed: []side{levelsOf("integers", "bob", settingIn("events", "x", 50))}},
		{text: "m.room.power_levels events accept values as strings", to: 9,
			room:      courtOptions{levels: func(content map[string]any) { content["state_default"] = " +050 " }},
			forbidden: []side{stateOf("state below a level that is a text", "carol", "m.room.topic", map[string]any{"topic": "x"})},
			allowed: []side{
				stateOf("state at a level that is a text", "dave", "m.room.topic", map[string]any{"topic": "x"}),
				levelsOf("a level becomes a text", "bob", setting("ban", "60")), membershipOf("a ban at it", "ian", "carol", "ban"),
			}},
		{text: "If the users property in content is not an object with keys that are valid user IDs with values that are integers, reject.",
			forbidden: []side{
				levelsOf("no user ID", "bob", settingIn("users", "nobody", 0)), levelsOf("a list", "bob", setting("users", []any{})),
				levelsOf("a level that is no number", "bob", settingIn("users", "@x:y.test", "many")),
			},
			allowed: []side{levelsOf("a user", "bob", settingIn("users", "@x:y.test", 1))}},
		{text: "If the users property in content contains the sender of the m.room.create event or any of the additional_creators array (if present) from the content of the m.room.create event, reject.", from: 12,
			room:      courtOptions{create: map[string]any{"additional_creators": []any{"@kim:elsewhere.test"}}},
			forbidden: []side{levelsOf("the creator", "bob", settingUser("bob", 100)), levelsOf("an additional creator", "bob", settingIn("users", "@kim:elsewhere.test", 100))},
			allowed:   []side{levelsOf("others", "bob", settingUser("carol", 100))}},
		{text: "For the properties users_default, events_default, state_default, ban, redact, kick, invite check if they were added, changed or removed. If the current value is higher than the sender's current power level, reject.",
			forbidden: []side{levelsOf("redact from 90 to 10", "ian", setting("redact", 10)), levelsOf("redact removed", "ian", func(_ *court, content map[string]any) { delete(content, "redact") })},
			allowed:   []side{levelsOf("nothing", "ian", noChange), levelsOf("kick from 50 to 10", "ian", setting("kick", 10)), levelsOf("redact by who may", "bob", setting("redact", 95))}},
		{text: "For the properties users_default, events_default, state_default, ban, redact, kick, invite … If the new value is higher than the sender's current power level, reject.",
			forbidden: []side{levelsOf("ban to 80", "ian", setting("ban", 80)), levelsOf("users_default to 80", "ian", setting("users_default", 80))},
			allowed:   []side{levelsOf("ban to 60", "ian", setting("ban", 60)), levelsOf("events_default to 75", "ian", setting("events_default", 75))}},
		{text: "For each entry being changed in, or removed from, the events or notifications properties: If the current value is greater than the sender's current power level, reject.",
			forbidden: []side{
				levelsOf("an event's level of 90 lowered", "ian", settingIn("events", "org.example.top", 1)),
				levelsOf("an event's level of 90 removed", "ian", func(_ *court, content map[string]any) { delete(content["events"].(map[string]any), "org.example.top") }),
			},
			allowed: []side{levelsOf("an event's level of 75 lowered", "ian", settingIn("events", "org.example.high", 1))}},
		{text: "For each entry being added to, or changed in, the events or notifications properties: If the new value is greater than the sender's current power level, reject.",
			forbidden: []side{levelsOf("a new event's level of 80", "ian", settingIn("events", "x", 80)), levelsOf("an event's level raised to 80", "ian", settingIn("events", "org.example.free", 80))},
			allowed:   []side{levelsOf("a new event's level of 75", "ian", settingIn("events", "x", 75))}},
		{text: "For each entry being added to, or changed in, the events or notifications properties (notifications, from room version 6 on): If the new value is greater than the sender's current power level, reject.", from: 6,
			forbidden: []side{levelsOf("80", "ian", settingIn("notifications", "room", 80))},
			allowed:   []side{levelsOf("70", "ian", settingIn("notifications", "room", 70))}},
		{text: "Changes of notifications are not looked at before room version 6.", to: 5,
			allowed: []side{levelsOf("80", "ian", settingIn("notifications", "room", 80))}},
		{text: "For each entry being changed in, or removed from, the users property, other than the sender's own entry: If the current value is greater than or equal to the sender's current power level, reject.",
			forbidden: []side{
				levelsOf("somebody as high", "ian", settingUser("jo", 10)),
				levelsOf("somebody as high removed", "ian", func(c *court, content map[string]any) {
					delete(content["users"].(map[string]any), string(c.peer.User("jo")))
				}),
			},
			allowed: []side{levelsOf("somebody lower", "ian", settingUser("dave", 10)), levelsOf("oneself", "ian", settingUser("ian", 60))}},
		{text: "For each entry being changed in, or removed from, the users property … (the creator)", to: 11,
			forbidden: []side{levelsOf("somebody higher", "ian", settingUser("bob", 10))}},
		{text: "For each entry being added to, or changed in, the users property: If the new value is greater than the sender's current power level, reject.",
			forbidden: []side{levelsOf("somebody new to 80", "ian", settingUser("carol", 80)), levelsOf("somebody lower to 80", "ian", settingUser("dave", 80)), levelsOf("oneself to 80", "ian", settingUser("ian", 80))},
			allowed:   []side{levelsOf("somebody new to 75", "ian", settingUser("carol", 75))}},
	}
}

// thirdPartyRules are the rules for invites that follow from an invite by address.
func thirdPartyRules() []rule {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	_, other, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err)
	}
	room := courtOptions{before: func(c *court) {
		c.put("bob", "m.room.third_party_invite", "token1", map[string]any{
			"display_name": "g…@example.org", "key_validity_url": "https://id.test/valid", "public_key": base64.RawStdEncoding.EncodeToString(public),
			"public_keys": []any{map[string]any{"public_key": base64.RawStdEncoding.EncodeToString(public)}},
		})
	}}
	invite := func(name, sender, target string, key ed25519.PrivateKey, change func(signed map[string]any)) side {
		return side{name, func(c *court) event.Draft {
			signed := map[string]any{"mxid": string(c.peer.User(target)), "token": "token1"}
			if change != nil {
				change(signed)
			}
			signature := ed25519.Sign(key, literal.Canonical(signed))
			signed["signatures"] = map[string]any{"id.test": map[string]any{"ed25519:0": base64.RawStdEncoding.EncodeToString(signature)}}
			return c.member(sender, target, "invite", "third_party_invite", map[string]any{"display_name": "g…@example.org", "signed": signed})
		}}
	}
	return []rule{
		{text: "If content has a third_party_invite property: If target user is banned, reject.", room: room,
			forbidden: []side{invite("somebody banned", "bob", "erin", private, nil)},
			allowed:   []side{invite("a stranger", "bob", "gina", private, nil)}},
		{text: "If content.third_party_invite does not have a signed property, reject. If signed does not have mxid and token properties, reject.", room: room,
			forbidden: []side{
				membershipOf("no signed", "bob", "gina", "invite", "third_party_invite", map[string]any{"display_name": "g"}),
				invite("no mxid", "bob", "gina", private, func(signed map[string]any) { delete(signed, "mxid") }),
				invite("no token", "bob", "gina", private, func(signed map[string]any) { delete(signed, "token") }),
			}},
		{text: "If mxid does not match state_key, reject.", room: room,
			forbidden: []side{invite("somebody else's", "bob", "gina", private, func(signed map[string]any) { signed["mxid"] = "@other:elsewhere.test" })}},
		{text: "If there is no m.room.third_party_invite event in the current room state with state_key matching token, reject.", room: room,
			forbidden: []side{invite("an unknown token", "bob", "gina", private, func(signed map[string]any) { signed["token"] = "token2" })}},
		{text: "If sender does not match sender of the m.room.third_party_invite, reject.", room: room,
			forbidden: []side{invite("by dave", "dave", "gina", private, nil)},
			allowed:   []side{invite("by bob", "bob", "gina", private, nil)}},
		{text: "If any signature in signed matches any public key in the m.room.third_party_invite event, allow. Otherwise, reject.", room: room,
			forbidden: []side{invite("another key", "bob", "gina", other, nil)},
			allowed:   []side{invite("the key", "bob", "gina", private, nil)}},
	}
}
