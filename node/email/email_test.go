package email

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"testing"
	"time"

	"hanse/testnet/fabric"
)

// TestCanonical has every form of an address, and what it becomes; "": it is refused.
func TestCanonical(t *testing.T) {
	for given, want := range map[string]string{
		"alice@example.org":                      "alice@example.org",
		"Alice.B+tag@Example.ORG":                "alice.b+tag@example.org",
		"Strauß@Example.com":                     "strauss@example.com", // the specification's example
		"uſer@example.org":                       "user@example.org",    // a long s: it must not be another mailbox than the one that it folds to
		"ΣΊΣΥΦΟΣ@example.org":                    "σίσυφοσ@example.org",
		"alice@Bücher.example":                   "alice@bücher.example",
		"o'brien@example.org":                    "o'brien@example.org",
		"":                                       "",
		"alice":                                  "",
		"@example.org":                           "",
		"alice@":                                 "",
		"alice@localhost":                        "",
		"alice@example.org.":                     "",
		"alice@.example.org":                     "",
		"alice@exa mple.org":                     "",
		"alice@192.0.2.1":                        "",
		"alice@[192.0.2.1]":                      "",
		"a@b@example.org":                        "",
		"Alice <alice@example.org>":              "",
		"alice@example.org\r\nBcc: b@b.org":      "",
		"alice\r\nBcc: b@example.org":            "",
		"alice\n@example.org":                    "",
		"alice\x00@example.org":                  "",
		"al ice@example.org":                     "",
		"alice\u00a0@example.org":                "",
		"alice\u202e@example.org":                "",
		`"alice"@example.org`:                    "",
		"a,b@example.org":                        "",
		"mailto:alice@example.org":               "",
		"alice@example.org>":                     "",
		"alice@exa\xffmple.org":                  "",
		strings.Repeat("a", 65) + "@x.org":       "",
		"a@" + strings.Repeat("a.", 200) + "b":   "",
		"ﬃ" + strings.Repeat("ﬃ", 20) + "@x.org": "ffi" + strings.Repeat("ffi", 20) + "@x.org",
		strings.Repeat("ﬃ", 22) + "@x.org":       "", // it is folded to more than there may be
	} {
		got, err := Canonical(given)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("Canonical(%q) = %q, %v; want %q", given, got, err, want)
		}
		if again, err := Canonical(got); want != "" && (again != got || err != nil) {
			t.Errorf("%q is canonical, but becomes %q, %v", got, again, err)
		}
	}
}

// FuzzCanonical looks for an address that is taken and could end a line, an envelope or the address before its end.
func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{"alice@example.org", "ß@ß.de", "a\r\n@b.c", "a@b.c>", "ŉ@x.y"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, address string) {
		canonical, err := Canonical(address)
		if err != nil {
			return
		}
		if again, err := Canonical(canonical); again != canonical || err != nil {
			t.Errorf("%q becomes %q, and that %q, %v", address, canonical, again, err)
		}
		to, err := deliverable(canonical)
		if err != nil || strings.ContainsAny(to, "\r\n\x00<> ") || strings.Count(to, "@") != 1 {
			t.Errorf("%q is sent to %q, %v", address, to, err)
		}
	})
}

var testTime = time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)

