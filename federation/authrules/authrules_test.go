package authrules

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"hanse/federation/canonicaljson"
	"hanse/federation/event"
	"hanse/federation/roomversion"
)

// roomCases are the rules that are not about one event type.
func roomCases() []ruleCase {
	closed := func(sender string) func(*world) error {
		return func(w *world) error {
			w.recreate(strings.Replace(w.createContent(), "{", `{"m.federate":false,`, 1))
			w.member(sender, "join")
			return w.send(sender, "m.room.message", nil, `{}`)
		}
	}
	open := func(value string) func(*world) error {
		return func(w *world) error {
			w.recreate(strings.Replace(w.createContent(), "{", `{"m.federate":`+value+`,`, 1))
			w.member(user, "join")
			return w.send(user, "m.room.message", nil, `{}`)
		}
	}
	return []ruleCase{
		{rule: "federate", why: "closed to other servers", good: closed(user2), bad: closed(user)},
		{rule: "federate", why: "only false closes", good: open("true"), bad: open("false")},
		{rule: "federate", why: "not a boolean", good: open(`"false"`), bad: open("false")},
		{rule: "aliases.no_state_key", why: "", in: aliasesRule,
			good: func(w *world) error { return w.send(stranger, typeAliases, key("three.test"), `{}`) },
			bad:  func(w *world) error { return w.send(stranger, typeAliases, nil, `{}`) }},
		{rule: "aliases.other_domain", why: "", in: aliasesRule,
			good: func(w *world) error { return w.send(user, typeAliases, key("two.test"), `{}`) },
			bad:  func(w *world) error { return w.send(user, typeAliases, key("one.test"), `{}`) }},
		{rule: "event.level", why: "aliases are ordinary state", in: func(r *roomversion.Rules) bool { return !r.AliasesAuthRule },
			good: func(w *world) error { return w.send(mod, typeAliases, key("one.test"), `{}`) },
			bad:  func(w *world) error { return w.send(user, typeAliases, key("two.test"), `{}`) }},
		{rule: "sender.not_joined", why: "left", good: func(w *world) error { return w.send(user, "m.room.message", nil, `{}`) },
			bad: func(w *world) error { return w.send(left, "m.room.message", nil, `{}`) }},
		{rule: "sender.not_joined", why: "invited", good: func(w *world) error { return w.send(user, "m.room.message", nil, `{}`) },
			bad: func(w *world) error { return w.send(invited, "m.room.message", nil, `{}`) }},
		{rule: "third_party_invite.level", why: "the invite level decides",
			good: func(w *world) error { return w.send(mod, typeThirdPartyInvite, key("tok"), `{}`) },
			bad:  func(w *world) error { return w.send(user, typeThirdPartyInvite, key("tok"), `{}`) }},
		{rule: "third_party_invite.level", why: "and not the event's level", good: func(w *world) error {
			w.power(edited(`{"invite":0,"events":{"m.room.third_party_invite":100}}`))
			return w.send(user, typeThirdPartyInvite, key("@tok"), `{}`)
		}, bad: func(w *world) error {
			w.power(edited(`{"invite":50,"events":{"m.room.third_party_invite":0}}`))
			return w.send(user, typeThirdPartyInvite, key("@tok"), `{}`)
		}},
		{rule: "event.level", why: "the state default",
			good: func(w *world) error { return w.send(mod, "m.room.topic", key(""), `{}`) },
			bad:  func(w *world) error { return w.send(user, "m.room.topic", key(""), `{}`) }},
		{rule: "event.level", why: "the default for messages", good: func(w *world) error { return w.send(user, "x", nil, `{}`) },
			bad: func(w *world) error { w.power(edited(`{"events_default":1}`)); return w.send(user, "x", nil, `{}`) }},
		{rule: "event.level", why: "the type's own level",
			good: func(w *world) error { return w.send(admin, "m.room.tombstone", key(""), `{}`) },
			bad:  func(w *world) error { return w.send(mod, "m.room.tombstone", key(""), `{}`) }},
		{rule: "event.level", why: "a type's own level below the default", good: func(w *world) error {
			w.power(edited(`{"events":{"m.room.topic":0}}`))
			return w.send(user, "m.room.topic", key(""), `{}`)
		}, bad: func(w *world) error {
			w.power(edited(`{"events":{"m.room.topics":0}}`))
			return w.send(user, "m.room.topic", key(""), `{}`)
		}},
		{rule: "event.level", why: "without power levels state needs 50 and the creator has it", good: func(w *world) error {
			w.unset(typePowerLevels, "")
			return w.send(creator, "m.room.topic", key(""), `{}`)
		}, bad: func(w *world) error {
			w.unset(typePowerLevels, "")
			return w.send(admin, "m.room.topic", key(""), `{}`)
		}},
		{rule: "event.level", why: "creators stand above all levels", in: creators,
			good: func(w *world) error {
				w.power(edited(`{"events":{"m.room.topic":9007199254740991}}`))
				return w.send(creator, "m.room.topic", key(""), `{}`)
			},
			bad: func(w *world) error {
				w.power(edited(`{"events":{"m.room.topic":9007199254740991}}`))
				return w.send(admin, "m.room.topic", key(""), `{}`)
			}},
		{rule: "event.level", why: "creators are ordinary once there are levels",
			in: func(r *roomversion.Rules) bool { return !r.PrivilegedCreators },
			good: func(w *world) error {
				w.power(`{"users":{"@creator:one.test":50}}`)
				return w.send(creator, "m.room.topic", key(""), `{}`)
			},
			bad: func(w *world) error { w.power(`{}`); return w.send(creator, "m.room.topic", key(""), `{}`) }},
		{rule: "state_key.other_user", why: "",
			good: func(w *world) error { return w.send(mod, "x", key(mod), `{}`) },
			bad:  func(w *world) error { return w.send(mod, "x", key(admin), `{}`) }},
		{rule: "state_key.other_user", why: "whatever begins with @",
			good: func(w *world) error { return w.send(mod, "x", key("x@"), `{}`) },
			bad:  func(w *world) error { return w.send(mod, "x", key("@"), `{}`) }},
	}
}

