package node

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"hanse/federation/exactjson"
)

// acmeAnswers tells the log what an ACME authority refuses, of certificates that are got as of those that are renewed: autocert says
// nothing of the latter, and of the former not why. Safe for concurrent use.
type acmeAnswers struct {
	next http.RoundTripper
	log  *slog.Logger
}

// maxACMEAnswer bounds the authority's answers, in bytes; they are some thousand.
const maxACMEAnswer = 1 << 20

// RoundTrip implements http.RoundTripper.
func (a acmeAnswers) RoundTrip(q *http.Request) (*http.Response, error) {
	response, err := a.next.RoundTrip(q)
	if err != nil {
		a.log.Warn("the authority of acme.directory can't be reached: no certificate is got or renewed meanwhile", "error", err)
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxACMEAnswer))
	_ = response.Body.Close() // what counts was read
	if err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	// A problem (RFC 8555, 6.7), or an authorization with its challenges' problems (7.1.4, 8).
	var said struct {
		Type       string `json:"type"`
		Detail     string `json:"detail"`
		Identifier struct {
			Value string `json:"value"`
		} `json:"identifier"`
		Challenges []struct {
			Type  string `json:"type"`
			Error struct {
				Detail string `json:"detail"`
			} `json:"error"`
		} `json:"challenges"`
	}
	_ = exactjson.Unmarshal(body, &said) // certificates and others' error pages are none
	switch {
	case response.StatusCode >= 400 && !strings.HasSuffix(said.Type, ":badNonce"): // that is asked again
		a.log.Warn("the authority of acme.directory refuses a request for a certificate", "status", response.StatusCode, "answer", said.Detail)
	case response.StatusCode < 400:
		for _, c := range said.Challenges {
			if c.Error.Detail != "" {
				a.log.Warn("the authority of acme.directory got no proof that a name is ours: port 443 or 80 of it must lead here",
					"name", said.Identifier.Value, "challenge", c.Type, "answer", c.Error.Detail)
			}
		}
	}
	return response, nil
}
