package authrules

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

func createCases() []ruleCase {
	create := func(w *world, content string, edit func(*event.Draft)) error {
		return Check(w.event(creator, typeCreate, key(""), content, edit), w)
	}
	good := func(w *world) error { return create(w, w.createContent(), nil) }
	with := func(content string) func(*world) error {
		return func(w *world) error {
			return create(w, strings.Replace(content, "{", fmt.Sprintf(`{"creator":%q,`, creator), 1), nil)
		}
	}
	return []ruleCase{
		{rule: "create.prev_events", why: "a create event comes first", good: good, bad: func(w *world) error {
			return create(w, w.createContent(), func(d *event.Draft) { d.PrevEvents = []id.EventID{w.eventID("prev")} })
		}},
		{rule: "create.room_id_domain", why: "somebody else's domain", in: domainRoomID, good: good, bad: func(w *world) error {
			return create(w, w.createContent(), func(d *event.Draft) { d.RoomID = "!room:two.test" })
		}},
		{rule: "create.room_id", why: "a room ID where there is none", in: hashRoomID, good: good, bad: func(w *world) error {
			raw := strings.Replace(string(w.create.JSON()), `"sender":`, fmt.Sprintf(`"room_id":%q,"sender":`, w.room), 1)
			e, err := event.Parse(w.rules, []byte(raw))
			if err != nil {
				return err
			}
			return Check(e, w)
		}},
		{rule: "create.room_version", why: "unknown", good: with(`{"room_version":"1"}`), bad: with(`{"room_version":"none.such"}`)},
		{rule: "create.room_version", why: "not a string", good: with(`{"m.federate":true}`), bad: with(`{"room_version":1}`)},
		{rule: "create.creator", why: "missing", in: creatorInContent, good: good, bad: func(w *world) error {
			return create(w, `{}`, nil)
		}},
		{rule: "create.additional_creators", why: "no list", in: creators,
			good: with(`{"additional_creators":[]}`), bad: with(`{"additional_creators":null}`)},
		{rule: "create.additional_creators", why: "no user ID", in: creators,
			good: with(`{"additional_creators":["@a:b.test","@c:d.test"]}`), bad: with(`{"additional_creators":["@a:b.test","c"]}`)},
		{rule: "create.additional_creators", why: "no string", in: creators,
			good: with(`{"additional_creators":["@a:b.test"]}`), bad: with(`{"additional_creators":["@a:b.test",null]}`)},
	}
}

func TestCreators(t *testing.T) {
	for _, rules := range roomversion.All() {
		w := newWorld(t, rules)
		e := w.event(admin, typeCreate, key(""), fmt.Sprintf(`{"creator":%q,"additional_creators":[%q,%q,%q]}`, user, mod, admin, mod), nil)
		want := []id.UserID{user}
		if rules.ImplicitCreator {
			want = []id.UserID{admin}
		}
		if rules.PrivilegedCreators {
			want = []id.UserID{admin, mod}
		}
		if got := Creators(e); !slices.Equal(got, want) {
			t.Errorf("room version %s: creators %v, want %v", rules.Version, got, want)
		}
	}
}

// A creator that is not a string makes nobody the creator, least of all the sender.
func TestCreatorThatIsNoText(t *testing.T) {
	for _, rules := range roomversion.All() {
		if rules.ImplicitCreator {
			continue
		}
		w := newWorld(t, rules)
		w.recreate(`{"creator":null}`)
		w.unset(typePowerLevels, "")
		w.unset(typeMember, creator)
		join := w.event(creator, typeMember, key(creator), `{"membership":"join"}`, func(d *event.Draft) { d.PrevEvents = []id.EventID{w.create.ID()} })
		if got := Creators(w.create); len(got) != 0 {
			t.Errorf("room version %s: creators %v", rules.Version, got)
		}
		if err := Check(join, w); err == nil {
			t.Errorf("room version %s: the sender of the create event joins as its creator", rules.Version)
		}
		if levels, err := LevelsOf(w); err != nil || levels.User(creator) != 0 {
			t.Errorf("room version %s: level %d, %v", rules.Version, levels.User(creator), err)
		}
	}
}
