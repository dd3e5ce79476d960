package suite

import (
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/testnet/peer"
)

// side is an attempt on one side of a rule: its name, and the event.
type side struct {
	name string
	make func(c *court) event.Draft
}

// rule is an authorisation rule with events on both of its sides. The forbidden ones come first, and change nothing.
type rule struct {
	text      string // of the rule, in the words of version 12 or of the last version that has it
	from, to  int    // the room versions that have it; 0: from the first, to the last
	room      courtOptions
	forbidden []side
	allowed   []side
}

func (r rule) in(version int) bool {
	return version >= r.from && (r.to == 0 || version <= r.to)
}

// join, leave and the like make a side of a membership.
func membershipOf(name, sender, target, membership string, pairs ...any) side {
	return side{name, func(c *court) event.Draft { return c.member(sender, target, membership, pairs...) }}
}

func messageOf(name, sender, eventType string) side {
	return side{name, func(c *court) event.Draft { return c.message(sender, eventType) }}
}

func stateOf(name, sender, eventType string, content map[string]any) side {
	return side{name, func(c *court) event.Draft { return c.state(sender, eventType, "", content) }}
}

func levelsOf(name, sender string, change func(c *court, content map[string]any)) side {
	return side{name, func(c *court) event.Draft {
		return c.levels(sender, func(content map[string]any) { change(c, content) })
	}}
}

func setting(name string, value any) func(*court, map[string]any) {
	return func(_ *court, content map[string]any) { content[name] = value }
}

func settingIn(list, name string, value any) func(*court, map[string]any) {
	return func(_ *court, content map[string]any) { content[list].(map[string]any)[name] = value }
}

func settingUser(user string, value any) func(*court, map[string]any) {
	return func(c *court, content map[string]any) {
		content["users"].(map[string]any)[string(c.peer.User(user))] = value
	}
}

// ruleGroup is a part of the rules.
type ruleGroup struct {
	name  string
	rules []rule
}

func ruleGroups() []ruleGroup {
	return []ruleGroup{
		{"auth events", authEventRules()}, {"membership", membershipRules()}, {"joins", joinRules()}, {"invites", inviteRules()},
		{"third-party invites", thirdPartyRules()}, {"kicks and bans", removalRules()}, {"knocks", knockRules()},
		{"power", powerRules()}, {"changes of power levels", levelRules()},
	}
}

// RuleTest is the test of an authorisation rule in a room version.
type RuleTest struct {
	Test    string // its whole text
	Forbids bool   // it has events that the rule forbids
	Allows  bool   // and such that it allows
}

// RuleTests are the tests of the authorisation rules of a room version.
func RuleTests(version int) []RuleTest {
	var tests []RuleTest
	for _, group := range ruleGroups() {
		for _, r := range group.rules {
			if r.in(version) {
				tests = append(tests, RuleTest{
					Test:    fmt.Sprintf("Authorisation %s %s in room version %d", group.name, r.text, version),
					Forbids: len(r.forbidden) > 0, Allows: len(r.allowed) > 0,
				})
			}
		}
	}
	return tests
}

var _ = Describe("Authorisation", Label("s2s:authorisation"), func() {
	for _, group := range ruleGroups() {
		Context(group.name, func() {
			for _, r := range group.rules {
				for _, version := range peer.Versions() {
					if !r.in(numberOf(version)) {
						continue
					}
					It(r.text+" in room version "+string(version), Label(labelVersion+string(version)),
						says("rooms/v"+string(version)+"#authorisation-rules", r.text), func(ctx SpecContext) { r.try(ctx, version) })
				}
			}
		})
	}
})

func (r rule) try(ctx SpecContext, version roomversion.Version) {
	GinkgoHelper()
	c := openCourt(ctx, version, r.room)
	for _, s := range r.forbidden {
		c.forbids(ctx, s.name, s.make(c))
	}
	for _, s := range r.allowed {
		c.allows(ctx, s.name, s.make(c))
	}
}

