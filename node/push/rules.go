// Package push is the push rules, which say what a user wants to be notified of, and how, and the pushers, which tell the
// push gateways of users' apps. It reads and changes the rules, and says what they make of an event. Counting what is unread
// is node/clientsync's part.
package push

import (
	"encoding/json"

	"hanse/federation/canonicaljson"
	"hanse/federation/exactjson"
	"hanse/federation/id"
)

// Ruleset is a user's rules: five lists, each in the order in which they are tried. Immutable once it is handed out: the
// methods that change something give a new one.
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
	ID      string `json:"rule_id"`
	Default bool   `json:"default"`
	Enabled bool   `json:"enabled"`
	// Pattern is of content rules alone, Conditions of override and underride rules: what they don't know is kept too.
	Pattern    *string           `json:"pattern,omitempty"`
	Conditions []json.RawMessage `json:"conditions,omitzero"`
	Actions    []json.RawMessage `json:"actions"`
}

// Content is the content of the account data m.push_rules, and the answer of /pushrules/.
type Content struct {
	Global Ruleset `json:"global"`
}

// AccountDataType is where a user's rules are kept.
const AccountDataType = "m.push_rules"

// condition is what an event must have for a rule to apply. Which fields count depends on Kind.
type condition struct {
	Kind    string          `json:"kind"`
	Key     *string         `json:"key,omitempty"`
	Pattern *string         `json:"pattern,omitempty"`
	Value   json.RawMessage `json:"value,omitempty"`
	Is      *string         `json:"is,omitempty"`
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
	master := rule(masterRule, acts())
	master.Enabled = false
	return []Rule{
		master,
		rule(".m.rule.suppress_notices", acts(), match("content.msgtype", "m.notice")),
		rule(".m.rule.invite_for_me", acts(notify, sound("default")),
			match("type", "m.room.member"), match("content.membership", "invite"), match("state_key", string(user))),
		rule(".m.rule.member_event", acts(), match("type", "m.room.member")),
		rule(".m.rule.is_user_mention", acts(notify, sound("default"), highlight),
			property("event_property_contains", mentionsPath, string(user))),
		rule(".m.rule.is_room_mention", acts(notify, highlight),
			property("event_property_is", `content.m\.mentions.room`, true), sender("room")),
		rule(".m.rule.tombstone", acts(notify, highlight), match("type", "m.room.tombstone"), match("state_key", "")),
		rule(".m.rule.reaction", acts(), match("type", "m.reaction")),
		rule(".m.rule.room.server_acl", acts(), match("type", "m.room.server_acl"), match("state_key", "")),
		rule(".m.rule.suppress_edits", acts(), property("event_property_is", `content.m\.relates_to.rel_type`, "m.replace")),
	}
}

// masterRule switches everything off; unlike other default rules it comes before the user's.
const masterRule = ".m.rule.master"

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

func match(key, pattern string) condition {
	return condition{Kind: "event_match", Key: &key, Pattern: &pattern}
}

func property(kind, key string, value any) condition {
	raw, _ := canonicaljson.Marshal(value) // texts and truths always encode
	return condition{Kind: kind, Key: &key, Value: raw}
}

func sender(key string) condition {
	return condition{Kind: "sender_notification_permission", Key: &key}
}

func two() condition {
	is := "2"
	return condition{Kind: "room_member_count", Is: &is}
}

func rule(ruleID string, actions []json.RawMessage, conditions ...condition) Rule {
	raws := make([]json.RawMessage, 0, len(conditions))
	for _, c := range conditions {
		raw, _ := json.Marshal(c) // texts always encode
		raws = append(raws, raw)
	}
	return Rule{ID: ruleID, Default: true, Enabled: true, Conditions: raws, Actions: actions}
}

// The kinds of rules, in the order in which they are tried.
const (
	KindOverride  = "override"
	KindContent   = "content"
	KindRoom      = "room"
	KindSender    = "sender"
	KindUnderride = "underride"
)

// kinds are all of them.
func kinds() [5]string {
	return [...]string{KindOverride, KindContent, KindRoom, KindSender, KindUnderride}
}

// list is where a kind's rules are; nil if there is no such kind.
func (r *Ruleset) list(kind string) *[]Rule {
	switch kind {
	case KindOverride:
		return &r.Override
	case KindContent:
		return &r.Content
	case KindRoom:
		return &r.Room
	case KindSender:
		return &r.Sender
	case KindUnderride:
		return &r.Underride
	}
	return nil
}

// Rule finds a rule; M_NOT_FOUND if there is none. Of a kind that isn't known there are none: clients look so whether a server has
// the rules of a proposal.
func (r Ruleset) Rule(kind, ruleID string) (Rule, error) {
	if r.list(kind) == nil {
		return Rule{}, noSuchRule()
	}
	list, at, err := r.find(kind, ruleID)
	if err != nil {
		return Rule{}, err
	}
	return list[at], nil
}

// Read gives a user's rules: what is stored (nil: nothing) with the default rules as they are now, of which the user can
// only change whether they hold and what they do. What is not readable counts as nothing.
func Read(user id.UserID, stored json.RawMessage) Ruleset {
	rules := DefaultRules(user)
	var content Content
	if len(stored) == 0 || exactjson.Unmarshal(stored, &content) != nil {
		return rules
	}
	for _, kind := range kinds() {
		list, kept := rules.list(kind), *content.Global.list(kind)
		var own []Rule
		for _, k := range kept {
			if !k.Default {
				own = append(own, k)
			} else if i := index(*list, k.ID); i >= 0 {
				(*list)[i].Enabled, (*list)[i].Actions = k.Enabled, k.Actions
			}
		}
		*list = insert(*list, firstPlace(*list), own...)
	}
	return rules
}

// Encode is how rules are stored.
func (r Ruleset) Encode() (json.RawMessage, error) { return json.Marshal(Content{r}) }
