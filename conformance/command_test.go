package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hanse/testnet/adapter"
	"hanse/testnet/fabric"
)

// outcome is what a run of the command did.
type outcome struct {
	code           int
	stdout, stderr string
}

// run runs `hanse conformance run`.
func run(t *testing.T, bin string, arguments ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute) // on a loaded machine
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, append([]string{"conformance", "run"}, arguments...)...)
	cmd.Env = append(os.Environ(), "HANSE_BIN="+bin, "TMPDIR="+t.TempDir())
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// script writes an adapter. Its processes note their numbers in the file pids beside it.
func script(t *testing.T, lines ...string) (file, pids string) {
	t.Helper()
	folder := t.TempDir()
	file, pids = filepath.Join(folder, "server.sh"), filepath.Join(folder, "pids")
	text := "#!/bin/sh\necho $$ >>" + pids + "\n" + strings.ReplaceAll(strings.Join(lines, "\n"), "NOTE", "echo $! >>"+pids) + "\n"
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return file, pids
}

// gone checks that no process of an adapter's is left.
func gone(t *testing.T, pids string) {
	t.Helper()
	text, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		for n := 0; ; n++ {
			err := syscall.Kill(pid, 0)
			if errors.Is(err, syscall.ESRCH) || zombie(pid) {
				break
			}
			if n == 6000 {
				t.Fatalf("process %d is left running", pid)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// zombie tells whether a process has ended and waits for somebody to take note.
func zombie(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(text), ") Z ")
}

func (o outcome) says(t *testing.T, code int, words ...string) {
	t.Helper()
	if o.code != code {
		t.Errorf("exit code %d, not %d\n%s%s", o.code, code, o.stdout, o.stderr)
	}
	for _, word := range words {
		if !strings.Contains(o.stderr, word) {
			t.Errorf("it doesn't say %q:\n%s", word, o.stderr)
		}
	}
	if strings.Contains(o.stderr, "goroutine ") {
		t.Errorf("it panicked:\n%s", o.stderr)
	}
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// TestBadAdapters: each gets one clear message and exit code 2, and leaves nothing running.
func TestBadAdapters(t *testing.T) {
	bin := program(t)
	for name, c := range map[string]struct {
		patience string // long enough for what is to happen before
		lines    []string
		words    []string
	}{
		"never ready":    {"3s", []string{"echo I am busy", "sleep 1000 & NOTE", "wait"}, []string{"was not ready after 3s", "versions must answer 200, and the last outcome was: dial tcp", "connection refused", "I am busy"}},
		"dies":           {"2m", []string{"echo no database", "exit 3"}, []string{"ended at its start", "exit status 3", "no database"}},
		"leaves a child": {"2m", []string{"sleep 1000 & NOTE", "exit 0"}, []string{"ended at its start"}},
		"prints garbage": {"2m", []string{`head -c 20000 /dev/urandom`, `printf '\033[2J\000\377'`, "exit 1"}, []string{"ended at its start", "exit status 1"}},
		"deaf":           {"3s", []string{"trap '' TERM INT HUP", "sleep 1000 & NOTE", "wait; wait"}, []string{"was not ready after 3s"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file, pids := script(t, c.lines...)
			o := run(t, bin, "--adapter", file, "--ready-timeout", c.patience)
			o.says(t, 2, c.words...)
			_, rest, _ := strings.Cut(o.stderr, "its log is ")
			if log, _, _ := strings.Cut(rest, ".log"); !exists(log + ".log") {
				t.Errorf("the log that it names is not there: %s", o.stderr)
			}
			if strings.ContainsAny(o.stderr, "\x00\x1b") {
				t.Errorf("what the server printed reaches the terminal as it is: %q", o.stderr)
			}
			gone(t, pids)
		})
	}
	t.Run("no executable", func(t *testing.T) {
		run(t, bin, "--adapter", "/nowhere/server.sh").says(t, 2, "/nowhere/server.sh", "no such file")
		file := filepath.Join(t.TempDir(), "plain")
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		run(t, bin, "--adapter", file).says(t, 2, "is not executable: chmod +x "+file)
		run(t, bin, "--adapter", filepath.Dir(file)).says(t, 2, "is a folder")
		if err := os.WriteFile(file, []byte("#!/nowhere/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, 0o755); err != nil {
			t.Fatal(err)
		}
		run(t, bin, "--adapter", file).says(t, 2, "does its first line name an interpreter that is there")
	})
}

// TestADeafServer: a server that ignores SIGTERM fails the test that is about it, and is gone afterwards.
func TestADeafServer(t *testing.T) {
	bin := program(t)
	file, pids := script(t, "trap '' TERM INT", `"$HANSE_BIN" testnet node & NOTE`, "while :; do sleep 1000; done")
	o := run(t, bin, "--adapter", file, "--focus", "SIGTERM ends", "--patience", "5s")
	o.says(t, 1, "1 test failed")
	if !strings.Contains(o.stdout, "did not end within 5s and was killed") || strings.Contains(o.stdout, "errors.errorString{") {
		t.Error(o.stdout)
	}
	gone(t, pids)
}

// TestAMortalServer: a server that ends by itself fails the test in which it did, and is started anew for the others.
func TestAMortalServer(t *testing.T) {
	bin := program(t)
	file, pids := script(t, `"$HANSE_BIN" testnet node 2>&1 | while read -r line; do`, `echo "$line"`,
		`case $line in *createRoom*) [ -e "$DATA_DIR/died" ] || { touch "$DATA_DIR/died"; kill -9 0; } ;; esac`, "done")
	o := run(t, bin, "--adapter", file, "--focus", "Messages go", "--room-version", "10", "--room-version", "11")
	o.says(t, 1, "1 test failed")
	if !strings.Contains(o.stdout, "(The server has ended.)") || !strings.Contains(o.stdout, "the server under test has ended by itself (signal: killed)") || !strings.Contains(o.stdout, "1 passed, 1 failed") {
		t.Error(o.stdout)
	}
	gone(t, pids)
}

// TestBadURLs: what is no homeserver, and one where nobody can register.
func TestBadURLs(t *testing.T) {
	bin := program(t)
	serve := func(t *testing.T, answers map[string]string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, ok := answers[r.URL.Path]
			if !ok {
				w.WriteHeader(http.StatusForbidden)
				body = `{"errcode":"M_FORBIDDEN","error":"registration is closed"}`
			}
			_, _ = io.WriteString(w, body)
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	const versions = "/_matrix/client/versions"
	ask := func(url string, more ...string) outcome {
		return run(t, bin, append([]string{"--server", "example.org", "--client-url", url, "--pause", "1ms"}, more...)...)
	}
	ask("http://127.0.0.1:1").says(t, 2, "is no client-server API of a homeserver")
	ask("example.org").says(t, 2, "--client-url", "give the URL of the client-server API")
	ask("").says(t, 2, "--client-url")
	ask(serve(t, map[string]string{versions: "<html>hello</html>"})).says(t, 2, "is no client-server API of a homeserver")
	ask(serve(t, map[string]string{versions: `{"versions":[]}`})).says(t, 2, "names no version")
	closed := serve(t, map[string]string{versions: `{"versions":["v1.11"]}`})
	ask(closed).says(t, 2, "lets nobody register", "registration is closed", "access token")
	ask(closed, "--registration-secret", "x").says(t, 2, "lets nobody register")
	ask(closed, "--token", "x").says(t, 2, "the access token is not taken")
	run(t, bin, "--client-url", closed).says(t, 2, "--server")
	other := serve(t, map[string]string{versions: `{"versions":["v1.11"]}`, "/_matrix/client/v3/account/whoami": `{"user_id":"@a:other.org"}`})
	ask(other, "--token", "x").says(t, 2, "is other.org, not example.org")
}

// TestBadRequests: what can't be run is said before anything is started.
func TestBadRequests(t *testing.T) {
	bin := program(t)
	hanse := filepath.Join("adapters", "hanse.sh")
	for name, c := range map[string]struct {
		arguments []string
		words     string
	}{
		"nothing to test":      {nil, "either --adapter or --server"},
		"two things to test":   {[]string{"--adapter", hanse, "--server", "example.org", "--client-url", "http://127.0.0.1:1"}, "either --adapter or --server"},
		"a label that is none": {[]string{"--adapter", hanse, "--label", "s2s:joins &&"}, "--label"},
		"a bad expression":     {[]string{"--adapter", hanse, "--focus", "("}, "--focus"},
		"an unknown version":   {[]string{"--adapter", hanse, "--room-version", "99"}, "the suite knows the versions 1, 2"},
		"no such file":         {[]string{"--adapter", hanse, "--expected", "/nowhere"}, "the expected failures"},
		"unknown names":        {[]string{"--adapter", hanse, "--names", "hosts"}, "dns or literals"},
		"a list of nothing":    {[]string{"--list", "--focus", "no such test"}, "nothing matches"},
		"nothing matches":      {[]string{"--adapter", hanse, "--label", "s2s:jions"}, "nothing matches"},
		"no process":           {[]string{"--adapter", hanse, "--processes", "0"}, "at least one process"},
		"a report nowhere":     {[]string{"--adapter", hanse, "--junit", "/nowhere/report.xml"}, "--junit: open /nowhere/report.xml"},
		"no authorities":       {[]string{"--server", "example.org", "--client-url", "http://127.0.0.1:1", "--ca", "command_test.go"}, "no certificate"},
	} {
		t.Run(name, func(t *testing.T) { run(t, bin, c.arguments...).says(t, 2, c.words) })
	}
}

// TestReports: a run that is chosen by label and version, with every form of report and with expected failures.
func TestReports(t *testing.T) {
	bin, folder := program(t), t.TempDir()
	expected := filepath.Join(folder, "expected")
	text := "# It passes by now.\nKeys publishes its keys*\n\n# Nobody has written it.\nA test that is not there\n"
	if err := os.WriteFile(expected, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	jsonFile, junit := filepath.Join(folder, "report.json"), filepath.Join(folder, "report.xml")
	o := run(t, bin, "--adapter", filepath.Join("adapters", "hanse.sh"), "--label", "s2s:keys || s2s:joins", "--focus", "Keys publishes|Joins another server joins",
		"--room-version", "11", "--seed", "7", "--expected", expected, "--json", jsonFile, "--junit", junit)
	o.says(t, 0, "Seed 7")
	for _, words := range []string{
		"they were expected to fail; take them off the list:\n  # It passes by now.\n  Keys publishes its keys", "line 5: A test that is not there",
		"2 passed, 0 failed", "server-server-api#publishing-keys", "v11",
	} {
		if !strings.Contains(o.stdout, words) {
			t.Errorf("the report doesn't have %q:\n%s", words, o.stdout)
		}
	}
	var report Report
	read(t, jsonFile, &report, json.Unmarshal)
	if report.Totals != (Totals{Passed: 2, NewlyPassing: 1}) || report.Seed != 7 || len(report.Tests) != 2 || len(report.Unmet) != 1 {
		t.Errorf("%+v", report)
	}
	var suites struct {
		Tests int `xml:"tests,attr"`
	}
	read(t, junit, &suites, xml.Unmarshal)
	if suites.Tests != 2 {
		t.Errorf("%d tests in the JUnit report, not 2", suites.Tests)
	}
}

// TestJUnitOfABrokenRun: a CI system that reads nothing else must not take a run that broke off for a good one.
func TestJUnitOfABrokenRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.xml")
	report := Report{Tests: []Test{{Name: "Keys", Outcome: Passed}}, Totals: Totals{Passed: 1}, Trouble: "the server under test has ended\nits log ends with"}
	if err := report.writeJUnit(file); err != nil {
		t.Fatal(err)
	}
	var suites struct {
		Tests    int      `xml:"tests,attr"`
		Failures int      `xml:"failures,attr"`
		Messages []string `xml:"testsuite>testcase>failure"`
	}
	read(t, file, &suites, xml.Unmarshal)
	if suites.Tests != 2 || suites.Failures != 1 || len(suites.Messages) != 1 || suites.Messages[0] != report.Trouble {
		t.Errorf("%+v", suites)
	}
}

func read(t *testing.T, file string, into any, decode func([]byte, any) error) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := decode(text, into); err != nil {
		t.Fatal(err)
	}
}

// TestExpectedFailures: what fails as expected is no failure, and a failure's report has the sentence, the exchanges and
// the server's log.
func TestExpectedFailures(t *testing.T) {
	bin := program(t)
	liar := httptest.NewServer(http.NotFoundHandler()) // where nothing is
	defer liar.Close()
	file, _ := script(t, `exec "$HANSE_BIN" testnet node --no-such-flag`)
	run(t, bin, "--adapter", file, "--ready-timeout", "2m").says(t, 2, "unknown flag")

	deaf, _ := script(t, "trap '' TERM", `"$HANSE_BIN" testnet node & NOTE`, "while :; do sleep 1000; done")
	expected := filepath.Join(t.TempDir(), "expected")
	if err := os.WriteFile(expected, []byte("# It is deaf.\nRestart SIGTERM*\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	arguments := []string{"--adapter", deaf, "--focus", "SIGTERM ends", "--patience", "3s"}
	o := run(t, bin, append(arguments, "--expected", expected)...)
	o.says(t, 0)
	if !strings.Contains(o.stdout, "Expected failures:\n  # It is deaf.\n  Restart SIGTERM ends") {
		t.Error(o.stdout)
	}
	o = run(t, bin, append(arguments, "--json", "-")...)
	o.says(t, 1)
	var report Report
	if err := json.Unmarshal([]byte(o.stdout), &report); err != nil {
		t.Fatal(err)
	}
	failed := report.Tests[0]
	if failed.Outcome != Failed || len(failed.Sentences) == 0 || len(failed.Failure.Exchanges) < 2 || failed.Failure.Where == "" {
		t.Errorf("%+v", failed)
	}
}

// TestInterrupt: a run that is stopped ends its server.
func TestInterrupt(t *testing.T) {
	bin := program(t)
	file, pids := script(t, `exec "$HANSE_BIN" testnet node`)
	cmd := exec.CommandContext(t.Context(), bin, "conformance", "run", "--adapter", file)
	cmd.Env = append(os.Environ(), "HANSE_BIN="+bin)
	var report bytes.Buffer
	cmd.Stdout = &report
	progress, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var seen []byte
	for buffer := make([]byte, 1024); !bytes.Contains(seen, []byte("....")); {
		n, err := progress.Read(buffer)
		if err != nil {
			t.Fatalf("%v\n%s", err, seen)
		}
		seen = append(seen, buffer[:n]...)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(progress)
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 2 {
		t.Errorf("%v\n%s", err, rest)
	}
	if !strings.Contains(string(rest), "stopped after") || !strings.Contains(report.String(), "passed, 0 failed, 0 expected") {
		t.Errorf("%s%s", &report, rest)
	}
	gone(t, pids)
}

// TestDeployed asks a server that runs already, and that the suite has no control over.
func TestDeployed(t *testing.T) {
	bin, folder := program(t), t.TempDir()
	if _, err := fabric.LoadOrCreateCA(folder); err != nil {
		t.Fatal(err)
	}
	places, err := fabric.Places(1)
	if err != nil {
		t.Fatal(err)
	}
	if places[0].FederationPort != adapter.FederationPort {
		t.Skip("this machine has no loopback addresses of its own for each server")
	}
	orders := adapter.Orders{
		ServerName: places[0].Federation(), BindAddr: places[0].IP, DataDir: filepath.Join(folder, "data"), SharedSecret: "secret",
		CACert: filepath.Join(folder, "ca.crt"), CAKey: filepath.Join(folder, "ca.key"), CABundle: filepath.Join(folder, "ca.crt"),
	}
	command, err := orders.Command(filepath.Join("adapters", "hanse.sh"))
	if err != nil {
		t.Fatal(err)
	}
	command.Env = append(command.Env, "HANSE_BIN="+bin)
	process, err := adapter.Start(t.Context(), command)
	if err != nil {
		t.Fatal(err)
	}
	defer process.Kill()
	jsonFile := filepath.Join(folder, "report.json")
	o := run(t, bin, "--server", orders.ServerName, "--client-url", orders.ClientURL(), "--registration-secret", "secret", "--ca", orders.CABundle,
		"--pause", "1ms", "--json", jsonFile, "--label", "!c2s:definitions")
	o.says(t, 0)
	var report Report
	read(t, jsonFile, &report, json.Unmarshal)
	if report.Totals.Passed < 15 || report.Totals.NotApplicable > 0 {
		t.Errorf("%+v", report.Totals)
	}
}

// TestProcesses: a run that two processes make together has the tests of one, and ends like one.
func TestProcesses(t *testing.T) {
	bin, jsonFile := program(t), filepath.Join(t.TempDir(), "report.json")
	file, pids := script(t, `exec "$HANSE_BIN" testnet node`)
	o := run(t, bin, "--adapter", file, "--label", "s2s:acl", "--processes", "2", "--json", jsonFile)
	o.says(t, 0, "in 2 processes", "Server ACLs")
	var report Report
	read(t, jsonFile, &report, json.Unmarshal)
	names := map[string]bool{}
	for _, test := range report.Tests {
		names[test.Name] = true
	}
	if report.Totals.Passed < 10 || len(names) != report.Totals.Passed || len(report.Tests) != report.Totals.Passed {
		t.Errorf("%d tests, %d names: %+v", len(report.Tests), len(names), report.Totals)
	}
	gone(t, pids)

	one := run(t, bin, "--adapter", file, "--focus", "Keys publishes", "--processes", "2")
	one.says(t, 0) // though one of them has nothing to do
	if !strings.Contains(one.stdout, "1 passed, 0 failed") {
		t.Error(one.stdout)
	}
	gone(t, pids)

	dead, pids := script(t, "echo no database", "exit 3")
	run(t, bin, "--adapter", dead, "--processes", "2").says(t, 2, "ended at its start", "no database")
	gone(t, pids)
	run(t, bin, "--adapter", dead, "--share", "3/2").says(t, 2, "no share of a run")
}