// withAuth changes the auth events of a draft.
func withAuth(name string, make func(c *court) event.Draft, change func(c *court, auth []id.EventID) []id.EventID) side {
	return side{name, func(c *court) event.Draft {
		d := make(c)
		d.AuthEvents = change(c, d.AuthEvents)
		return d
	}}
}

func speaks(name string) func(c *court) event.Draft {
	return func(c *court) event.Draft { return c.message(name, "m.room.message") }
}

// of is the ID of the state event at a place.
func (c *court) of(eventType, stateKey string) id.EventID {
	GinkgoHelper()
	e := c.State(eventType, stateKey)
	Expect(e).NotTo(BeNil(), fmt.Sprintf("%s %q", eventType, stateKey))
	return e.ID()
}

func authEventRules() []rule {
	renamed := courtOptions{before: func(c *court) {
		c.put("carol", "m.room.member", string(c.peer.User("carol")), map[string]any{"membership": "join", "displayname": "Carol"})
	}}
	firstJoin := func(c *court) id.EventID {
		for _, e := range c.Timeline() {
			if e.Is("m.room.member", string(c.peer.User("carol"))) {
				return e.ID()
			}
		}
		return ""
	}
	add := func(eventType string) func(c *court, auth []id.EventID) []id.EventID {
		return func(c *court, auth []id.EventID) []id.EventID { return append(auth, c.of(eventType, "")) }
	}
	return []rule{
		{text: "If there are duplicate entries for a given type and state_key pair, reject.", room: renamed,
			forbidden: []side{withAuth("with both of carol's joins", speaks("carol"), func(c *court, auth []id.EventID) []id.EventID { return append(auth, firstJoin(c)) })},
			allowed:   []side{messageOf("with one", "carol", "m.room.message")}},
		{text: "If there are entries whose type and state_key don't match those specified by the auth events selection algorithm described in the server specification, reject.",
			forbidden: []side{
				withAuth("a message with the join rules", speaks("carol"), add("m.room.join_rules")),
				withAuth("a message with the history visibility", speaks("carol"), add("m.room.history_visibility")),
				withAuth("a message with somebody else's membership", speaks("carol"), func(c *court, auth []id.EventID) []id.EventID {
					return append(auth, c.of("m.room.member", string(c.peer.User("dave"))))
				}),
			},
			allowed: []side{messageOf("a message with the selection", "carol", "m.room.message")}},
		{text: "If there is no m.room.create event among the entries, reject.", to: 11,
			forbidden: []side{withAuth("a message without it", speaks("carol"), func(c *court, auth []id.EventID) []id.EventID {
				return slicesWithout(auth, c.of("m.room.create", ""))
			})},
			allowed: []side{messageOf("a message with it", "carol", "m.room.message")}},
		{text: "In this room version, m.room.create MUST NOT be selected.", from: 12,
			forbidden: []side{withAuth("a message with it", speaks("carol"), add("m.room.create"))},
			allowed:   []side{messageOf("a message without it", "carol", "m.room.message")}},
		{text: "If it has any prev_events, reject.",
			forbidden: []side{{"a second create event", func(c *court) event.Draft {
				d := c.state("bob", "m.room.create", "", map[string]any{"creator": string(c.user), "room_version": fmt.Sprint(c.version)})
				d.AuthEvents = []id.EventID{}
				return d
			}}}},
		{text: "If the sender's current membership state is not join, reject.",
			forbidden: []side{
				messageOf("a message of somebody who was never there", "gina", "m.room.message"),
				messageOf("a message of somebody who is invited", "frank", "m.room.message"),
				messageOf("a message of somebody who is banned", "erin", "m.room.message"),
				stateOf("state of somebody who was never there", "gina", "org.example.free", map[string]any{}),
				withAuth("a message without the sender's membership", speaks("carol"), func(c *court, auth []id.EventID) []id.EventID {
					return slicesWithout(auth, c.of("m.room.member", string(c.peer.User("carol"))))
				}),
			},
			allowed: []side{messageOf("a message of somebody who is there", "carol", "m.room.message")}},
	}
}

