package node

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
)

type roundTripper func() (*http.Response, error)

func (f roundTripper) RoundTrip(*http.Request) (*http.Response, error) { return f() }

// TestWhatAnACMEAuthorityRefusesIsInTheLog: who runs a server is to know before the certificate ends.
func TestWhatAnACMEAuthorityRefusesIsInTheLog(t *testing.T) {
	for what, c := range map[string]struct {
		status int
		body   string
		says   []string // nil: nothing
	}{
		"an order":      {201, `{"status":"pending","identifiers":[{"type":"dns","value":"example.org"}]}`, nil},
		"a certificate": {200, "-----BEGIN CERTIFICATE-----\n", nil},
		"a nonce":       {400, `{"type":"urn:ietf:params:acme:error:badNonce","detail":"JWS has an invalid anti-replay nonce"}`, nil},
		"a limit":       {429, `{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many certificates"}`, []string{"status=429", "too many certificates"}},
		"a broken page": {502, "<html>", []string{"status=502"}},
		"waiting": {200, `{"status":"pending","identifier":{"type":"dns","value":"example.org"},
			"challenges":[{"type":"http-01","status":"pending"}]}`, nil},
		"no proof": {200, `{"status":"invalid","identifier":{"type":"dns","value":"example.org"},
			"challenges":[{"type":"tls-alpn-01","status":"invalid","error":{"type":"urn:ietf:params:acme:error:connection","detail":"192.0.2.1: Connection refused"}}]}`,
			[]string{"name=example.org", "challenge=tls-alpn-01", "Connection refused"}},
	} {
		var log bytes.Buffer
		a := acmeAnswers{log: slog.New(slog.NewTextHandler(&log, nil)), next: roundTripper(func() (*http.Response, error) {
			return &http.Response{StatusCode: c.status, Body: io.NopCloser(strings.NewReader(c.body))}, nil
		})}
		response, err := a.RoundTrip(nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(response.Body); err != nil || string(body) != c.body {
			t.Errorf("%s: who asked reads %q, %v", what, body, err)
		}
		for _, want := range c.says {
			if !strings.Contains(log.String(), want) {
				t.Errorf("%s: nothing says %q: %s", what, want, &log)
			}
		}
		if c.says == nil && log.Len() > 0 {
			t.Errorf("%s: %s", what, &log)
		}
	}
	var log bytes.Buffer
	gone := errors.New("no route")
	a := acmeAnswers{log: slog.New(slog.NewTextHandler(&log, nil)), next: roundTripper(func() (*http.Response, error) { return nil, gone })}
	if _, err := a.RoundTrip(nil); !errors.Is(err, gone) || !strings.Contains(log.String(), "no route") {
		t.Errorf("an authority that is gone: %v, %s", err, &log)
	}
}