// failing is a state that can't be read.
type failing struct{ at string }

var errStore = errors.New("the disk is gone")

func (f failing) StateEvent(typ, _ string) (*event.Event, error) {
	if typ == f.at {
		return nil, errStore
	}
	return nil, nil
}

func TestAStateThatCantBeReadIsNoVerdict(t *testing.T) {
	for _, rules := range roomversion.All() {
		w := newWorld(t, rules)
		events := []*event.Event{
			w.event(user, "m.room.message", nil, `{}`, nil),
			w.event(mod, typePowerLevels, key(""), edited(`{"ban":40}`), nil),
			w.event(mod, typeThirdPartyInvite, key("t"), `{}`, nil),
		}
		for _, m := range []string{"join", "invite", "leave", "ban", "knock"} {
			events = append(events, w.event(mod, typeMember, key(left), fmt.Sprintf(`{"membership":%q}`, m), nil))
		}
		for _, typ := range []string{typeCreate, typePowerLevels, typeMember, typeJoinRules} {
			hit := 0
			for _, e := range events {
				state := partly{w, failing{typ}}
				if err := Check(e, state); errors.Is(err, errStore) {
					hit++
				} else if r := (*Rejection)(nil); err != nil && !errors.As(err, &r) {
					t.Errorf("room version %s, %s: %v", rules.Version, e.Type(), err)
				}
			}
			if hit == 0 && typ != typeJoinRules {
				t.Errorf("room version %s: an unreadable %s is never noticed", rules.Version, typ)
			}
		}
	}
}

// partly reads from the world, but for what fails.
type partly struct {
	*world
	failing
}

func (p partly) StateEvent(typ, key string) (*event.Event, error) {
	if _, err := p.failing.StateEvent(typ, key); err != nil {
		return nil, err
	}
	return p.world.StateEvent(typ, key)
}