// mailServer runs until the test ends.
func mailServer(t *testing.T, c fabric.MailConfig) *fabric.MailServer {
	t.Helper()
	s, err := fabric.ListenMail("127.0.0.1:0", c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

// certificate is one for a name, and the authorities to trust.
func certificate(t *testing.T, name string) (*tls.Certificate, *x509.CertPool) {
	t.Helper()
	ca, err := fabric.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	certPEM, keyPEM, err := ca.Issue(name)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return &pair, ca.Pool()
}

// TestSend sends a mail to servers of all kinds: what is in err of those that don't take it.
func TestSend(t *testing.T) {
	good, roots := certificate(t, "127.0.0.1")
	other, _ := certificate(t, "127.0.0.1")
	refusing := func(beginning, answer string) func(string) string {
		return func(command string) string {
			if strings.HasPrefix(command, beginning) {
				return answer
			}
			return ""
		}
	}
	both := []string{"PLAIN", "LOGIN"}
	for _, c := range []struct {
		name   string
		server fabric.MailConfig
		change func(*Config)
		err    string // in the error; "": the mail is sent
		is     error
	}{
		{"STARTTLS and PLAIN", fabric.MailConfig{Certificate: good, Methods: both}, nil, "", nil},
		{"STARTTLS and LOGIN", fabric.MailConfig{Certificate: good, Methods: []string{"LOGIN"}}, nil, "", nil},
		{"TLS", fabric.MailConfig{Certificate: good, FromTheStart: true, Methods: both}, func(c *Config) { c.Encryption = TLS }, "", nil},
		{"nothing", fabric.MailConfig{}, func(c *Config) { c.Encryption, c.User = None, "" }, "", nil},
		{"no STARTTLS", fabric.MailConfig{}, nil, "offers no STARTTLS", nil},
		{"another's certificate", fabric.MailConfig{Certificate: other, Methods: both}, nil, "certificate signed by unknown authority", nil},
		{"wrong password", fabric.MailConfig{Certificate: good, Methods: both}, func(c *Config) { c.Password = "x" }, "refuses the login: 535", nil},
		{"no method", fabric.MailConfig{Certificate: good, Methods: []string{"XOAUTH2"}}, nil, `takes no login by PLAIN or LOGIN (it offers "XOAUTH2")`, nil},
		{"no login", fabric.MailConfig{Certificate: good, Methods: both}, func(c *Config) { c.User = "" }, "530", nil},
		{"refused sender", fabric.MailConfig{Certificate: good, Methods: both, Answer: refusing("MAIL", "550 not you")}, nil, "doesn't take mails from noreply@example.org: 550 \"not you\"", nil},
		{"refused address", fabric.MailConfig{Certificate: good, Methods: both, Answer: refusing("RCPT", "550 nobody")}, nil, "refuses the address bob@xn--bcher-kva.example: 550 \"nobody\"", ErrRefusedAddress},
		{"greylisted", fabric.MailConfig{Certificate: good, Methods: both, Answer: refusing("RCPT", "450 later")}, nil, "450 \"later\"", nil},
		{"refused text", fabric.MailConfig{Certificate: good, Methods: both, Answer: refusing("DATA", "554 spam")}, nil, "didn't take the mail: 554 \"spam\"", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.server.User, c.server.Password = "hanse", "secret"
			server := mailServer(t, c.server)
			config := Config{
				Host: "127.0.0.1", Port: server.Port(), User: "hanse", Password: "secret", From: "Hanse <noreply@example.org>", Hello: "example.org", Roots: roots,
			}
			if c.change != nil {
				c.change(&config)
			}
			sender, err := New(config)
			if err != nil {
				t.Fatal(err)
			}
			err = sender.Send(t.Context(), Mail{To: "bob@bücher.example", Subject: "s", Text: "text\n.\nend\n", HTML: "<p>text"})
			if sent, failed := sender.Counts(); sent+failed != 1 || (sent == 1) != (err == nil) {
				t.Errorf("%d mails are counted as sent, %d as failed", sent, failed)
			}
			if c.err == "" {
				mails := server.Mails()
				if err != nil || len(mails) != 1 || mails[0].From != "noreply@example.org" || mails[0].To != "bob@xn--bcher-kva.example" || !strings.Contains(mails[0].Text, "text\n.\nend\n") {
					t.Errorf("%v, %+v", err, mails)
				}
				if err := sender.Check(t.Context()); err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), sender.Address()) || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%v; want %q in it, and where the server is", err, c.err)
			}
			if c.is == nil && errors.Is(err, ErrRefusedAddress) {
				t.Error("the address is not what was refused")
			}
			if mails := server.Mails(); len(mails) > 0 {
				t.Errorf("it was sent all the same: %+v", mails)
			}
		})
	}
}