func slicesWithout(list []id.EventID, unwanted id.EventID) []id.EventID {
	rest := []id.EventID{}
	for _, one := range list {
		if one != unwanted {
			rest = append(rest, one)
		}
	}
	return rest
}

func membershipRules() []rule {
	return []rule{
		{text: "If there is no state_key property, or no membership property in content, reject.",
			forbidden: []side{
				{"no state key", func(c *court) event.Draft {
					return c.draft("carol", "m.room.member", nil, map[string]any{"membership": "join"})
				}},
				{"no membership", func(c *court) event.Draft {
					return c.state("carol", "m.room.member", string(c.peer.User("carol")), map[string]any{"displayname": "Carol"})
				}},
			},
			allowed: []side{membershipOf("both", "carol", "carol", "join", "displayname", "Carol")}},
		{text: "Otherwise, the membership is unknown. Reject.",
			forbidden: []side{membershipOf("asleep", "carol", "carol", "asleep"), membershipOf("no text at all", "carol", "carol", "")}},
		{text: "Otherwise, the membership is unknown. Reject. (There is no knocking before room version 7.)", to: 6,
			room:      courtOptions{joinRule: "knock"},
			forbidden: []side{membershipOf("a knock", "gina", "gina", "knock")}},
		{text: "If type is m.room.aliases: If event has no state_key, reject. If sender's domain doesn't match state_key, reject. Otherwise, allow.", to: 5,
			forbidden: []side{
				{"no state key", func(c *court) event.Draft {
					return c.draft("bob", "m.room.aliases", nil, map[string]any{"aliases": []any{}})
				}},
				{"another domain", func(c *court) event.Draft {
					return c.state("bob", "m.room.aliases", "elsewhere.test", map[string]any{"aliases": []any{}})
				}},
			},
			allowed: []side{{"one's own domain, without power", func(c *court) event.Draft {
				return c.state("carol", "m.room.aliases", string(c.peer.Name), map[string]any{"aliases": []any{}})
			}}}},
		{text: "m.room.aliases is state like any other: If the event type's required power level is greater than the sender's power level, reject.", from: 6,
			forbidden: []side{{"one's own domain, without power", func(c *court) event.Draft {
				return c.state("carol", "m.room.aliases", string(c.peer.Name), map[string]any{"aliases": []any{}})
			}}},
			allowed: []side{{"another domain, with power", func(c *court) event.Draft {
				return c.state("dave", "m.room.aliases", "elsewhere.test", map[string]any{"aliases": []any{}})
			}}}},
	}
}

