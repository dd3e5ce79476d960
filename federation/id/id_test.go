package id

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
)

// parsers are the Parse functions by the name of their fixtures.
var parsers = map[string]func(string) (string, error){
	"servername": func(s string) (string, error) { v, err := ParseServerName(s); return string(v), err },
	"userid":     func(s string) (string, error) { v, err := ParseUserID(s); return string(v), err },
	"roomid":     func(s string) (string, error) { v, err := ParseRoomID(s); return string(v), err },
	"eventid":    func(s string) (string, error) { v, err := ParseEventID(s); return string(v), err },
	"roomalias":  func(s string) (string, error) { v, err := ParseRoomAlias(s); return string(v), err },
	"keyid":      func(s string) (string, error) { v, err := ParseKeyID(s); return string(v), err },
}

// fixture reads a file of one case a line. A line that begins with a quote is a JSON string.
func fixture(t testing.TB, name string) []string {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var cases []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, `"`) {
			if err := json.Unmarshal([]byte(line), &line); err != nil {
				t.Fatalf("%s: %s: %v", name, line, err)
			}
		}
		cases = append(cases, line)
	}
	if len(cases) == 0 {
		t.Fatalf("%s is empty", name)
	}
	return cases
}

func TestFixtures(t *testing.T) {
	for name, parse := range parsers {
		t.Run(name, func(t *testing.T) {
			for _, text := range fixture(t, name+".valid") {
				if got, err := parse(text); err != nil || got != text {
					t.Errorf("%q: got %q, %v", text, got, err)
				}
			}
			for _, text := range fixture(t, name+".invalid") {
				got, err := parse(text)
				var refused *Error
				if !errors.As(err, &refused) || got != "" {
					t.Errorf("%q: got %q, %v", text, got, err)
				}
			}
		})
	}
}

func TestInvalidUTF8(t *testing.T) {
	for name, text := range map[string]string{
		"userid": "@a\xff:b", "roomid": "!a\xff:b", "eventid": "$a\xff", "roomalias": "#\xed\xa0\x80:b",
	} {
		if _, err := parsers[name](text); err == nil {
			t.Errorf("%s: %q accepted", name, text)
		}
	}
}

func TestErrorIsShort(t *testing.T) {
	_, err := ParseServerName(strings.Repeat("ä", 10000))
	if err == nil || len(err.Error()) > 200 {
		t.Errorf("got %v", err)
	}
}

func TestServerNameParts(t *testing.T) {
	for _, c := range []struct {
		name, host, port string
		hasPort          bool
		literal          string
	}{
		{"matrix.org", "matrix.org", "", false, ""},
		{"matrix.org:8888", "matrix.org", "8888", true, ""},
		{"1.2.3.4", "1.2.3.4", "", false, "1.2.3.4"},
		{"1.2.3.4:1234", "1.2.3.4", "1234", true, "1.2.3.4"},
		{"[1234:5678::abcd]", "[1234:5678::abcd]", "", false, "1234:5678::abcd"},
		{"[1234:5678::abcd]:5678", "[1234:5678::abcd]", "5678", true, "1234:5678::abcd"},
		{"1.2.3.4.5", "1.2.3.4.5", "", false, ""},
	} {
		name, err := ParseServerName(c.name)
		if err != nil {
			t.Fatal(err)
		}
		if name.Host() != c.host {
			t.Errorf("%s: host %q", name, name.Host())
		}
		if port, ok := name.Port(); port != c.port || ok != c.hasPort {
			t.Errorf("%s: port %q, %v", name, port, ok)
		}
		addr, ok := name.Literal()
		if ok != (c.literal != "") || ok && addr.String() != c.literal {
			t.Errorf("%s: literal %v, %v", name, addr, ok)
		}
	}
}

