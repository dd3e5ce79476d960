package push

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"hanse/federation"
	"hanse/federation/canonicaljson"
	"hanse/federation/exactjson"
	"hanse/federation/id"
)

// Change is what a client gives of a rule.
type Change struct {
	Actions    json.RawMessage `json:"actions"`
	Conditions json.RawMessage `json:"conditions"`
	Pattern    *string         `json:"pattern"`
}

// Put adds a rule of the user's, or replaces it. Without before and after, which name rules of the user's of the same
// kind, a new one becomes the most important of the user's and an old one keeps its place. Errors: M_INVALID_PARAM and
// others of a malformed rule, M_UNKNOWN where before or after name no rule, M_TOO_LARGE.
//
// spec:client-server-api#put_matrixclientv3pushrulesglobalkindruleid
func (r Ruleset) Put(kind, ruleID string, change Change, before, after string) (Ruleset, error) {
	if r.list(kind) == nil {
		return r, noSuchKind(kind)
	}
	if err := checkID(ruleID); err != nil {
		return r, err
	}
	made, err := change.rule(kind, ruleID)
	if err != nil {
		return r, err
	}
	list := slices.Clone(*r.list(kind))
	at := index(list, ruleID)
	if at >= 0 {
		made.Enabled = list[at].Enabled
	}
	if at >= 0 && before == "" && after == "" {
		list[at] = made
		return r.with(kind, list)
	}
	if at >= 0 {
		list = slices.Delete(list, at, at+1)
	}
	place := firstPlace(list)
	if neighbour := firstOf(before, after); neighbour != "" {
		place = index(list, neighbour)
		if place < 0 || list[place].Default {
			return r, federation.NewError(http.StatusBadRequest, federation.CodeUnknown, "before/after rule not found: "+neighbour)
		}
		if before == "" {
			place++
		}
	}
	return r.with(kind, insert(list, place, made))
}

func firstOf(before, after string) string {
	if before != "" {
		return before
	}
	return after
}

// Delete removes a rule of the user's; M_NOT_FOUND if there is none, M_INVALID_PARAM for the server's.
//
// spec:client-server-api#delete_matrixclientv3pushrulesglobalkindruleid
func (r Ruleset) Delete(kind, ruleID string) (Ruleset, error) {
	list, at, err := r.find(kind, ruleID)
	if err != nil {
		return r, err
	}
	if list[at].Default {
		return r, federation.InvalidParam("a rule of the server can't be deleted; disable it")
	}
	return r.with(kind, slices.Delete(list, at, at+1))
}

// Enable switches a rule on or off; M_NOT_FOUND if there is none.
//
// spec:client-server-api#put_matrixclientv3pushrulesglobalkindruleidenabled
func (r Ruleset) Enable(kind, ruleID string, enabled bool) (Ruleset, error) {
	list, at, err := r.find(kind, ruleID)
	if err != nil {
		return r, err
	}
	list[at].Enabled = enabled
	return r.with(kind, list)
}

// SetActions changes what a rule does; M_NOT_FOUND if there is none.
//
// spec:client-server-api#put_matrixclientv3pushrulesglobalkindruleidactions
func (r Ruleset) SetActions(kind, ruleID string, actions json.RawMessage) (Ruleset, error) {
	list, at, err := r.find(kind, ruleID)
	if err != nil {
		return r, err
	}
	if list[at].Actions, err = readActions(actions); err != nil {
		return r, err
	}
	return r.with(kind, list)
}

// Inherit gives a room that replaces another the user's rules for the old one: those of the kind room, and those with a
// condition on the room's ID. Rules that are there already stay. Errors: M_TOO_LARGE.
func (r Ruleset) Inherit(old, room id.RoomID) (Ruleset, error) {
	var err error
	for _, kind := range []string{KindOverride, KindRoom, KindUnderride} {
		for _, was := range slices.Backward(*r.list(kind)) {
			list := slices.Clone(*r.list(kind))
			made, concerned := was.forRoom(kind, old, room)
			if !concerned || was.Default || index(list, made.ID) >= 0 {
				continue
			}
			if r, err = r.with(kind, insert(list, index(list, was.ID), made)); err != nil {
				return r, err
			}
		}
	}
	return r, nil
}

