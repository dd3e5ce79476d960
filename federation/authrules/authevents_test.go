package authrules

import (
	"fmt"
	"slices"
	"testing"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
)

// checkAuth checks a message by user that names the given auth events.
func (w *world) checkAuth(auth []*event.Event, rejected ...id.EventID) error {
	e := w.event(user, "m.room.message", nil, `{}`, nil)
	return CheckAuthEvents(e, auth, func(id id.EventID) bool { return slices.Contains(rejected, id) })
}

// rightAuth are the auth events of a message by user.
func (w *world) rightAuth() []*event.Event {
	auth := []*event.Event{w.state[roomstate.Key{Type: typePowerLevels}], w.state[roomstate.Key{Type: typeMember, StateKey: user}]}
	if w.rules.CreateInAuthEvents {
		auth = append(auth, w.create)
	}
	return auth
}

func authEventCases() []ruleCase {
	good := func(w *world) error { return w.checkAuth(w.rightAuth()) }
	return []ruleCase{
		{rule: "auth_events.duplicate", why: "power levels twice", good: good, bad: func(w *world) error {
			more := w.event(admin, typePowerLevels, key(""), `{}`, nil)
			return w.checkAuth(append(w.rightAuth(), more))
		}},
		{rule: "auth_events.not_selected", why: "a membership that has nothing to do with it", good: good, bad: func(w *world) error {
			return w.checkAuth(append(w.rightAuth(), w.state[roomstate.Key{Type: typeMember, StateKey: mod}]))
		}},
		{rule: "auth_events.not_selected", why: "not a state event", good: good, bad: func(w *world) error {
			return w.checkAuth(append(w.rightAuth(), w.event(user, typePowerLevels, nil, `{}`, nil)))
		}},
		{rule: "auth_events.not_selected", why: "a create event in version 12", in: hashRoomID, good: good, bad: func(w *world) error {
			return w.checkAuth(append(w.rightAuth(), w.create))
		}},
		{rule: "auth_events.rejected", why: "the membership was rejected", good: good, bad: func(w *world) error {
			auth := w.rightAuth()
			return w.checkAuth(auth, auth[1].ID())
		}},
		{rule: "auth_events.no_create", why: "missing among the entries", in: createListed, good: good, bad: func(w *world) error {
			return w.checkAuth(w.rightAuth()[:2])
		}},
		{rule: "auth_events.no_create", why: "missing in the state", in: createListed,
			good: func(w *world) error { return w.send(user, "m.room.message", nil, `{}`) },
			bad: func(w *world) error {
				w.unset(typeCreate, "")
				return w.send(user, "m.room.message", nil, `{}`)
			}},
		{rule: "auth_events.other_room", why: "power levels of another room", good: good, bad: func(w *world) error {
			other := newWorld(w.t, w.rules)
			auth := w.rightAuth()
			auth[0] = w.event(admin, typePowerLevels, key(""), `{}`, func(d *event.Draft) {
				d.RoomID = "!other:one.test"
				if w.rules.RoomIDIsCreateEvent {
					other.recreate(`{"x":"other"}`)
					d.RoomID = other.room
				}
			})
			return w.checkAuth(auth)
		}},
		{rule: "room_id.no_create", why: "the create event was rejected", in: hashRoomID, good: good, bad: func(w *world) error {
			return w.checkAuth(w.rightAuth(), w.create.ID())
		}},
		{rule: "room_id.no_create", why: "the create event isn't in the state", in: hashRoomID,
			good: func(w *world) error { return w.send(user, "m.room.message", nil, `{}`) },
			bad: func(w *world) error {
				w.unset(typeCreate, "")
				return w.send(user, "m.room.message", nil, `{}`)
			}},
		{rule: "room_id.no_create", why: "the create event is another room's", in: hashRoomID,
			good: func(w *world) error { return w.send(user, "m.room.message", nil, `{}`) },
			bad: func(w *world) error {
				e := w.event(user, "m.room.message", nil, `{}`, nil)
				w.recreate(`{"x":"other"}`)
				return Check(e, w)
			}},
	}
}