func TestUserID(t *testing.T) {
	user, err := NewUserID("alice", "example.org:8448")
	if err != nil || user != "@alice:example.org:8448" || user.Localpart() != "alice" || user.Server() != "example.org:8448" {
		t.Errorf("got %q, %v", user, err)
	}
	for _, localpart := range []string{"", "Alice", "a b", "a:b", "ä", "a@b", strings.Repeat("a", 250)} {
		if user, err := NewUserID(localpart, "example.org"); err == nil {
			t.Errorf("%q gave %q", localpart, user)
		}
	}
	for _, c := range []struct {
		user              UserID
		strict, compliant bool
	}{
		{"@alice:a", true, true}, {"@Alice:a", false, true}, {"@a b:a", false, false},
		{"@:a", false, false}, {"@ä:a", false, false}, {"@a~:a", false, true},
	} {
		if c.user.Strict() != c.strict || c.user.Compliant() != c.compliant {
			t.Errorf("%q: strict %v, compliant %v", c.user, c.user.Strict(), c.user.Compliant())
		}
	}
}

func TestParts(t *testing.T) {
	if server, ok := RoomID("!a:b:1").Server(); server != "b:1" || !ok {
		t.Errorf("got %q, %v", server, ok)
	}
	hash := "Nhcu5BS-UMnFX7hBVfVSoXiD7OgH6iRT-xyIuqDnpYQ"
	if server, ok := RoomID("!" + hash).Server(); ok {
		t.Errorf("got %q", server)
	}
	if create, ok := RoomID("!" + hash).CreateEvent(); create != EventID("$"+hash) || !ok {
		t.Errorf("got %q, %v", create, ok)
	}
	if create, ok := RoomID("!a:b").CreateEvent(); ok {
		t.Errorf("got %q", create)
	}
	if server, ok := EventID("$a:b").Server(); server != "b" || !ok {
		t.Errorf("got %q, %v", server, ok)
	}
	if server, ok := EventID("$" + hash).Server(); ok {
		t.Errorf("got %q", server)
	}
	if a := RoomAlias("#room:b:1"); a.Localpart() != "room" || a.Server() != "b:1" {
		t.Errorf("got %q, %q", a.Localpart(), a.Server())
	}
	if k := KeyID("ed25519:a_1"); k.Algorithm() != "ed25519" || k.Name() != "a_1" {
		t.Errorf("got %q, %q", k.Algorithm(), k.Name())
	}
}

// Methods of values that nobody checked give something, and do not panic.
func TestUncheckedValues(t *testing.T) {
	for _, s := range []string{"", "x", ":", "[", "[]:", "@"} {
		UserID(s).Localpart()
		UserID(s).Strict()
		ServerName(s).Host()
		ServerName(s).Literal()
		_, _ = RoomID(s).CreateEvent()
		KeyID(s).Name()
	}
}

// FuzzParse: what parses is the text itself, is short enough, and has parts that give it back.
func FuzzParse(f *testing.F) {
	for name := range parsers {
		for _, suffix := range []string{".valid", ".invalid"} {
			for _, text := range fixture(f, name+suffix) {
				f.Add(text)
			}
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		for name, parse := range parsers {
			got, err := parse(text)
			if err != nil {
				if got != "" {
					t.Fatalf("%s: %q with %v", name, got, err)
				}
				continue
			}
			if got != text || len(got) > MaxLength {
				t.Fatalf("%s: %q became %q", name, text, got)
			}
		}
		if user, err := ParseUserID(text); err == nil && "@"+user.Localpart()+":"+string(user.Server()) != text {
			t.Fatalf("parts of %q", text)
		}
		if server, err := ParseServerName(text); err == nil {
			joined := server.Host()
			if port, ok := server.Port(); ok {
				joined += ":" + port
			}
			if joined != text {
				t.Fatalf("parts of %q", text)
			}
		}
	})
}

func BenchmarkParseUserID(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseUserID("@alice:example.org"); err != nil {
			b.Fatal(err)
		}
	}
}
