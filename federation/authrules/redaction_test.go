package authrules

import (
	"testing"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

func redactionCases() []ruleCase {
	redact := func(sender string, target id.EventID) func(*world) error {
		return func(w *world) error {
			return Check(w.event(sender, typeRedaction, nil, `{}`, func(d *event.Draft) { d.Redacts = target }), w)
		}
	}
	return []ruleCase{
		{rule: "redaction.forbidden", why: "the redact level", in: redactionRule, good: redact(mod, "$x:one.test"), bad: redact(user, "$x:one.test")},
		{rule: "redaction.forbidden", why: "same domain", in: redactionRule, good: redact(user, "$x:two.test"), bad: redact(user, "$x:three.test")},
		{rule: "event.level", why: "redactions are ordinary events", in: func(r *roomversion.Rules) bool { return !r.RedactionAuthRule },
			good: func(w *world) error { return redact(user, w.eventID("other"))(w) },
			bad: func(w *world) error {
				w.power(edited(`{"events":{"m.room.redaction":50}}`))
				return redact(user, w.eventID("other"))(w)
			}},
	}
}

// spec:rooms/v12#handling-redactions
func TestMayRedact(t *testing.T) {
	for _, rules := range roomversion.All() {
		w := newWorld(t, rules)
		redaction := func(sender string) *event.Event {
			return w.event(sender, typeRedaction, nil, `{"redacts":"`+string(w.eventID("x"))+`"}`, func(d *event.Draft) { d.Redacts = w.eventID("x") })
		}
		message := func(sender string) *event.Event { return w.event(sender, "m.room.message", nil, `{}`, nil) }
		other := newWorld(t, rules)
		if rules.RoomIDIsCreateEvent {
			other.recreate(`{"x":"other"}`)
		} else {
			other.room = "!other:one.test"
		}
		for _, c := range []struct {
			what   string
			by     string
			target *event.Event
			want   bool
		}{
			{"one's own", user, message(user), true},
			{"of another user of the server", user, message(mod), true},
			{"of another server", user, message(user2), false},
			{"of another server, with the level", mod, message(user2), true},
			{"of another server, by a creator", creator, message(user), rules.PrivilegedCreators},
			{"that creates the room", creator, w.create, false},
			{"in another room", user, other.event(user, "m.room.message", nil, `{}`, nil), false},
		} {
			if got, err := MayRedact(redaction(c.by), c.target, w); got != c.want || err != nil {
				t.Errorf("room version %s: an event %s: %v, %v; want %v", rules.Version, c.what, got, err, c.want)
			}
		}
		if _, err := MayRedact(redaction(user), message(user2), failing{typePowerLevels}); err == nil {
			t.Errorf("room version %s: an unreadable state gives a verdict", rules.Version)
		}
	}
}
