package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"hanse/federation/signedjson"
	"hanse/keys"
	"hanse/node/admin"
	"hanse/node/doctor"
)

// run runs the command line.
func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := command()
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetIn(strings.NewReader(""))
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestMistakesAreExplained(t *testing.T) {
	folder := t.TempDir()
	for want, args := range map[string][]string{
		"no hanse runs on the data folder " + folder: {"explain", "$event", "--data-dir", folder},
		"start it, or name another folder":           {"peers", "--data-dir", folder},
		"a testnet has 1 to 50 nodes":                {"testnet", "up", "--nodes", "x"},
		"unknown key":                                {"rooms", "--config", "testdata/unknown.yaml"},
		"give one user, as in hanse users lock":      {"users", "lock"},
		"give one event ID, in quotes":               {"explain"},
		"give one room ID":                           {"rooms", "!a:example.org", "!b:example.org"},
		"give one server":                            {"peers", "example.org", "example.com"},
		"give one name":                              {"doctor", "example.org", "example.com"},
		`"lok" is none of them`:                      {"users", "lok", "alice"},
		"give a user, what to do and an address":     {"users", "email", "alice", "set", "alice@example.org"},
		"email.host is not set":                      {"email", "test", "alice@example.org"},
		"give one address, as in hanse email test":   {"email", "test"},
		"give the numbers of reports":                {"reports", "delete"},
		`but was given "remove"; see hanse reports`:  {"reports", "remove", "7"},
		"no such file or directory; the first start": {"keys", "--data-dir", folder},
		"signing key file: open":                     {"keys", "rotate", "--data-dir", folder},
		"which server?":                              {"doctor"},
		`unknown command "list"`:                     {"conformance", "list"},
	} {
		if _, err := run(t, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", args, err)
		}
	}
	for _, args := range [][]string{{"add", "alice", "--generate"}, {"password", "alice", "--generate"}, {"deactivate", "alice", "--erase"}, {"email", "alice", "add", "alice@example.org"}} {
		if _, err := run(t, append([]string{"users", "--data-dir", folder}, args...)...); !errors.Is(err, admin.ErrNoNode) {
			t.Errorf("%v: %v", args, err)
		}
	}
	if _, err := run(t, "trace", "--data-dir", folder, "--for", "1m"); !errors.Is(err, admin.ErrNoNode) {
		t.Error(err)
	}
}

// TestExitCodeOfMistakes: where 1 is an answer (a test failed, the doctor found a problem), a mistyped line must not give it.
func TestExitCodeOfMistakes(t *testing.T) {
	for want, args := range map[string][]string{
		`hanse conformance run takes no arguments, but was given "my-server.sh"`: {"conformance", "run", "my-server.sh"},
		`hanse testnet up takes no arguments, but was given "extra"`:             {"testnet", "up", "extra"},
		`unknown command "rnu" for "hanse conformance"`:                          {"conformance", "rnu"},
		"unknown flag: --adaptor":                                                {"conformance", "run", "--adaptor", "my-server.sh"},
		"unknown flag: --conf":                                                   {"doctor", "--conf", "hanse.yaml"},
		"give one name, as in":                                                   {"doctor", "example.org", "example.com"},
		"a testnet has 1 to 50 nodes":                                            {"testnet", "up", "--nodes", "51"},
	} {
		_, err := run(t, args...)
		if exit, ok := errors.AsType[exitError](err); !ok || exit.code != 2 || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v (%T)", args, err, err)
		}
	}
}

func TestExitCodesOfTheDoctor(t *testing.T) {
	for code, args := range map[int][]string{
		1: {"doctor", "https://example.org", "--json"}, // a name that is none
		2: {"doctor"},
	} {
		out, err := run(t, args...)
		if exit, ok := errors.AsType[exitError](err); !ok || exit.code != code {
			t.Errorf("%v: %v", args, err)
		}
		if code == 1 {
			var report doctor.Report
			if err := json.Unmarshal([]byte(out), &report); err != nil || len(report.Findings) == 0 || report.Findings[0].Mend == "" {
				t.Errorf("%v: %s", err, out)
			}
		}
	}
}

func TestEveryCommandHelps(t *testing.T) {
	for _, name := range []string{"serve", "doctor", "explain", "peers", "rooms", "users", "reports", "keys", "trace", "testnet", "config"} {
		if out, err := run(t, name, "--help"); err != nil || !strings.Contains(out, "hanse "+name) {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}

func TestKeysAreListedAndRotated(t *testing.T) {
	folder := t.TempDir()
	first, err := keys.LoadOrCreate(filepath.Join(folder, "signing.key"))
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"keys"}, {"keys", "rotate"}, {"keys"}} {
		out, err := run(t, append(args, "--data-dir", folder)...)
		if err != nil || !strings.Contains(out, string(first.Current.ID)) || !strings.Contains(out, " signs ") {
			t.Errorf("%v: %v: %s", args, err, out)
		}
		if strings.Contains(out, signedjson.EncodeBase64(first.Current.Private.Seed())) {
			t.Errorf("%v tells a private key: %s", args, out)
		}
	}
	out, err := run(t, "keys", "--json", "--data-dir", folder)
	var list []shownKey
	if err := errors.Join(err, json.Unmarshal([]byte(out), &list)); err != nil || len(list) != 2 || list[0].State != "current" || list[0].Expired != 0 ||
		list[1].ID != first.Current.ID || list[1].State != "old" || list[1].Expired == 0 || list[1].Public != signedjson.EncodeBase64(first.Current.Public()) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestPasswordsComeFromStandardInput(t *testing.T) {
	for text, want := range map[string]string{"pass word\n": "pass word", "päss\r\n": "päss", "no end": "no end", " spaces \n": " spaces "} {
		if got, err := passwordLine(strings.NewReader(text)); err != nil || got != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{"": "is empty", "\n": "is empty", "one\ntwo\n": "more than one line"} {
		if got, err := passwordLine(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}
