package node

import (
	"maps"
	"strings"
	"testing"
)

func TestSettingsOutOfBoundsAreRefused(t *testing.T) {
	for want, config := range map[string]Config{
		"turn.hours: 20000 is not between":               {Turn: TurnConfig{Hours: 20000}},
		"passwords.argon2_memory: 1048577 is more than":  {Passwords: PasswordConfig{Argon2Memory: 1<<20 + 1}},
		"passwords.argon2_time: 65 is more than 64":      {Passwords: PasswordConfig{Argon2Time: 65}},
		`client.listen: ":99999" has no port from 0`:     {Client: ClientConfig{Listen: []string{":99999"}}},
		`monitor.listen: "[::1]:http9" has no port from`: {Monitor: MonitorConfig{Listen: "[::1]:http9"}},
		"the form that DNS knows it by (xn--…)":          {ServerName: "hänse.org"},
	} {
		if config.ServerName == "" {
			config.ServerName = "example.org"
		}
		if err := config.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestFilesThatAreAlmostYAMLAreExplained(t *testing.T) {
	for text, want := range map[string]string{
		"server_name: a.org\nmedia:\n\tmax_size: 5\n":       "line 3: found character that cannot start any token; lines are indented with spaces, not with tabs",
		"server_name: a.org\n---\nlog: {level: debug}\n":    "hanse.yaml: has a second document",
		"server_name: a.org\nserver_name: b.org\n":          "already defined at line 1",
		"server_name: a.org\n---\nlog: {level: debug\n":     "hanse.yaml: has a second document",
		"server_name: a.org\nlog: `loud`\n":                 "line 2: found character that cannot start any token",
		"server_name: a.org\nclient:\n  listen: [a\n  b: c": "line ",
	} {
		if _, err := ReadConfig("hanse.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{"", "# nothing\n", "---\nserver_name: a.org\n", "server_name: a.org\n...\n"} {
		if _, err := ReadConfig("hanse.yaml", []byte(text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestMisspeltEnvironment(t *testing.T) {
	got := Misspelt([]string{
		"HANSE_SERVER_NME=a.org", "HANSE_SERVER_NAME=a.org", "HANSE_FEDERATION_DNS_SERVERS=", "HANSE_SERVICE_HOST=10.0.0.1", "HANSE_PORT_8008_TCP=tcp://10.0.0.1:8008",
		"HANSE_BIN=/bin", "SERVER_NAME=a.org", "HANSE_LOG=debug",
	})
	if want := map[string]string{"HANSE_SERVER_NME": "HANSE_SERVER_NAME", "HANSE_FEDERATION_DNS_SERVERS": "HANSE_FEDERATION_DNS_SERVER"}; !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
}
