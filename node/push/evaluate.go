package push

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"hanse/federation/canonicaljson"
	"hanse/federation/exactjson"
	"hanse/federation/id"
)

// Room answers what conditions ask about the room of an event. The errors are our own trouble. One room is asked by one
// evaluation at a time.
type Room interface {
	// Members is how many are joined.
	Members() (int, error)
	// DisplayName is the user's in the room; "" if there is none.
	DisplayName(user id.UserID) (string, error)
	// MayNotify tells whether the sender of the event has the power to notify the room in the way that key names.
	MayNotify(key string) (bool, error)
}

// Rules are a user's rules, ready to be held against events. Immutable, safe for concurrent use.
type Rules struct {
	user id.UserID
	// before and after are those that hold for all rooms and senders: in between come those for one room, then sender.
	before, after []check
	rooms         map[id.RoomID]*Outcome
	senders       map[id.UserID]*Outcome
	// usual says that they are the server's, as of most users: what they make of an event is found out once for all.
	usual bool
}

// check is a rule that is switched on. Its conditions are in order of what they cost: all must hold.
type check struct {
	conditions []test
	outcome    *Outcome
}

// test tells whether a condition holds.
type test func(e *evaluation) (bool, error)

type evaluation struct {
	user    id.UserID
	subject *Subject
	room    Room
	left    steps
}

// Outcome is what a rule makes of an event. Immutable.
type Outcome struct {
	Notify    bool
	Highlight bool // only of what notifies
	Actions   []json.RawMessage
	Tweaks    map[string]json.RawMessage
}

// Compile makes a user's rules ready. What a rule has that is not understood makes it match nothing.
func Compile(user id.UserID, rules Ruleset) *Rules {
	r := &Rules{
		user: user, rooms: map[id.RoomID]*Outcome{}, senders: map[id.UserID]*Outcome{},
		usual: reflect.DeepEqual(rules, DefaultRules(user)),
	}
	r.before = append(compileList(rules.Override), compileList(rules.Content)...)
	r.after = compileList(rules.Underride)
	for _, rule := range rules.Room {
		if rule.Enabled {
			r.rooms[id.RoomID(rule.ID)] = outcome(rule.Actions)
		}
	}
	for _, rule := range rules.Sender {
		if rule.Enabled {
			r.senders[id.UserID(rule.ID)] = outcome(rule.Actions)
		}
	}
	return r
}

// Match tells what the first rule that applies makes of an event; nil if none applies. The user's own events are matched
// too: whoever asks leaves them out.
//
// spec:client-server-api/modules/push#push-rules
func (r *Rules) Match(s *Subject, room Room) (*Outcome, error) {
	if !r.usual || s.personal() {
		return r.match(s, room)
	}
	if known := s.usual.Load(); known != nil {
		return *known, nil
	}
	found, err := r.match(s, room)
	if err == nil {
		s.usual.Store(&found)
	}
	return found, err
}

func (r *Rules) match(s *Subject, room Room) (*Outcome, error) {
	e := &evaluation{user: r.user, subject: s, room: room, left: maxSteps}
	if found, err := e.first(r.before); found != nil || err != nil {
		return found, err
	}
	if found := r.rooms[s.Event.RoomID()]; found != nil {
		return found, nil
	}
	if found := r.senders[s.Event.Sender()]; found != nil {
		return found, nil
	}
	return e.first(r.after)
}

func (e *evaluation) first(checks []check) (*Outcome, error) {
	for i := range checks {
		holds, err := e.all(checks[i].conditions)
		if err != nil {
			return nil, err
		}
		if holds {
			return checks[i].outcome, nil
		}
	}
	return nil, nil
}

