package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hanse/node/store"
	"hanse/testnet/fabric"
)

// testConfig is a node on free loopback ports with a certificate.
func testConfig(t testing.TB) Config {
	t.Helper()
	dir := t.TempDir()
	ca, err := fabric.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	certPEM, keyPEM, err := ca.Issue("example.test", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	config := Config{ServerName: "example.test", DataDir: filepath.Join(dir, "data")}
	config.Client.Listen = []string{"127.0.0.1:0"}
	config.Client.PublicURL = "https://matrix.example.test"
	config.Federation.Listen = []string{"127.0.0.1:0"}
	config.Federation.Certificate = filepath.Join(dir, "tls.crt")
	config.Federation.Key = filepath.Join(dir, "tls.key")
	config.Federation.WellKnown = "matrix.example.test:443"
	config.Monitor.Listen = "127.0.0.1:0"
	config.Registration.Open = true
	for path, data := range map[string][]byte{config.Federation.Certificate: certPEM, config.Federation.Key: keyPEM} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return config
}

// start runs a node until stop is called; stop returns Run's error.
func start(t testing.TB, config Config) (n *Node, stop func() error) {
	t.Helper()
	n, err := New(t.Context(), config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	return n, func() error {
		cancel()
		return <-ended
	}
}

func (n *Node) address(setting string) string {
	for _, e := range n.endpoints {
		if e.setting == setting {
			return e.listener.Addr().String()
		}
	}
	return ""
}

func fetch(t *testing.T, url string) (status int, body string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(data)
}

// TestUpperCaseInTheServerName: it is allowed, and doubtful.
func TestUpperCaseInTheServerName(t *testing.T) {
	for name, doubtful := range map[string]bool{"Example.test": true, "example.test": false} {
		config := testConfig(t)
		config.ServerName = name
		var log bytes.Buffer // nothing runs yet: one writes
		n, err := New(t.Context(), config, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		if warned := strings.Contains(log.String(), "better=example.test"); warned != doubtful {
			t.Errorf("%s: %s", name, log.String())
		}
		stopped, stop := context.WithCancel(t.Context())
		stop()
		if err := n.Run(stopped); err != nil {
			t.Error(err)
		}
	}
}

func TestANodeAnswersAndStops(t *testing.T) {
	config := testConfig(t)
	config.Calls.LiveKitServiceURL = "https://livekit.example.test"
	config.Support = SupportConfig{Page: "https://example.test/help", Admin: []string{"@a:b.test", "a@b.test"}, Security: []string{"s@b.test"}}
	n, stop := start(t, config)
	client, monitor := "http://"+n.address("client.listen"), "http://"+n.address("monitor.listen")
	for path, want := range map[string]string{
		client + "/_matrix/client/versions":            `"versions":`,
		client + "/.well-known/matrix/client":          `"base_url":"https://matrix.example.test"`,
		client + "/.well-known/matrix/client?calls":    `"livekit_service_url":"https://livekit.example.test"`,
		client + "/.well-known/matrix/support":         `[{"matrix_id":"@a:b.test","role":"m.role.admin"},{"email_address":"a@b.test","role":"m.role.admin"},{"email_address":"s@b.test","role":"m.role.security"}]`,
		client + "/.well-known/matrix/support?page":    `"support_page":"https://example.test/help"`,
		client + "/.well-known/matrix/server":          `{"m.server":"matrix.example.test:443"}`,
		client + "/_matrix/federation/v1/version":      `"Hanse"`,
		client + "/_matrix/key/v2/server":              `"server_name":"example.test"`,
		client + "/_matrix/nonsense":                   `M_UNRECOGNIZED`,
		monitor + "/health":                            "ok",
		monitor + "/ready":                             "ready",
		monitor + "/metrics":                           "hanse_sender_pdus_total",
		monitor + "/metrics?":                          `hanse_events_judged_total{verdict="soft-failed"} 0`,
		monitor + "/metrics?2":                         `hanse_client_requests{lane="sends"} 0`,
		monitor + "/debug/pprof/goroutine?debug=1":     "goroutine profile",
		client + "/_matrix/client/v3/register/availab": "M_UNRECOGNIZED",
	} {
		if _, body := fetch(t, path); !strings.Contains(body, want) {
			t.Errorf("%s answers %s", path, body)
		}
	}
	began := time.Now()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > shutdownTimeout {
		t.Errorf("the stop took %s", took)
	}
}

// TestReadinessIsTrue: what sends users here must learn that nothing they say would be kept, and that it is over.
func TestReadinessIsTrue(t *testing.T) {
	config := testConfig(t)
	config.DataDir = filepath.Join(t.TempDir(), "data")
	n, stop := start(t, config)
	monitor := "http://" + n.address("monitor.listen")
	ready := func(want int, text string) {
		t.Helper()
		if status, body := fetch(t, monitor+"/ready"); status != want || body != text {
			t.Errorf("/ready answers %d %q", status, body)
		}
	}
	write := func() error {
		return n.store.CreateUser(t.Context(), store.User{ID: "@alice:example.test", Created: time.Now()})
	}
	ready(http.StatusOK, "ready\n")
	if err := os.Rename(config.DataDir, config.DataDir+"-away"); err != nil {
		t.Fatal(err)
	}
	if err := write(); err == nil {
		t.Fatal("it writes to a file that is away")
	}
	ready(http.StatusServiceUnavailable, "not ready: the database takes no writes; the log says why\n")
	if status, _ := fetch(t, monitor+"/health"); status != http.StatusOK {
		t.Errorf("/health answers %d", status)
	}
	if err := os.Rename(config.DataDir+"-away", config.DataDir); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) { // nobody writes
		if status, _ := fetch(t, monitor+"/ready"); status == http.StatusOK {
			break
		}
		if time.Since(began) > 2*time.Minute {
			t.Fatal("it isn't ready again")
		}
	}
	if err := errors.Join(write(), stop()); err != nil {
		t.Error(err)
	}
}

// TestASecondStartGoesOn: accounts and keys outlive a restart.
func TestASecondStartGoesOn(t *testing.T) {
	config := testConfig(t)
	var documents [2]struct {
		VerifyKeys map[string]any `json:"verify_keys"`
	}
	for i := range documents {
		n, stop := start(t, config)
		_, body := fetch(t, "http://"+n.address("client.listen")+"/_matrix/key/v2/server")
		if err := json.Unmarshal([]byte(body), &documents[i]); err != nil {
			t.Fatal(err)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
	for key := range documents[0].VerifyKeys {
		if _, same := documents[1].VerifyKeys[key]; !same {
			t.Errorf("the second start has other keys: %v, %v", documents[0], documents[1])
		}
	}
}

func TestADataFolderHasOneServer(t *testing.T) {
	config := testConfig(t)
	_, stop := start(t, config)
	if n, err := New(t.Context(), config, slog.New(slog.DiscardHandler)); err == nil {
		t.Errorf("a second server starts: %v", n.addresses())
	} else if !strings.Contains(err.Error(), "in use by another hanse") {
		t.Errorf("a second server: %v", err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if _, stop := start(t, config); stop() != nil {
		t.Error("the folder is not free after the stop")
	}
}

// A folder of another user's can't be made by a test that root runs.
func TestADataFolderOfAnotherUserIsNamed(t *testing.T) {
	err := folderError("/srv/hanse", &fs.PathError{Op: "open", Path: "/srv/hanse/lock", Err: syscall.EACCES})
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "may not write in /srv/hanse; give it to the user that hanse runs as") {
		t.Errorf("%v", err)
	}
}

func TestAStartThatCanNotBeIsRefusedClearly(t *testing.T) {
	used := testConfig(t)
	_, stop := start(t, used)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"a taken port":            {func(c *Config) { c.Client.Listen = []string{taken.Addr().String()} }, "is taken by another program"},
		"an address elsewhere":    {func(c *Config) { c.Client.Listen = []string{"192.0.2.1:0"} }, "192.0.2.1:0 is no address of this machine"},
		"a name with a scheme":    {func(c *Config) { c.ServerName = "https://example.test" }, "without https://"},
		"a key of another's":      {func(c *Config) { c.Federation.Key = c.Federation.Certificate }, "the chain in PEM form, and the key that was made with it"},
		"another server name":     {func(c *Config) { c.ServerName = "other.test" }, "example.test"},
		"a lost key":              {func(c *Config) { c.SigningKey = filepath.Join(c.DataDir, "nowhere.key") }, "restore the file from a backup"},
		"a data folder in a file": {func(c *Config) { c.DataDir = c.Federation.Key }, "data_dir"},
		"a broken setting":        {func(c *Config) { c.Log.Level = "loud" }, "log.level"},
		"no such database":        {func(c *Config) { c.Database.URL = "postgres://nobody@127.0.0.1:1/none?connect_timeout=1" }, "database"},
	} {
		t.Run(name, func(t *testing.T) {
			config := used
			c.change(&config)
			n, err := New(t.Context(), config, slog.New(slog.DiscardHandler))
			if err == nil {
				t.Fatalf("it starts: %v", n.addresses())
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; it should speak of %q", err, c.want)
			}
		})
	}
}