// forRoom is a rule for a room as a rule for another; false if it isn't about the old room.
func (rule Rule) forRoom(kind string, old, room id.RoomID) (Rule, bool) {
	concerned := kind == KindRoom && rule.ID == string(old)
	conditions := slices.Clone(rule.Conditions)
	for i, raw := range conditions {
		var c condition
		if exactjson.Unmarshal(raw, &c) != nil || c.Kind != "event_match" || c.check() != nil || *c.Key != "room_id" || *c.Pattern != string(old) {
			continue
		}
		conditions[i], _ = json.Marshal(match(*c.Key, string(room))) // texts always encode
		concerned = true
	}
	rule.Conditions = conditions
	if rule.ID == string(old) {
		rule.ID = string(room)
	} else { // one of the user's own naming; it doesn't grow with each upgrade
		rule.ID = strings.TrimSuffix(rule.ID, "."+string(old)) + "." + string(room)
	}
	return rule, concerned && len(rule.ID) <= maxRuleID
}

// find gives a copy of a kind's rules and the place of one.
func (r Ruleset) find(kind, ruleID string) ([]Rule, int, error) {
	if r.list(kind) == nil {
		return nil, 0, noSuchKind(kind)
	}
	list := slices.Clone(*r.list(kind))
	at := index(list, ruleID)
	if at < 0 {
		return nil, 0, noSuchRule()
	}
	return list, at, nil
}

func noSuchRule() error { return federation.NotFound("no such push rule") }

func noSuchKind(kind string) error {
	return federation.InvalidParam(fmt.Sprintf("%q is not a kind of push rule", kind))
}

// with replaces a kind's rules.
func (r Ruleset) with(kind string, list []Rule) (Ruleset, error) {
	*r.list(kind) = list
	own := 0
	for _, k := range kinds() {
		for _, rule := range *r.list(k) {
			if !rule.Default {
				own++
			}
		}
	}
	encoded, err := r.Encode()
	if err != nil {
		return r, err
	}
	if own > maxOwnRules || len(encoded) > maxRuleset {
		return r, federation.TooLarge(fmt.Sprintf("these are too many push rules: at most %d, of %d bytes together", maxOwnRules, maxRuleset))
	}
	return r, nil
}

func index(list []Rule, ruleID string) int {
	return slices.IndexFunc(list, func(rule Rule) bool { return rule.ID == ruleID })
}

// firstPlace is where the user's rules begin.
func firstPlace(list []Rule) int {
	if len(list) > 0 && list[0].ID == masterRule {
		return 1
	}
	return 0
}

func insert(list []Rule, at int, rules ...Rule) []Rule {
	return slices.Insert(slices.Clip(list), at, rules...)
}