func joinRules() []rule {
	return []rule{
		{text: "If the sender does not match state_key, reject.",
			forbidden: []side{membershipOf("a join for somebody else", "bob", "gina", "join")},
			allowed:   []side{membershipOf("a join for oneself", "gina", "gina", "join")}},
		{text: "If the sender is banned, reject.",
			forbidden: []side{membershipOf("a join of somebody banned", "erin", "erin", "join")}},
		{text: "If the join_rule is public, allow.",
			allowed: []side{membershipOf("a stranger", "gina", "gina", "join"), membershipOf("a member again", "carol", "carol", "join", "displayname", "C"), membershipOf("somebody invited", "frank", "frank", "join")}},
		{text: "If the join_rule is invite or knock then allow if membership state is invite or join.",
			room:      courtOptions{joinRule: "invite"},
			forbidden: []side{membershipOf("a stranger", "gina", "gina", "join")},
			allowed:   []side{membershipOf("somebody invited", "frank", "frank", "join"), membershipOf("a member again", "carol", "carol", "join", "displayname", "C")}},
		{text: "If the join_rule is knock then allow if membership state is invite or join.", from: 7,
			room:      courtOptions{joinRule: "knock"},
			forbidden: []side{membershipOf("a stranger", "gina", "gina", "join")},
			allowed:   []side{membershipOf("somebody invited", "frank", "frank", "join")}},
		{text: "If the join_rule is restricted: If the join_authorised_via_users_server key in content is not a user with sufficient permission to invite other users or is not a joined member of the room, reject.", from: 8,
			room: courtOptions{joinRule: "restricted", allow: true},
			forbidden: []side{
				membershipOf("a stranger whom nobody let in", "gina", "gina", "join"),
				{"a stranger whom somebody without power let in", func(c *court) event.Draft {
					return c.member("gina", "gina", "join", "join_authorised_via_users_server", string(c.peer.User("carol")))
				}},
				{"a stranger whom a stranger let in", func(c *court) event.Draft {
					return c.member("gina", "gina", "join", "join_authorised_via_users_server", string(c.peer.User("hal")))
				}},
			},
			allowed: []side{
				{"a stranger whom somebody with power let in", func(c *court) event.Draft {
					return c.member("gina", "gina", "join", "join_authorised_via_users_server", string(c.peer.User("dave")))
				}},
				membershipOf("somebody invited", "frank", "frank", "join"),
			}},
		{text: "If the join_rule is knock_restricted: as for restricted.", from: 10,
			room:      courtOptions{joinRule: "knock_restricted", allow: true},
			forbidden: []side{membershipOf("a stranger whom nobody let in", "gina", "gina", "join")},
			allowed: []side{{"a stranger whom somebody with power let in", func(c *court) event.Draft {
				return c.member("gina", "gina", "join", "join_authorised_via_users_server", string(c.peer.User("dave")))
			}}}},
		{text: "If the event is not validly signed by the homeserver of the user ID denoted by the key, reject.", from: 8,
			forbidden: []side{{"a join in alice's name that her server did not sign", func(c *court) event.Draft {
				return c.member("gina", "gina", "join", "join_authorised_via_users_server", alice.ID)
			}}},
			allowed: []side{{"a join in the name of a user of the peer's", func(c *court) event.Draft {
				return c.member("gina", "gina", "join", "join_authorised_via_users_server", string(c.peer.User("dave")))
			}}}},
		{text: "Otherwise, reject. (The join_rule is none of those that let somebody in.)",
			room:      courtOptions{joinRule: "private"},
			forbidden: []side{membershipOf("a stranger", "gina", "gina", "join"), membershipOf("somebody invited", "frank", "frank", "join")}},
		{text: "Otherwise, reject. (There is no knock_restricted before room version 10.)", to: 9,
			room:      courtOptions{joinRule: "knock_restricted", allow: true},
			forbidden: []side{membershipOf("somebody invited", "frank", "frank", "join")}},
	}
}

func inviteRules() []rule {
	return []rule{
		{text: "If membership is invite: If the sender's current membership state is not join, reject.",
			forbidden: []side{membershipOf("by a stranger", "gina", "hal", "invite"), membershipOf("by somebody invited", "frank", "hal", "invite")},
			allowed:   []side{membershipOf("by somebody there", "dave", "hal", "invite")}},
		{text: "If target user's current membership state is join or ban, reject.",
			forbidden: []side{membershipOf("of somebody there", "bob", "carol", "invite"), membershipOf("of somebody banned", "bob", "erin", "invite")},
			allowed:   []side{membershipOf("of somebody invited before", "bob", "frank", "invite")}},
		{text: "If the sender's power level is greater than or equal to the invite level, allow.",
			forbidden: []side{membershipOf("without power", "carol", "hal", "invite")},
			allowed:   []side{membershipOf("with just enough", "dave", "hal", "invite")}},
	}
}