// spec:server-server-api#auth-events-selection
func TestSelection(t *testing.T) {
	const target = "@target:three.test"
	member := func(u string) roomstate.Key { return roomstate.Key{Type: typeMember, StateKey: u} }
	var (
		create = roomstate.Key{Type: typeCreate}
		power  = roomstate.Key{Type: typePowerLevels}
		rule   = roomstate.Key{Type: typeJoinRules}
		token  = roomstate.Key{Type: typeThirdPartyInvite, StateKey: "tok"}
	)
	cases := []struct {
		what     string
		typ      string
		stateKey *string
		content  string
		in       func(*roomversion.Rules) bool
		want     []roomstate.Key
	}{
		{"message", "m.room.message", nil, `{"membership":"join"}`, nil, nil},
		{"other state", "m.room.name", key(""), `{"membership":"join"}`, nil, nil},
		{"own join", typeMember, key(user), `{"membership":"join"}`, nil, []roomstate.Key{rule}},
		{"own leave", typeMember, key(user), `{"membership":"leave"}`, nil, nil},
		{"knock", typeMember, key(user), `{"membership":"knock"}`, nil, []roomstate.Key{rule}},
		{"kick", typeMember, key(target), `{"membership":"leave"}`, nil, []roomstate.Key{member(target)}},
		{"ban", typeMember, key(target), `{"membership":"ban"}`, nil, []roomstate.Key{member(target)}},
		{"invite", typeMember, key(target), `{"membership":"invite"}`, nil, []roomstate.Key{member(target), rule}},
		{"redeemed invite", typeMember, key(target), `{"membership":"invite","third_party_invite":{"signed":{"token":"tok"}}}`, nil,
			[]roomstate.Key{member(target), rule, token}},
		{"redeemed invite without token", typeMember, key(target), `{"membership":"invite","third_party_invite":{"signed":{}}}`, nil,
			[]roomstate.Key{member(target), rule}},
		{"third party in a join", typeMember, key(user), `{"membership":"join","third_party_invite":{"signed":{"token":"tok"}}}`, nil,
			[]roomstate.Key{rule}},
		{"authorised join", typeMember, key(user), `{"join_authorised_via_users_server":"@mod:two.test","membership":"join"}`, restricted,
			[]roomstate.Key{rule, member(mod)}},
		{"authorised by oneself", typeMember, key(user), `{"join_authorised_via_users_server":"@user:two.test","membership":"join"}`, restricted,
			[]roomstate.Key{rule}},
		{"authorised join in versions that don't know it", typeMember, key(user),
			`{"join_authorised_via_users_server":"@mod:two.test","membership":"join"}`,
			func(r *roomversion.Rules) bool { return !r.RestrictedJoins }, []roomstate.Key{rule}},
		{"authorised invite", typeMember, key(target), `{"join_authorised_via_users_server":"@mod:two.test","membership":"invite"}`, nil,
			[]roomstate.Key{member(target), rule}},
		{"no membership", typeMember, key(target), `{}`, nil, []roomstate.Key{member(target)}},
	}
	for _, rules := range roomversion.All() {
		for _, c := range cases {
			if c.in != nil && !c.in(rules) {
				continue
			}
			want := append([]roomstate.Key{power, member(user)}, c.want...)
			if rules.CreateInAuthEvents {
				want = append([]roomstate.Key{create}, want...)
			}
			got := Selection(rules, c.typ, c.stateKey, user, []byte(c.content))
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("room version %s, %s: %v, want %v", rules.Version, c.what, got, want)
			}
		}
		if got := Selection(rules, typeCreate, key(""), user, []byte(`{}`)); len(got) > 0 {
			t.Errorf("room version %s: a create event has auth events %v", rules.Version, got)
		}
	}
}
