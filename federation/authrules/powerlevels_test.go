package authrules

import (
	"math"
	"testing"

	"hanse/federation/canonicaljson"
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

func lenientLevels(r *roomversion.Rules) bool { return !r.IntegerPowerLevels }
func floats(r *roomversion.Rules) bool        { return !r.StrictCanonicalJSON }
func notifies(r *roomversion.Rules) bool      { return r.NotificationLevels }
func silent(r *roomversion.Rules) bool        { return !r.NotificationLevels }

// sets is a power levels event by sender that changes some properties of the base.
func sets(sender, change string) func(*world) error {
	return func(w *world) error { return w.levels(sender, edited(change)) }
}

// over is the same with another base.
func over(base, sender, change string) func(*world) error {
	return func(w *world) error {
		w.power(edited(base))
		return w.levels(sender, edited(change))
	}
}

func powerLevelCases() []ruleCase {
	const (
		users    = `"@admin:one.test":100,"@admin2:two.test":100,"@mod:two.test":50,"@mod2:two.test":50`
		noEvents = `{"events":null}`
	)
	cases := []ruleCase{
		{rule: "power_levels.not_integer", why: "a string", in: integers, good: sets(admin, `{"ban":51}`), bad: sets(admin, `{"ban":"51"}`)},
		{rule: "power_levels.not_integer", why: "an object", in: integers, good: sets(admin, `{"invite":null}`), bad: sets(admin, `{"invite":{}}`)},
		{rule: "power_levels.events_malformed", why: "not an object", in: integers, good: sets(admin, noEvents), bad: sets(admin, `{"events":[]}`)},
		{rule: "power_levels.events_malformed", why: "a string", in: integers, good: sets(admin, `{"events":{"x":1}}`), bad: sets(admin, `{"events":{"x":"1"}}`)},
		{rule: "power_levels.events_malformed", why: "notifications", in: integers, good: sets(admin, `{"notifications":{"x":1}}`), bad: sets(admin, `{"notifications":{"x":true}}`)},
		{rule: "power_levels.users_malformed", why: "not an object", good: sets(admin, `{"users":{`+users+`}}`), bad: sets(admin, `{"users":[]}`)},
		{rule: "power_levels.users_malformed", why: "not a user ID", good: sets(admin, `{"users":{`+users+`,"@x:y.test":1}}`), bad: sets(admin, `{"users":{`+users+`,"x":1}}`)},
		{rule: "power_levels.users_malformed", why: "not an integer", good: sets(admin, `{"users":{`+users+`,"@x:y.test":-1}}`), bad: sets(admin, `{"users":{`+users+`,"@x:y.test":"-"}}`)},
		{rule: "power_levels.users_malformed", why: "strings in newer versions", in: integers, good: sets(admin, `{"users":{`+users+`,"@x:y.test":1}}`), bad: sets(admin, `{"users":{`+users+`,"@x:y.test":"1"}}`)},
		{rule: "power_levels.users_malformed", why: "strings in older versions", in: lenientLevels, good: sets(admin, `{"users":{`+users+`,"@x:y.test":" +007 "}}`), bad: sets(admin, `{"users":{`+users+`,"@x:y.test":"7.0"}}`)},
		{rule: "power_levels.users_malformed", why: "null", good: sets(admin, `{"users":{`+users+`}}`), bad: sets(admin, `{"users":{`+users+`,"@x:y.test":null}}`)},
		{rule: malformedLevel, why: "a word", in: lenientLevels, good: sets(admin, `{"ban":"51"}`), bad: sets(admin, `{"ban":"many"}`)},
		{rule: malformedLevel, why: "a word for an event", in: lenientLevels, good: sets(admin, `{"events":{"x":"1","y":null}}`), bad: sets(admin, `{"events":{"x":"many"}}`)},
		{rule: malformedLevel, why: "floats in strings", in: floats, good: sets(admin, `{"ban":5e1}`), bad: sets(admin, `{"ban":"5e1"}`)},
		{rule: malformedLevel, why: "notifications where they count", in: func(r *roomversion.Rules) bool { return r.NotificationLevels && !r.IntegerPowerLevels },
			good: sets(admin, `{"notifications":{"room":"60"}}`), bad: sets(admin, `{"notifications":{"room":"x"}}`)},
		{rule: "event.level", why: "notifications where they don't count", in: silent,
			good: sets(admin, `{"notifications":"x"}`), bad: sets(user, `{"notifications":"x"}`)},

		{rule: "power_levels.creator", why: "creators have no level", in: creators, good: sets(creator, `{"users":{"@admin:one.test":100}}`), bad: sets(creator, `{"users":{"@creator:one.test":100}}`)},
		{rule: "power_levels.creator", why: "nor have additional ones", in: creators, good: sets(creator, `{"users":{"@stranger:three.test":100}}`), bad: func(w *world) error {
			w.recreate(`{"additional_creators":["@stranger:three.test"]}`)
			w.member(creator, "join")
			return w.levels(creator, `{"users":{"@stranger:three.test":100}}`)
		}},
		{rule: "event.level", why: "the first power levels: anything, by the creator", good: func(w *world) error {
			w.unset(typePowerLevels, "")
			return w.levels(creator, `{"ban":1000,"users":{"@admin:one.test":1000}}`)
		}, bad: func(w *world) error {
			w.unset(typePowerLevels, "")
			return w.levels(mod, `{"ban":1000}`)
		}},
	}
	for _, name := range names {
		// Everybody keeps the level that the event itself needs, whatever the defaults are.
		keep := `"events":{"m.room.power_levels":0}`
		with := func(n string) string { return `{"` + name + `":` + n + `,` + keep + `}` }
		cases = append(cases,
			ruleCase{rule: "power_levels.default_current", why: name + " changed from above", good: over(with("50"), mod, with("40")), bad: over(with("51"), mod, with("40"))},
			ruleCase{rule: "power_levels.default_new", why: name + " changed to above", good: over(with("40"), mod, with("50")), bad: over(with("40"), mod, with("51"))},
			ruleCase{rule: "power_levels.default_new", why: name + " added", good: over(with("null"), mod, with("50")), bad: over(with("null"), mod, with("51"))},
			ruleCase{rule: "power_levels.default_current", why: name + " removed", good: over(with("50"), mod, with("null")), bad: over(with("51"), mod, with("null"))},
			ruleCase{rule: "power_levels.default_new", why: name + " untouched", good: over(with("60"), mod, with("60")), bad: over(with("0"), mod, with("60"))},
		)
	}
	cases = append(cases, levelEntryCases()...)
	return cases
}

// levelEntryCases are about entries of events, notifications and users.
func levelEntryCases() []ruleCase {
	var cases []ruleCase
	for _, prop := range []string{"events", "notifications"} {
		in := notifies
		if prop == "events" {
			in = nil
		}
		with := func(entry string) string {
			if prop == "events" {
				return `{"events":{` + entry + `"m.room.power_levels":0}}`
			}
			return `{"notifications":{` + entry + `"z":0},"events":{"m.room.power_levels":0}}`
		}
		cases = append(cases,
			ruleCase{rule: "power_levels.event_current", why: prop + ": changed from above", in: in, good: over(with(`"x":50,`), mod, with(`"x":40,`)), bad: over(with(`"x":51,`), mod, with(`"x":40,`))},
			ruleCase{rule: "power_levels.event_current", why: prop + ": removed", in: in, good: over(with(`"x":50,`), mod, with(``)), bad: over(with(`"x":51,`), mod, with(``))},
			ruleCase{rule: "power_levels.event_new", why: prop + ": changed to above", in: in, good: over(with(`"x":40,`), mod, with(`"x":50,`)), bad: over(with(`"x":40,`), mod, with(`"x":51,`))},
			ruleCase{rule: "power_levels.event_new", why: prop + ": added", in: in, good: over(with(``), mod, with(`"x":50,`)), bad: over(with(``), mod, with(`"x":51,`))},
			ruleCase{rule: "power_levels.event_new", why: prop + ": untouched", in: in, good: over(with(`"x":60,`), mod, with(`"x":60,`)), bad: over(with(`"x":0,`), mod, with(`"x":60,`))},
		)
	}
	with := func(users string) string {
		return `{"users":{"@admin:one.test":100,"@mod:two.test":50` + users + `},"events":{"m.room.power_levels":0}}`
	}
	own := func(n string) string {
		return `{"users":{"@admin:one.test":100` + n + `},"events":{"m.room.power_levels":0}}`
	}
	return append(cases,
		ruleCase{rule: "power_levels.event_new", why: "notifications don't count in old versions", in: silent,
			good: over(`{"notifications":{"x":40},"events":{"m.room.power_levels":0}}`, mod, `{"notifications":{"x":60},"events":{"m.room.power_levels":0}}`),
			bad:  over(`{"events":{"x":40,"m.room.power_levels":0}}`, mod, `{"events":{"x":60,"m.room.power_levels":0}}`)},
		ruleCase{rule: "power_levels.user_current", why: "lowering another's", good: over(with(`,"@x:y.test":49`), mod, with(`,"@x:y.test":0`)), bad: over(with(`,"@x:y.test":50`), mod, with(`,"@x:y.test":0`))},
		ruleCase{rule: "power_levels.user_current", why: "removing another's", good: over(with(`,"@x:y.test":49`), mod, with(``)), bad: over(with(`,"@x:y.test":50`), mod, with(``))},
		ruleCase{rule: "power_levels.user_current", why: "lowering one's own", good: over(own(`,"@mod:two.test":50`), mod, own(`,"@mod:two.test":1`)),
			bad: over(own(`,"@mod:two.test":50,"@x:y.test":50`), mod, own(`,"@mod:two.test":50`))},
		ruleCase{rule: "power_levels.user_new", why: "raising another", good: over(with(`,"@x:y.test":0`), mod, with(`,"@x:y.test":50`)), bad: over(with(`,"@x:y.test":0`), mod, with(`,"@x:y.test":51`))},
		ruleCase{rule: "power_levels.user_new", why: "adding another", good: over(with(``), mod, with(`,"@x:y.test":50`)), bad: over(with(``), mod, with(`,"@x:y.test":51`))},
		ruleCase{rule: "power_levels.user_new", why: "raising oneself", good: over(own(`,"@mod:two.test":50`), mod, own(`,"@mod:two.test":50`)), bad: over(own(`,"@mod:two.test":50`), mod, own(`,"@mod:two.test":51`))},
		ruleCase{rule: "power_levels.user_current", why: "the same level as a string is no change", in: lenientLevels,
			good: over(with(`,"@x:y.test":60`), mod, with(`,"@x:y.test":" 060"`)), bad: over(with(`,"@x:y.test":60`), mod, with(`,"@x:y.test":"061"`))},
		ruleCase{rule: "power_levels.user_current", why: "the same level as a float is no change", in: floats,
			good: over(with(`,"@x:y.test":60`), mod, with(`,"@x:y.test":60.9`)), bad: over(with(`,"@x:y.test":60`), mod, with(`,"@x:y.test":6.19e1`))},
	)
}

func TestParseLevel(t *testing.T) {
	v1, _ := roomversion.Lookup(roomversion.V1)
	v10, _ := roomversion.Lookup(roomversion.V10)
	const bad = math.MinInt64 + 12345
	for _, c := range []struct {
		text     string
		old, new int64
	}{
		{`0`, 0, 0}, {`-5`, -5, -5}, {`9007199254740991`, 9007199254740991, 9007199254740991},
		{`50.57`, 50, bad}, {`-50.57`, -50, bad}, {`5.114698E4`, 51146, bad}, {`1e400`, bad, bad},
		{`1e300`, math.MaxInt64, bad}, {`-1e300`, math.MinInt64, bad},
		{`100000000000000000000`, math.MaxInt64, bad},
		{`"100"`, 100, bad}, {`"000100"`, 100, bad}, {`"+100"`, 100, bad}, {`"-100"`, -100, bad}, {`" -100 "`, -100, bad}, {`"\t 7\n"`, 7, bad},
		{`"99999999999999999999"`, math.MaxInt64, bad}, {`"-99999999999999999999"`, math.MinInt64, bad},
		{`""`, bad, bad}, {`"+"`, bad, bad}, {`"1.0"`, bad, bad}, {`"1e1"`, bad, bad}, {`"0x10"`, bad, bad}, {`"1_0"`, bad, bad}, {`"+ 1"`, bad, bad}, {`"--1"`, bad, bad},
		{`true`, bad, bad}, {`null`, bad, bad}, {`[]`, bad, bad}, {`{}`, bad, bad},
	} {
		for _, v := range []struct {
			rules *roomversion.Rules
			want  int64
		}{{v1, c.old}, {v10, c.new}} {
			got, err := ParseLevel(v.rules, []byte(c.text))
			if err != nil {
				got = bad
			}
			if got != v.want {
				t.Errorf("room version %s: %s is %d (%v), want %d", v.rules.Version, c.text, got, err, v.want)
			}
		}
	}
}

func TestNullAndUnknownProperties(t *testing.T) {
	for _, rules := range roomversion.All() {
		for _, content := range []string{`{"events":null}`, `{"ban":null}`, `{"notifications":null}`} {
			if _, errs := parsePowerLevels(rules, []byte(content)); (errs != levelErrors{}) != rules.IntegerPowerLevels {
				t.Errorf("room version %s: %s: %v", rules.Version, content, errs)
			}
		}
		p, errs := parsePowerLevels(rules, []byte(`{"ban":7,"other":"x"}`))
		if (errs != levelErrors{}) || p.named[ban] != (level{7, true}) {
			t.Errorf("room version %s: %+v, %v", rules.Version, p, errs)
		}
	}
}

func TestLevels(t *testing.T) {
	for _, rules := range roomversion.All() {
		w := newWorld(t, rules)
		levels, err := LevelsOf(w)
		if err != nil {
			t.Fatal(err)
		}
		want := int64(0)
		if rules.PrivilegedCreators {
			want = math.MaxInt64
		}
		for _, c := range []struct {
			what      string
			got, want int64
		}{
			{"creator", levels.User(creator), want}, {"admin", levels.User(admin), 100}, {"user", levels.User(user), 0},
			{"ban", levels.Ban(), 50}, {"kick", levels.Kick(), 50}, {"invite", levels.Invite(), 50}, {"redact", levels.Redact(), 50},
			{"name", levels.Event("m.room.name", true), 50}, {"tombstone", levels.Event("m.room.tombstone", true), 100},
			{"state", levels.Event("x", true), 50}, {"message", levels.Event("x", false), 0},
			{"notify room", levels.Notifications("room"), 50}, {"notify else", levels.Notifications("x"), 50},
		} {
			if c.got != c.want {
				t.Errorf("room version %s: level of %s is %d, want %d", rules.Version, c.what, c.got, c.want)
			}
		}
	}
}

func FuzzParsePowerLevels(f *testing.F) {
	f.Add(basePowerLevels)
	f.Add(`{"users":{"@a:b":"+ 1"},"events":{"\u0001":1.5},"ban":null,"notifications":3}`)
	f.Fuzz(func(t *testing.T, text string) {
		for _, rules := range []roomversion.Version{roomversion.V1, roomversion.V9, roomversion.V12} {
			rules, _ := roomversion.Lookup(rules)
			mode := canonicaljson.Lenient
			if rules.StrictCanonicalJSON {
				mode = canonicaljson.Strict
			}
			content, err := canonicaljson.Append(nil, []byte(text), mode)
			if err != nil {
				continue
			}
			p, errs := parsePowerLevels(rules, content)
			for i, u := range p.users {
				if _, e := id.ParseUserID(string(u.key)); e != nil {
					t.Errorf("%v has level, %v (%v)", u, e, errs)
				}
				if i > 0 && u.key <= p.users[i-1].key {
					t.Errorf("%v comes after %v", u, p.users[i-1])
				}
			}
		}
	})
}