func removalRules() []rule {
	return []rule{
		{text: "If membership is leave: If the sender matches state_key, allow if and only if that user's current membership state is invite, join, or knock.",
			forbidden: []side{membershipOf("by a stranger", "gina", "gina", "leave"), membershipOf("by somebody banned", "erin", "erin", "leave")},
			allowed:   []side{membershipOf("by somebody there", "carol", "carol", "leave"), membershipOf("by somebody invited", "frank", "frank", "leave")}},
		{text: "If membership is leave: If the sender's current membership state is not join, reject.",
			forbidden: []side{membershipOf("by a stranger", "gina", "carol", "leave"), membershipOf("by somebody invited", "frank", "carol", "leave")}},
		{text: "If the target user's current membership state is ban, and the sender's power level is less than the ban level, reject.",
			forbidden: []side{membershipOf("without the ban level", "dave", "erin", "leave")},
			allowed:   []side{membershipOf("with it", "ian", "erin", "leave")}},
		{text: "If the sender's power level is greater than or equal to the kick level, and the target user's power level is less than the sender's power level, allow.",
			room: courtOptions{levels: func(content map[string]any) { content["users_default"] = 0 }},
			forbidden: []side{
				membershipOf("without the kick level", "carol", "frank", "leave"), membershipOf("of somebody higher", "dave", "ian", "leave"),
				membershipOf("of somebody as high", "ian", "jo", "leave"), membershipOf("of the creator", "ian", "bob", "leave"),
			},
			allowed: []side{membershipOf("of somebody lower", "dave", "carol", "leave"), membershipOf("of somebody invited", "dave", "frank", "leave")}},
		{text: "If membership is ban: If the sender's current membership state is not join, reject.",
			forbidden: []side{membershipOf("by a stranger", "gina", "carol", "ban")}},
		{text: "If the sender's power level is greater than or equal to the ban level, and the target user's power level is less than the sender's power level, allow.",
			forbidden: []side{
				membershipOf("without the ban level", "dave", "carol", "ban"), membershipOf("of somebody as high", "ian", "jo", "ban"),
				membershipOf("of the creator", "ian", "bob", "ban"),
			},
			allowed: []side{membershipOf("of somebody lower", "ian", "dave", "ban"), membershipOf("of a stranger", "ian", "gina", "ban")}},
	}
}

func knockRules() []rule {
	return []rule{
		{text: "If the join_rule is anything other than knock or knock_restricted, reject.", from: 7,
			forbidden: []side{membershipOf("a knock at an open door", "gina", "gina", "knock")}},
		{text: "If the join_rule is anything other than knock, reject. (There is no knock_restricted before room version 10.)", from: 7, to: 9,
			room:      courtOptions{joinRule: "knock_restricted"},
			forbidden: []side{membershipOf("a knock", "gina", "gina", "knock")}},
		{text: "If membership is knock: If sender does not match state_key, reject.", from: 7,
			room:      courtOptions{joinRule: "knock"},
			forbidden: []side{membershipOf("a knock for somebody else", "bob", "gina", "knock")},
			allowed:   []side{membershipOf("a knock for oneself", "gina", "gina", "knock")}},
		{text: "If the sender's current membership is not ban, invite, or join, allow.", from: 7,
			room: courtOptions{joinRule: "knock"},
			forbidden: []side{
				membershipOf("of somebody there", "carol", "carol", "knock"), membershipOf("of somebody invited", "frank", "frank", "knock"),
				membershipOf("of somebody banned", "erin", "erin", "knock"),
			},
			allowed: []side{membershipOf("of a stranger", "gina", "gina", "knock"), membershipOf("once more", "gina", "gina", "knock", "reason", "please")}},
		{text: "If the join_rule is knock_restricted, knocking is allowed.", from: 10,
			room:    courtOptions{joinRule: "knock_restricted", allow: true},
			allowed: []side{membershipOf("of a stranger", "gina", "gina", "knock")}},
		{text: "A knock is withdrawn: If the sender matches state_key, allow if and only if that user's current membership state is invite, join, or knock.", from: 7,
			room:    courtOptions{joinRule: "knock"},
			allowed: []side{membershipOf("a knock", "gina", "gina", "knock"), membershipOf("its withdrawal", "gina", "gina", "leave")}},
	}
}

