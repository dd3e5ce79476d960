package node

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"hanse/node/doctor"
	"hanse/node/store/postgres"
	"hanse/testnet/fabric"
)

// mailConfig is a node that sends its mails through a server that demands STARTTLS and a login, as those of providers do.
func mailConfig(t *testing.T) (Config, *fabric.MailServer) {
	t.Helper()
	config := testConfig(t)
	ca, err := fabric.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	certPEM, keyPEM, err := ca.Issue("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	config.Federation.TrustedCAs = filepath.Join(folder, "ca.crt")
	config.Email = EmailConfig{
		Host: "127.0.0.1", User: "hanse", PasswordFile: filepath.Join(folder, "password"), From: "Example <noreply@example.test>", Name: "Example",
	}
	for path, data := range map[string][]byte{config.Federation.TrustedCAs: ca.CertificatePEM(), config.Email.PasswordFile: []byte("secret\n")} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server, err := fabric.ListenMail("127.0.0.1:0", fabric.MailConfig{Certificate: &pair, Methods: []string{"LOGIN"}, User: "hanse", Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	config.Email.Port = server.Port()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return config, server
}

// testDatabases are SQLite and, if HANSE_TEST_POSTGRES names a server where databases may be made, a new one there: what database.url has.
func testDatabases(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{"SQLite": ""}
	server := os.Getenv("HANSE_TEST_POSTGRES")
	if server == "" {
		return all
	}
	write, read, err := postgres.Open(server).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer write.Close() //nolint:errcheck // a test
	defer read.Close()  //nolint:errcheck // a test
	name := fmt.Sprintf("hanse_test_mail_%d_%d", os.Getpid(), time.Now().UnixNano())
	if _, err := write.ExecContext(t.Context(), "CREATE DATABASE "+name+" ENCODING 'UTF8' TEMPLATE template0"); err != nil {
		t.Fatal(err)
	}
	before, query, _ := strings.Cut(server, "?")
	all["PostgreSQL"] = before[:strings.LastIndex(before, "/")+1] + name + "?" + query
	return all
}

// said posts JSON to a node and reads the answer.
func said(t *testing.T, url, token, body string) (status int, answer map[string]any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		t.Fatalf("%s: %s", url, raw)
	}
	return response.StatusCode, answer
}

// A user registers with an address, the server is started anew, and a link that was sent before it is good after it: then the password is
// another, and the old one none any more. The mails go through a mail server with STARTTLS and a login.
func TestAForgottenPasswordComesBackByMail(t *testing.T) {
	config, mails := mailConfig(t)
	for name, database := range testDatabases(t) {
		t.Run(name, func(t *testing.T) {
			config := config
			config.DataDir, config.Database.URL = t.TempDir(), database
			config.Registration.RequireEmail = true
			n, stop := start(t, config)
			api := "http://" + n.address("client.listen") + "/_matrix/client/v3"
			address := "Alice+" + name + "@example.org"

			link := regexp.MustCompile(`https://matrix\.example\.test(/_matrix/email/confirm\?sid=3?[^\s]+)`)
			sent := len(mails.Mails())
			ask := func(path string) (sid string) {
				t.Helper()
				status, answer := said(t, api+path+"/email/requestToken", "", fmt.Sprintf(`{"client_secret": "secret", "email": %q, "send_attempt": 1}`, address))
				if status != 200 {
					t.Fatal(status, answer)
				}
				sent++
				return answer["sid"].(string)
			}
			confirm := func() {
				t.Helper()
				all := mails.Mails()
				if len(all) != sent || all[sent-1].To != strings.ToLower(address) || all[sent-1].From != "noreply@example.test" {
					t.Fatalf("%+v", all)
				}
				text := strings.NewReplacer("=\n", "", "=3D", "=").Replace(all[sent-1].Text)
				found := link.FindStringSubmatch(text)
				if found == nil {
					t.Fatal(text)
				}
				response, err := http.Post("http://"+n.address("client.listen")+found[1], "", nil)
				if err != nil {
					t.Fatal(err)
				}
				page, err := io.ReadAll(response.Body)
				if err != nil || response.StatusCode != 200 || response.Body.Close() != nil {
					t.Fatalf("%d %v %s", response.StatusCode, err, page)
				}
			}
			auth := func(sid string) string {
				return fmt.Sprintf(`"auth": {"type": "m.login.email.identity", "threepid_creds": {"sid": %q, "client_secret": "secret"}}`, sid)
			}
			for _, nonsense := range []string{"%00", "%ff", "%27", "%F0%9F%98%80"} { // what a database may not take
				if status, page := fetch(t, "http://"+n.address("client.listen")+"/_matrix/email/confirm?token=x&sid="+nonsense); status != 404 {
					t.Error(nonsense, status, page)
				}
			}
			nonsense := `{"new_password": "x", "auth": {"type": "m.login.email.identity", "threepid_creds": {"sid": "\u0000", "client_secret": "secret"}}}`
			if status, answer := said(t, api+"/account/password", "", nonsense); status != 401 {
				t.Error(status, answer)
			}
			sid := ask("/register")
			register := `{"username": "alice", "password": "old", ` + auth(sid) + `}`
			if status, answer := said(t, api+"/register", "", register); status != 401 {
				t.Fatal(status, answer)
			}
			confirm()
			if status, answer := said(t, api+"/register", "", register); status != 200 {
				t.Fatal(status, answer)
			}
			sid = ask("/account/password")
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			n, stop = start(t, config)
			api = "http://" + n.address("client.listen") + "/_matrix/client/v3"
			confirm()
			change := `{"new_password": "new", ` + auth(sid) + `}`
			if status, answer := said(t, api+"/account/password", "", change); status != 200 {
				t.Fatal(status, answer)
			}
			if status, answer := said(t, api+"/account/password", "", change); status != 401 {
				t.Error("a second time:", status, answer)
			}
			for password, want := range map[string]int{"old": 403, "new": 200} {
				login := fmt.Sprintf(`{"type": "m.login.password", "identifier": {"type": "m.id.thirdparty", "medium": "email", "address": %q}, "password": %q}`, address, password)
				if status, answer := said(t, api+"/login", "", login); status != want {
					t.Error(password, status, answer)
				}
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// What is wrong with the settings of mails is said before the start, and by the doctor what is wrong with the mail server.
func TestEmailSettings(t *testing.T) {
	good, mails := mailConfig(t)
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"registration.require_email: needs email.host":             func(c *Config) { c.Email, c.Registration.RequireEmail = EmailConfig{}, true },
		"email.from: is given without email.host":                  func(c *Config) { c.Email.Host = "" },
		"email.host: \"smtp://x\" is not":                          func(c *Config) { c.Email.Host = "smtp://x" },
		"email.port: 70000 is not":                                 func(c *Config) { c.Email.Port = 70000 },
		"client.public_url: is missing":                            func(c *Config) { c.Client.PublicURL = "" },
		"email.encryption: none is only for":                       func(c *Config) { c.Email.Host, c.Email.Encryption = "mail.example.org", "none" },
		"email.encryption: \"ssl\" is unknown":                     func(c *Config) { c.Email.Encryption = "ssl" },
		"email.from: \"\" is not":                                  func(c *Config) { c.Email.From = "" },
		"email.from: \"a@b\\r\\nBcc: c@d\" is not":                 func(c *Config) { c.Email.From = "a@b\r\nBcc: c@d" },
		"email.name: \"a\\nb\" has characters":                     func(c *Config) { c.Email.Name = "a\nb" },
		"email.password_file: open /nowhere":                       func(c *Config) { c.Email.PasswordFile = "/nowhere" },
		"email.password: is given as well":                         func(c *Config) { c.Email.Password = "x" },
		"email.user: and the password are given together":          func(c *Config) { c.Email.User = "" },
		"email.next_links: \"https://app.element.io\" is not":      func(c *Config) { c.Email.NextLinks = []string{"https://app.element.io"} },
		"rate_limits.all_mails: a limit is not negative; leave it": func(c *Config) { c.RateLimits.AllMails.Burst = -1 },
	} {
		config := good
		change(&config)
		if err := config.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	if err := good.TestEmail(t.Context(), "You@example.org"); err != nil {
		t.Error(err)
	}
	if all := mails.Mails(); len(all) != 1 || all[0].To != "you@example.org" || !strings.Contains(all[0].Text, "Subject: [Example] A mail to try it\n") {
		t.Errorf("%+v", all)
	}
	wrong := good
	wrong.Email.PasswordFile, wrong.Email.Password = "", "wrong"
	if err := wrong.TestEmail(t.Context(), "you@example.org"); err == nil || !strings.Contains(err.Error(), "refuses the login: 535") {
		t.Error(err)
	}
	for want, config := range map[string]Config{"takes our login": good, "refuses the login: 535": wrong, "no mails are sent": {}} {
		d := &diagnosis{config: config.withDefaults(), report: &doctor.Report{}}
		d.mails(t.Context())
		if len(d.report.Findings) != 1 || !strings.Contains(d.report.Findings[0].What, want) {
			t.Errorf("%+v; want %q", d.report.Findings, want)
		}
	}
}

// A mail server that hangs keeps nobody but who waits for a mail, and that not for ever: the client learns that it was not sent.
func TestAMailServerThatIsGone(t *testing.T) {
	config, _ := mailConfig(t)
	config.Email.Port = 1 // nobody listens there
	var log strings.Builder
	n, err := New(t.Context(), config, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	status, answer := said(t, "http://"+n.address("client.listen")+"/_matrix/client/v3/account/3pid/email/requestToken", "", `{"client_secret": "s", "email": "a@b.c", "send_attempt": 1}`)
	if status != 502 || answer["errcode"] != "M_UNKNOWN" || strings.Contains(fmt.Sprint(answer), "127.0.0.1") {
		t.Error(status, answer)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if said := log.String(); !strings.Contains(said, "a mail to a user was not sent") || !strings.Contains(said, "the mail server 127.0.0.1:1 can't be reached") {
		t.Error(said)
	}
}
