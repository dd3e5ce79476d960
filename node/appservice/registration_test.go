package appservice_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hanse/node/appservice"
)

const good = `
id: "IRC Bridge"
url: "http://127.0.0.1:1234/below/"
as_token: "30c05ae90a248a4188e620216fa72e349803310ec83e2a77b34fe90be6081f46"
hs_token: "312df522183efd404ec1cd22d2ffa4bbc76a8c1ccf541dd692eef281356bb74e"
sender_localpart: "_irc_bot"
namespaces:
  users:
    - exclusive: true
      regex: "@_irc_bridge_.*"
  aliases:
    - exclusive: false
      regex: "#_irc_bridge_.*"
  rooms: []
`

func registrationFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRegistration(t *testing.T) {
	all, errs := appservice.Load([]string{registrationFile(t, "irc.yaml", good+"io.element.msc4190: true\ntypo: 1\n")}, "example.org")
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	r := all[0]
	if r.ID != "IRC Bridge" || r.URL != "http://127.0.0.1:1234/below" || r.Sender != "@_irc_bot:example.org" || !r.RateLimited || r.Ephemeral {
		t.Errorf("%+v", r)
	}
	if len(r.Unknown) != 1 || r.Unknown[0] != "typo" {
		t.Errorf("unknown keys: %q", r.Unknown)
	}
	for name, want := range map[string]bool{"@_irc_bridge_x:example.org": true, "@x_irc_bridge_": false, "@_irc_bridg": false} {
		if r.Users.Match(name) != want || r.Users.Exclusive(name) != want {
			t.Errorf("%s: %v, %v", name, r.Users.Match(name), r.Users.Exclusive(name))
		}
	}
	if !r.Aliases.Match("#_irc_bridge_x:example.org") || r.Aliases.Exclusive("#_irc_bridge_x:example.org") {
		t.Error("the alias's namespace is wrong")
	}
}

// TestWrongRegistrations holds what an operator is told: the file, where it is known the line, the field, and what to do.
func TestWrongRegistrations(t *testing.T) {
	for change, want := range map[[2]string]string{
		{`id: "IRC Bridge"`, ``}:                         `wrong.yaml: id is missing`,
		{`id: "IRC Bridge"`, `id: [1]`}:                  `wrong.yaml:2: id: a text is expected`,
		{`"http://127.0.0.1:1234/below/"`, `localhost`}:  `wrong.yaml:3: url: "localhost" is not an address such as http://localhost:29318`,
		{`below/"`, `below?a=b"`}:                        `wrong.yaml:3: url: give the address without user, ? and #`,
		{`as_token: "`, `as_token: " `}:                  `wrong.yaml:4: as_token: has a blank`,
		{`hs_token: "`, "hs_token: \"\"\nx.y: \""}:       `wrong.yaml:5: hs_token: is empty`,
		{`_irc_bot`, `@bot:example.org`}:                 `wrong.yaml:6: sender_localpart: "@bot:example.org" is not the part of a user ID between @ and the colon`,
		{`exclusive: true`, `exclusive: sometimes`}:      `wrong.yaml:9: namespaces.users.exclusive: true or false is expected`,
		{`"@_irc_bridge_.*"`, `"@(?!x)"`}:                `wrong.yaml:10: namespaces.users.regex: "@(?!x)" can't be used:`,
		{`"@_irc_bridge_.*"`, `"@(abcd){1000}"`}:         `wrong.yaml:10: namespaces.users.regex: "^(?:@(abcd){1000})" would take too long`,
		{`"@_irc_bridge_.*"`, `"@a)|(.*"`}:               `wrong.yaml:10: namespaces.users.regex: "@a)|(.*" can't be used:`,
		{"exclusive: true\n      regex", "regex"}:        `wrong.yaml:9: namespaces.users: an entry needs both regex: and exclusive:`,
		{`rooms: []`, `room: []`}:                        `namespaces: has the key "room"; only users, aliases and rooms have a meaning`,
		{good, `nonsense`}:                               `wrong.yaml: this is no registration`,
		{good, "a: b: c"}:                                `wrong.yaml: this is not YAML`,
		{good, strings.Repeat("#", 1<<20+1)}:             `wrong.yaml: a registration has at most 1048576 bytes`,
		{`rooms: []`, "rooms: []\nreceive_ephemeral: 3"}: `receive_ephemeral: true or false is expected`,
		{`rooms: []`, "rooms: []\nprotocols: irc"}:       `protocols: a list of at most 100 names is expected, as in [irc]`,
	} {
		text := strings.Replace(good, change[0], change[1], 1)
		_, errs := appservice.Load([]string{registrationFile(t, "wrong.yaml", text)}, "example.org")
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), want) {
			t.Errorf("%q: %v, not %q", change[1], errs, want)
		}
	}
}

func TestClashingRegistrations(t *testing.T) {
	one := registrationFile(t, "one.yaml", good)
	for field, text := range map[string]string{
		"id":               strings.NewReplacer("30c05", "xx", "_irc_bot", "other").Replace(good),
		"as_token":         strings.NewReplacer("IRC Bridge", "other", "_irc_bot", "other").Replace(good),
		"sender_localpart": strings.NewReplacer("IRC Bridge", "other", "30c05", "xx").Replace(good),
	} {
		_, errs := appservice.Load([]string{one, registrationFile(t, "two.yaml", text)}, "example.org")
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), "two.yaml: "+field+" is the same as in "+one) {
			t.Errorf("%s: %v", field, errs)
		}
	}
	other := strings.NewReplacer("IRC Bridge", "other", "30c05", "xx", "_irc_bot", "other")
	for change, want := range map[string]string{
		"@_irc_bridge_.*":                "namespaces.users has names exclusively which " + one + " has exclusively too, as those that begin with @_irc_bridge_;",
		"@_irc.*":                        "namespaces.users has",
		`^@x_bridge_[a-z]+$`:             "",
		`^@_irc_bridge_[a-z]+:.*\\.org$`: "as those that begin with @_irc_bridge_a:.org;",
		"@_slack_.*":                     "",
	} {
		text := other.Replace(strings.Replace(good, "@_irc_bridge_.*", change, 1))
		_, errs := appservice.Load([]string{one, registrationFile(t, "two.yaml", text)}, "example.org")
		users := slices.IndexFunc(errs, func(err error) bool { return strings.Contains(err.Error(), "namespaces.users") })
		if (users >= 0) != (want != "") || want != "" && !strings.Contains(errs[users].Error(), want) {
			t.Errorf("%s: %v", change, errs)
		}
	}
	_, errs := appservice.Load([]string{one, "nowhere.yaml"}, "example.org")
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), "nowhere.yaml") {
		t.Error(errs)
	}
}

func FuzzRegistration(f *testing.F) {
	f.Add(good)
	f.Add("namespaces: &a {users: [*a]}")
	f.Add("namespaces: {users: [{regex: &x '@a', exclusive: *x}]}")
	path := filepath.Join(f.TempDir(), "fuzz.yaml")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		all, errs := appservice.Load([]string{path}, "example.org")
		if len(errs) > 0 {
			return
		}
		r := all[0]
		if r.ID == "" || r.ASToken == "" || r.HSToken == "" || r.Sender == "" {
			t.Errorf("%+v", r)
		}
		r.Users.Match("@a:example.org")
	})
}