func powerRules() []rule {
	return []rule{
		{text: "If type is m.room.third_party_invite: Allow if and only if sender's current power level is greater than or equal to the invite level.",
			room: courtOptions{levels: func(content map[string]any) { content["state_default"] = 90 }},
			forbidden: []side{{"without it", func(c *court) event.Draft {
				return c.state("carol", "m.room.third_party_invite", "t", map[string]any{"display_name": "x"})
			}}},
			allowed: []side{{"with it", func(c *court) event.Draft {
				return c.state("dave", "m.room.third_party_invite", "t", map[string]any{"display_name": "x"})
			}}}},
		{text: "If the event type's required power level is greater than the sender's power level, reject.",
			forbidden: []side{
				stateOf("state below state_default", "carol", "m.room.topic", map[string]any{"topic": "mine"}),
				messageOf("a message of a type with a level", "dave", "org.example.high"),
				stateOf("state of a type with a level", "dave", "org.example.high", map[string]any{}),
			},
			allowed: []side{
				stateOf("state at state_default", "dave", "m.room.topic", map[string]any{"topic": "ours"}), messageOf("a message at its level", "ian", "org.example.high"),
				stateOf("state of a type that is free", "carol", "org.example.free", map[string]any{}), messageOf("a message at events_default", "carol", "m.room.message"),
			}},
		{text: "If the event type's required power level is greater than the sender's power level, reject. (events_default)",
			room:      courtOptions{levels: func(content map[string]any) { content["events_default"] = 50 }},
			forbidden: []side{messageOf("below it", "carol", "m.room.message")},
			allowed:   []side{messageOf("at it", "dave", "m.room.message")}},
		{text: "Power levels are inferred from defaults when not explicitly supplied.",
			room: courtOptions{levels: func(content map[string]any) {
				for _, name := range []string{"users_default", "events_default", "state_default", "ban", "kick", "redact", "invite", "events", "notifications"} {
					delete(content, name)
				}
			}},
			forbidden: []side{stateOf("state needs 50", "carol", "m.room.topic", map[string]any{"topic": "mine"}), membershipOf("a kick needs 50", "carol", "frank", "leave"), membershipOf("a ban needs 50", "carol", "frank", "ban")},
			allowed: []side{
				messageOf("a message needs 0", "carol", "m.room.message"), membershipOf("an invite needs 0", "carol", "hal", "invite"),
				stateOf("state needs 50", "dave", "m.room.topic", map[string]any{"topic": "ours"}), membershipOf("a ban needs 50", "dave", "carol", "ban"),
			}},
		{text: "If the event has a state_key that starts with an @ and does not match the sender, reject.",
			forbidden: []side{{"somebody else's", func(c *court) event.Draft {
				return c.state("bob", "org.example.free", string(c.peer.User("carol")), map[string]any{})
			}}},
			allowed: []side{{"one's own", func(c *court) event.Draft {
				return c.state("carol", "org.example.free", string(c.peer.User("carol")), map[string]any{})
			}}}},
		{text: "If type is m.room.redaction: If the sender's power level is greater than or equal to the redact level, allow. If the domain of the event_id of the event being redacted is the same as the domain of the event_id of the m.room.redaction, allow.", to: 2,
			forbidden: []side{redactionOf("of alice's join, without power", "ian", alicesJoin)},
			allowed:   []side{redactionOf("of one's own server's event", "carol", bobs), redactionOf("of alice's, with power", "bob", alicesJoin)}},
		{text: "In particular, the redact level is not considered by the auth rules.", from: 3,
			allowed: []side{redactionOf("of an event of the same server, without power", "carol", bobs)}},
	}
}

func alicesJoin(c *court) id.EventID { return c.of("m.room.member", alice.ID) }

func bobs(c *court) id.EventID { return c.of("m.room.history_visibility", "") }

func redactionOf(name, sender string, of func(c *court) id.EventID) side {
	return side{name, func(c *court) event.Draft {
		d := c.draft(sender, "m.room.redaction", nil, map[string]any{"reason": "none"})
		d.Redacts = of(c)
		return d
	}}
}
