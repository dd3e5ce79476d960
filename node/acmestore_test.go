package node

import (
	"bytes"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const day = 24 * time.Hour

// gotFor is what ACME keeps of a name: the key and the certificate.
func gotFor(t *testing.T, name string, from, until time.Duration) []byte {
	t.Helper()
	certificate, secret := selfSigned(t, name, from, until)
	return append(secret, certificate...)
}

// TestWhatACMEGotIsLogged: got, renewed, loaded; each once.
func TestWhatACMEGotIsLogged(t *testing.T) {
	dir, first, renewed := t.TempDir(), gotFor(t, "example.test", -day, day), gotFor(t, "example.test", -day, 2*day)
	var log bytes.Buffer
	said := func() string {
		defer log.Reset()
		return log.String()
	}
	open := func() *acmeStore { return newACMEStore(dir, slog.New(slog.NewTextHandler(&log, nil))) }
	s := open()
	for _, data := range [][]byte{first, renewed} {
		if err := s.Put(t.Context(), "example.test", data); err != nil {
			t.Fatal(err)
		}
		got := said()
		until := certificateIn(data).NotAfter.UTC().Format(time.RFC3339)
		for _, want := range []string{"a certificate was got by ACME", "name=example.test", "valid_until=" + until, `issuer="CN=nobody's authority"`} {
			if !strings.Contains(got, want) {
				t.Errorf("the log doesn't say %q: %s", want, got)
			}
		}
	}
	if err := s.Put(t.Context(), "example.test+token", first); err != nil || said() != "" {
		t.Errorf("what proves a name is logged, or %v", err)
	}
	s = open()
	for i, want := range []string{"a certificate got by ACME was loaded", ""} {
		data, err := s.Get(t.Context(), "example.test")
		if got := said(); err != nil || !bytes.Equal(data, renewed) || !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("reading it, %d: %v, %s", i, err, got)
		}
	}
}

// TestWhatACMEGotIsKeptOnAFullDisk: what was got is used, and written when it can be.
func TestWhatACMEGotIsKeptOnAFullDisk(t *testing.T) {
	dir, data := t.TempDir(), gotFor(t, "example.test", -day, day)
	if err := os.WriteFile(acmeFolder(dir), nil, 0o600); err != nil { // so that nothing can be written there, by root either
		t.Fatal(err)
	}
	var log bytes.Buffer
	s := newACMEStore(dir, slog.New(slog.NewTextHandler(&log, nil)))
	for _, name := range []string{"acme_account+key", "example.test"} {
		if err := s.Put(t.Context(), name, data); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got, err := s.Get(t.Context(), name); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	s.write(t.Context())
	if got := strings.Count(log.String(), "can't be written"); got != 2 {
		t.Errorf("it is said %d times that two files can't be written: %s", got, log.String())
	}
	if err := os.Remove(acmeFolder(dir)); err != nil {
		t.Fatal(err)
	}
	s.write(t.Context())
	for _, name := range []string{"acme_account+key", "example.test"} {
		if got, err := os.ReadFile(filepath.Join(acmeFolder(dir), name)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// TestWhatACMEGotCannotBeRead: it is said once, not with each connection.
func TestWhatACMEGotCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(acmeFolder(dir), "example.test"), 0o700); err != nil { // root can't read it either
		t.Fatal(err)
	}
	var log bytes.Buffer
	s := newACMEStore(dir, slog.New(slog.NewTextHandler(&log, nil)))
	for range 3 {
		if _, err := s.Get(t.Context(), "example.test"); err == nil {
			t.Fatal("a folder is read")
		}
	}
	if got := strings.Count(log.String(), "can't be read"); got != 1 {
		t.Errorf("it is said %d times: %s", got, log.String())
	}
}

// TestCertificatesThatShouldHaveBeenRenewed: the log has it once a day, and from the end on as an error.
func TestCertificatesThatShouldHaveBeenRenewed(t *testing.T) {
	for what, c := range map[string]struct {
		life time.Duration
		due  time.Duration // before the end
	}{
		"a year": {365 * day, 20 * day}, "90 days": {90 * day, 20 * day}, "6 days": {6 * day, 32 * time.Hour},
	} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			all := map[string]*x509.Certificate{"example.test": {NotBefore: begin, NotAfter: begin.Add(c.life)}}
			said := map[string]time.Time{}
			level := func() string {
				var log bytes.Buffer
				sayDue(all, said, slog.New(slog.NewTextHandler(&log, nil)))
				_, after, _ := strings.Cut(log.String(), "level=")
				name, _, _ := strings.Cut(after, " ")
				return name
			}
			for _, look := range []struct {
				after time.Duration
				want  string
			}{
				{c.life - c.due - time.Second, ""}, {c.life - c.due, "WARN"}, {c.life - c.due + time.Hour, ""}, {c.life - c.due + day, "WARN"}, {c.life + day, "ERROR"},
			} {
				time.Sleep(time.Until(begin.Add(look.after)))
				if got := level(); got != look.want {
					t.Errorf("%s, after %s: %q, not %q", what, look.after, got, look.want)
				}
			}
		})
	}
}