func (e *evaluation) all(tests []test) (bool, error) {
	for _, holds := range tests {
		if ok, err := holds(e); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

func compileList(rules []Rule) []check {
	var checks []check
	for _, rule := range rules {
		if !rule.Enabled {
			continue
		}
		c := check{outcome: outcome(rule.Actions)}
		var dear []test
		if rule.Pattern != nil {
			c.conditions = append(c.conditions, matchBody(*rule.Pattern))
		}
		known := true
		for _, raw := range rule.Conditions {
			holds, isDear := compile(raw)
			switch {
			case holds == nil:
				known = false
			case isDear:
				dear = append(dear, holds)
			default:
				c.conditions = append(c.conditions, holds)
			}
		}
		if c.conditions = append(c.conditions, dear...); known {
			checks = append(checks, c)
		}
	}
	return checks
}

// outcome reads actions.
//
// spec:client-server-api/modules/push#actions
func outcome(actions []json.RawMessage) *Outcome {
	actions = slices.DeleteFunc(slices.Clone(actions), func(action json.RawMessage) bool {
		name, _ := canonicaljson.String(action)
		return isHistorical(name)
	})
	o := &Outcome{Actions: actions, Tweaks: map[string]json.RawMessage{}}
	for _, action := range actions {
		var tweak struct {
			Name  *string         `json:"set_tweak"`
			Value json.RawMessage `json:"value"`
		}
		switch {
		case string(action) == notify:
			o.Notify = true
		case exactjson.Unmarshal(action, &tweak) == nil && tweak.Name != nil:
			if tweak.Value == nil && *tweak.Name == "highlight" {
				tweak.Value = json.RawMessage("true")
			}
			o.Tweaks[*tweak.Name] = tweak.Value
		}
	}
	o.Highlight = o.Notify && string(o.Tweaks["highlight"]) == "true"
	return o
}

// compile makes a condition ready; nil: it never holds. dear says that it asks about the room.
//
// spec:client-server-api/modules/push#conditions
func compile(raw json.RawMessage) (holds test, dear bool) {
	var c condition
	if exactjson.Unmarshal(raw, &c) != nil || c.check() != nil {
		return nil, false
	}
	value, err := canonicaljson.Append(nil, c.Value, canonicaljson.Strict) // stored rules may have other escapes
	if err != nil && len(c.Value) > 0 {
		return nil, false
	}
	switch c.Kind {
	case "event_match":
		if path := cleanPath(*c.Key); path != bodyPath {
			return matchValue(path, newPattern(*c.Pattern)), false
		}
		return matchBody(*c.Pattern), false
	case "event_property_is":
		return propertyIs(cleanPath(*c.Key), value), false
	case "event_property_contains":
		return propertyContains(cleanPath(*c.Key), value), false
	case "contains_display_name":
		return containsDisplayName, true
	case "room_member_count":
		want, _ := parseCount(*c.Is)
		return func(e *evaluation) (bool, error) {
			members, err := e.room.Members()
			return err == nil && want.holds(members), err
		}, true
	case "sender_notification_permission":
		return func(e *evaluation) (bool, error) { return e.room.MayNotify(*c.Key) }, true
	}
	return nil, false
}

func matchBody(glob string) test {
	words := newPattern(glob)
	return func(e *evaluation) (bool, error) {
		if !canonicaljson.IsString(e.subject.fields()[bodyPath]) {
			return false, nil
		}
		return words.within(e.subject.body(), &e.left), nil
	}
}

func matchValue(path string, whole pattern) test {
	plain := len(whole) == 1 && !strings.Contains(whole[0], "?")
	return func(e *evaluation) (bool, error) {
		text, ok := e.subject.text(path)
		switch {
		case !ok:
			return false, nil
		case plain && text == whole[0]:
			return true, nil
		}
		return whole.matches(strings.ToLower(text), &e.left), nil
	}
}

func propertyIs(path string, value []byte) test {
	return func(e *evaluation) (bool, error) {
		found := e.subject.value(path)
		return found != nil && bytes.Equal(found, value), nil
	}
}

func propertyContains(path string, value []byte) test {
	return func(e *evaluation) (bool, error) {
		list := e.subject.value(path)
		if !canonicaljson.IsArray(list) {
			return false, nil
		}
		for element := range canonicaljson.Elements(list) {
			if bytes.Equal(element, value) {
				return true, nil
			}
		}
		return false, nil
	}
}

func containsDisplayName(e *evaluation) (bool, error) {
	body := e.subject.body()
	if body == "" {
		return false, nil
	}
	name, err := e.room.DisplayName(e.user)
	return err == nil && literal(strings.ToLower(name)).within(body, &e.left), err
}