func TestRejectionTellsRuleAndReason(t *testing.T) {
	rules, _ := roomversion.Lookup(roomversion.V11)
	err := newWorld(t, rules).become(banned, banned, "join")
	const want = "@banned:three.test is banned (member.join.banned, rooms/v11#authorisation-rules 4.3.3)"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestMemo(t *testing.T) {
	rules, _ := roomversion.Lookup(roomversion.V11)
	w := newWorld(t, rules)
	memo := NewMemo(w)
	if NewMemo(memo) != memo {
		t.Error("a memo of a memo")
	}
	e := w.event(user, "m.room.topic", key(""), `{}`, nil)
	if Check(e, memo) == nil {
		t.Error("a user may set the topic")
	}
	w.power(edited(`{"state_default":0}`)) // the state below changes: what is remembered must not answer
	if err := Check(e, memo); err != nil {
		t.Error(err)
	}
}

func TestEventsState(t *testing.T) {
	rules, _ := roomversion.Lookup(roomversion.V11)
	w := newWorld(t, rules)
	early, late := w.event(mod, "x", key("k"), `{"a":1}`, nil), w.event(mod, "x", key("k"), `{"a":2}`, nil)
	state := EventsState([]*event.Event{early, w.event(mod, "y", nil, `{}`, nil), late})
	if e, err := state.StateEvent("x", "k"); e != late || err != nil {
		t.Errorf("got %v, %v", e, err)
	}
	if e, err := state.StateEvent("y", ""); e != nil || err != nil {
		t.Errorf("a message counts as state: %v, %v", e, err)
	}
}

// FuzzCheck looks for contents that break a rule's code, and for verdicts that aren't the same twice.
func FuzzCheck(f *testing.F) {
	f.Add(uint8(11), uint8(0), `{"membership":"join"}`, `{"join_rule":"restricted"}`)
	f.Add(uint8(1), uint8(1), basePowerLevels, `{"users":{"@mod:two.test":"7"},"ban":1.5}`)
	f.Add(uint8(12), uint8(0), `{"membership":"invite","third_party_invite":{"signed":{"mxid":"@u:x","token":""}}}`, `{"public_keys":[{"public_key":"x"}]}`)
	types := []string{typeMember, typePowerLevels, typeThirdPartyInvite, typeRedaction, typeAliases, "m.room.topic"}
	f.Fuzz(func(t *testing.T, version, typ uint8, content, state string) {
		all := roomversion.All()
		rules := all[int(version)%len(all)]
		mode := canonicaljson.Lenient
		if rules.StrictCanonicalJSON {
			mode = canonicaljson.Strict
		}
		for _, text := range []string{content, state} {
			if canonical, err := canonicaljson.Append(nil, []byte(text), mode); err != nil || canonical[0] != '{' || len(text) > 10_000 {
				return
			}
		}
		w := newWorld(t, rules)
		for _, typ := range []string{typePowerLevels, typeJoinRules, typeThirdPartyInvite} {
			w.set(w.event(mod, typ, key(""), state, nil))
		}
		e := w.event(mod, types[int(typ)%len(types)], key(user), content, nil)
		first, second := Check(e, w), Check(e, NewMemo(w))
		if fmt.Sprint(first) != fmt.Sprint(second) {
			t.Errorf("once %v, once %v", first, second)
		}
	})
}

func BenchmarkCheckMessage(b *testing.B) {
	rules, _ := roomversion.Lookup(roomversion.V11)
	w := newWorld(b, rules)
	e := w.event(user, "m.room.message", nil, `{}`, nil)
	for _, state := range []struct {
		name  string
		state State
	}{{"parsing", w}, {"memo", NewMemo(w)}} {
		b.Run(state.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := Check(e, state.state); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCheckJoin(b *testing.B) {
	rules, _ := roomversion.Lookup(roomversion.V11)
	w := newWorld(b, rules)
	e := w.event(invited, typeMember, key(invited), `{"membership":"join"}`, nil)
	b.ReportAllocs()
	for b.Loop() {
		if err := Check(e, w); err != nil {
			b.Fatal(err)
		}
	}
}
