// Package push is the push rules. For now these are the server's default ones, which are all that a user has: rules
// can't be changed yet, nothing is counted and nothing is pushed.
package push

import (
	"encoding/json"

	"hanse/federation/id"
)

// Ruleset is a user's rules: five lists, each in the order in which they are tried.
//
// spec:client-server-api/modules/push#push-rules
type Ruleset struct {
	Override  []Rule `json:"override"`
	Content   []Rule `json:"content"`
	Room      []Rule `json:"room"`
	Sender    []Rule `json:"sender"`
	Underride []Rule `json:"underride"`
}

// Rule is one rule.
type Rule struct {
	ID         string            `json:"rule_id"`
	Default    bool              `json:"default"`
	Enabled    bool              `json:"enabled"`
	Conditions []Condition       `json:"conditions"`
	Actions    []json.RawMessage `json:"actions"`
}

// Condition is what an event must have for a rule to apply. Which fields count depends on Kind.
type Condition struct {
	Kind    string  `json:"kind"`
	Key     string  `json:"key,omitempty"`
	Pattern *string `json:"pattern,omitempty"`
	Value   any     `json:"value,omitempty"`
	Is      string  `json:"is,omitempty"`
}

// DefaultRules are the rules the server gives a user.
//
// spec:client-server-api/modules/push#predefined-rules
func DefaultRules(user id.UserID) Ruleset {
	return Ruleset{
		Override: overrides(user),
		Content:  []Rule{},
		Room:     []Rule{},
		Sender:   []Rule{},
		Underride: []Rule{
			rule(".m.rule.call", acts(notify, sound("ring")), match("type", "m.call.invite")),
			rule(".m.rule.encrypted_room_one_to_one", acts(notify, sound("default")), two(), match("type", "m.room.encrypted")),
			rule(".m.rule.room_one_to_one", acts(notify, sound("default")), two(), match("type", "m.room.message")),
			rule(".m.rule.message", acts(notify), match("type", "m.room.message")),
			rule(".m.rule.encrypted", acts(notify), match("type", "m.room.encrypted")),
		},
	}
}

// spec:client-server-api/modules/push#default-override-rules
func overrides(user id.UserID) []Rule {
	master := rule(".m.rule.master", acts())
	master.Enabled = false
	return []Rule{
		master,
		rule(".m.rule.suppress_notices", acts(), match("content.msgtype", "m.notice")),
		rule(".m.rule.invite_for_me", acts(notify, sound("default")),
			match("type", "m.room.member"), match("content.membership", "invite"), match("state_key", string(user))),
		rule(".m.rule.member_event", acts(), match("type", "m.room.member")),
		rule(".m.rule.is_user_mention", acts(notify, sound("default"), highlight),
			Condition{Kind: "event_property_contains", Key: `content.m\.mentions.user_ids`, Value: user}),
		rule(".m.rule.is_room_mention", acts(notify, highlight),
			Condition{Kind: "event_property_is", Key: `content.m\.mentions.room`, Value: true},
			Condition{Kind: "sender_notification_permission", Key: "room"}),
		rule(".m.rule.tombstone", acts(notify, highlight), match("type", "m.room.tombstone"), match("state_key", "")),
		rule(".m.rule.reaction", acts(), match("type", "m.reaction")),
		rule(".m.rule.room.server_acl", acts(), match("type", "m.room.server_acl"), match("state_key", "")),
		rule(".m.rule.suppress_edits", acts(),
			Condition{Kind: "event_property_is", Key: `content.m\.relates_to.rel_type`, Value: "m.replace"}),
	}
}

// The actions that the default rules use.
const (
	notify    = `"notify"`
	highlight = `{"set_tweak":"highlight"}`
)

func sound(name string) string { return `{"set_tweak":"sound","value":"` + name + `"}` }

func acts(actions ...string) []json.RawMessage {
	list := make([]json.RawMessage, 0, len(actions))
	for _, a := range actions {
		list = append(list, json.RawMessage(a))
	}
	return list
}

func match(key, pattern string) Condition {
	return Condition{Kind: "event_match", Key: key, Pattern: &pattern}
}

func two() Condition { return Condition{Kind: "room_member_count", Is: "2"} }

func rule(ruleID string, actions []json.RawMessage, conditions ...Condition) Rule {
	if conditions == nil {
		conditions = []Condition{}
	}
	return Rule{ID: ruleID, Default: true, Enabled: true, Conditions: conditions, Actions: actions}
}

// Kind returns the list of a kind; false if there is no such kind.
func (r Ruleset) Kind(kind string) ([]Rule, bool) {
	switch kind {
	case "override":
		return r.Override, true
	case "content":
		return r.Content, true
	case "room":
		return r.Room, true
	case "sender":
		return r.Sender, true
	case "underride":
		return r.Underride, true
	}
	return nil, false
}