// TestAHangingServer holds up no more mails than may wait, and none for ever.
func TestAHangingServer(t *testing.T) {
	answer := make(chan struct{})
	defer close(answer) // before the server is waited for
	reached := make(chan struct{}, maxSending)
	server := mailServer(t, fabric.MailConfig{Answer: func(command string) string {
		if strings.HasPrefix(command, "MAIL") {
			reached <- struct{}{}
			<-answer
		}
		return ""
	}})
	sender, err := New(Config{Host: "127.0.0.1", Port: server.Port(), Encryption: None, From: "noreply@example.org", Hello: "x"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error, maxSending+maxWaiting)
	for range cap(errs) {
		go func() { errs <- sender.Send(ctx, Mail{To: "bob@example.org"}) }()
	}
	for range maxSending {
		<-reached
	}
	for sender.waiting.Load() < int64(cap(errs)) { // until all of them have begun
		if err := ctx.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := sender.Send(t.Context(), Mail{To: "bob@example.org"}); !errors.Is(err, ErrBusy) {
		t.Errorf("one more: %v", err)
	}
	cancel()
	for range cap(errs) {
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	if sender.waiting.Load() != 0 || len(sender.places) != 0 {
		t.Error("places are not given back")
	}
}

// TestLetters looks at what the mails say, in both parts.
func TestLetters(t *testing.T) {
	site := Site{Name: "Ex & Co\r\nBcc: eve@example.org ü", Server: "example.org"}
	r := Request{To: "bob@example.org", From: "192.0.2.1", Link: "https://m.example.org/x?sid=1&token=2", User: "@bob:example.org"}
	for _, c := range []struct {
		mail   Mail
		linked bool
		says   string
	}{
		{site.Registration(r), true, "is making an account"}, {site.Addition(r), true, "belong to their account"},
		{site.Reset(r), true, "new password for your account @bob:example.org"}, {site.Taken(r), false, "your account there already: @bob:example.org"},
		{site.Unknown(r), false, "no account there has it"}, {site.Trial(r.To), false, "they come"},
	} {
		from := mail.Address{Name: "Hänse", Address: "noreply@example.org"}
		text, err := c.mail.text(&from, testTime)
		if err != nil {
			t.Fatal(err)
		}
		read, err := mail.ReadMessage(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if len(read.Header) != 8 || read.Header.Get("Bcc") != "" {
			t.Errorf("headers: %v", read.Header)
		}
		subject, err := new(mime.WordDecoder).DecodeHeader(read.Header.Get("Subject"))
		if err != nil || subject != c.mail.Subject || read.Header.Get("To") != "<bob@example.org>" || read.Header.Get("Date") != "Sun, 29 Nov 2026 08:00:00 +0000" {
			t.Errorf("%v: %v", err, read.Header)
		}
		for line := range strings.SplitSeq(string(text), "\r\n") {
			if len(line) > 998 || strings.ContainsAny(line, "\r\n") {
				t.Errorf("a line that SMTP doesn't take: %q", line)
			}
		}
		kind, params, err := mime.ParseMediaType(read.Header.Get("Content-Type"))
		if err != nil || kind != "multipart/alternative" {
			t.Fatal(err, kind)
		}
		parts := multipart.NewReader(read.Body, params["boundary"])
		for _, want := range []string{"text/plain; charset=utf-8", "text/html; charset=utf-8"} {
			part, err := parts.NextRawPart()
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(quotedprintable.NewReader(part))
			if err != nil || part.Header.Get("Content-Type") != want {
				t.Error(err, part.Header)
			}
			link := r.Link
			if strings.Contains(want, "html") {
				link = strings.ReplaceAll(link, "&", "&amp;")
				if strings.Contains(string(body), "Ex & Co") {
					t.Errorf("the name is not escaped: %s", body)
				}
			}
			if !strings.Contains(string(body), c.says) || strings.Contains(string(body), link) != c.linked {
				t.Errorf("%s", body)
			}
		}
	}
}