// checkID holds an ID against what the IDs of rules have. That of a room or sender rule need not be that of a room or user,
// as with Synapse: it matches nothing then.
func checkID(ruleID string) error {
	switch {
	case ruleID == "" || len(ruleID) > maxRuleID || !utf8.ValidString(ruleID):
		return federation.InvalidParam(fmt.Sprintf("the ID of a rule is UTF-8 of 1 to %d bytes", maxRuleID))
	case ruleID[0] == '.':
		return federation.InvalidParam("IDs that begin with a dot are for the server's rules")
	case strings.ContainsAny(ruleID, `/\`):
		return federation.InvalidParam("the ID of a rule has no slash or backslash")
	}
	return nil
}

// rule checks what a client gave and makes a rule of it.
func (c Change) rule(kind, ruleID string) (Rule, error) {
	made := Rule{ID: ruleID, Enabled: true}
	var err error
	if len(c.Actions)+len(c.Conditions) > maxRule || c.Pattern != nil && len(*c.Pattern) > maxRule {
		return made, federation.TooLarge("this push rule is too large")
	}
	if made.Actions, err = readActions(c.Actions); err != nil {
		return made, err
	}
	switch kind {
	case KindContent:
		if c.Pattern == nil {
			return made, federation.MissingParam("a content rule needs a pattern")
		}
		made.Pattern = c.Pattern
	case KindOverride, KindUnderride:
		made.Conditions, err = readConditions(c.Conditions)
	}
	return made, err
}

// readActions checks a list of actions. Those that are history stay in it, as clients that still give them want to find
// them again; they do nothing.
func readActions(raw json.RawMessage) ([]json.RawMessage, error) {
	list, err := elements(raw, "actions")
	if err != nil {
		return nil, err
	}
	actions := make([]json.RawMessage, 0, len(list))
	for _, action := range list {
		switch name, isName := canonicaljson.String(action); {
		case name == "notify" || isHistorical(name):
			actions = append(actions, action)
		case isName:
			return nil, federation.InvalidParam(fmt.Sprintf("%q is not an action", name))
		default:
			tweak, found := canonicaljson.Get(action, "set_tweak")
			if !canonicaljson.IsObject(action) || !found || !canonicaljson.IsString(tweak) {
				return nil, federation.InvalidParam("an action is a text, or an object with set_tweak")
			}
			actions = append(actions, action)
		}
	}
	return actions, nil
}

// isHistorical tells whether an action is one of those that mean nothing any more.
//
// spec:client-server-api/modules/push#historical-actions
func isHistorical(action string) bool { return action == "dont_notify" || action == "coalesce" }

// elements reads a list, in canonical form.
func elements(raw json.RawMessage, name string) ([]json.RawMessage, error) {
	if len(raw) == 0 {
		return nil, federation.MissingParam(name + " is missing")
	}
	canonical, err := canonicaljson.Append(nil, raw, canonicaljson.Strict)
	if err != nil || !canonicaljson.IsArray(canonical) {
		return nil, federation.BadJSON(name + " must be a list, of values that canonical JSON has")
	}
	var list []json.RawMessage
	for element := range canonicaljson.Elements(canonical) {
		list = append(list, bytes.Clone(element))
	}
	return list, nil
}

// readConditions checks a list of conditions; nil is an empty one. Kinds that are not known here are let through: they
// never match.
func readConditions(raw json.RawMessage) ([]json.RawMessage, error) {
	if len(raw) == 0 {
		return []json.RawMessage{}, nil
	}
	list, err := elements(raw, "conditions")
	if err != nil {
		return nil, err
	}
	for _, one := range list {
		var c condition
		if !canonicaljson.IsObject(one) || exactjson.Unmarshal(one, &c) != nil || c.Kind == "" {
			return nil, federation.InvalidParam("a condition is an object with a kind; its other fields are texts")
		}
		if err := c.check(); err != nil {
			return nil, federation.InvalidParam(fmt.Sprintf("a condition of the kind %s: %v", c.Kind, err))
		}
	}
	return append([]json.RawMessage{}, list...), nil
}

// check says what a condition of a known kind lacks.
func (c condition) check() error {
	key := func() error {
		if c.Key == nil {
			return fmt.Errorf("key is missing")
		}
		return nil
	}
	switch c.Kind {
	case "event_match":
		if c.Pattern == nil {
			return fmt.Errorf("pattern is missing")
		}
		return key()
	case "event_property_is", "event_property_contains":
		if !isScalar(c.Value) {
			return fmt.Errorf("value must be a text, a whole number, true, false or null")
		}
		return key()
	case "room_member_count":
		if c.Is == nil {
			return fmt.Errorf("is is missing")
		}
		_, err := parseCount(*c.Is)
		return err
	case "sender_notification_permission":
		return key()
	}
	return nil
}

// isScalar tells whether a canonical value is not compound.
func isScalar(value []byte) bool { return len(value) > 0 && value[0] != '{' && value[0] != '[' }

// count is the condition on a number of members.
type count struct {
	operator string
	number   int
}

// parseCount reads "2", "==2", "<2", ">=2" and so on.
func parseCount(text string) (count, error) {
	c := count{operator: "=="}
	digits := text
	for _, operator := range []string{"==", "<=", ">=", "<", ">"} {
		if rest, ok := strings.CutPrefix(text, operator); ok {
			c.operator, digits = operator, rest
			break
		}
	}
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil {
		return c, fmt.Errorf("%q is not a number of members", text)
	}
	c.number = int(n)
	return c, nil
}

func (c count) holds(members int) bool {
	switch c.operator {
	case "<":
		return members < c.number
	case "<=":
		return members <= c.number
	case ">":
		return members > c.number
	case ">=":
		return members >= c.number
	}
	return members == c.number
}
