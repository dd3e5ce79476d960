package node

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func TestProxiesThatHideTheirClientsAreToldOf(t *testing.T) {
	for what, c := range map[string]struct {
		remote, host, forwarded string
		tls                     bool
		says                    string
	}{
		"a proxy without the header":       {remote: "127.0.0.1:5", host: "matrix.example.org", says: "let it set X-Forwarded-For"},
		"one with a port in Host":          {remote: "[::1]:5", host: "matrix.example.org:443", says: "let it set X-Forwarded-For"},
		"one that is not trusted":          {remote: "172.18.0.2:5", host: "matrix.example.org", forwarded: "192.0.2.1", says: "add it to client.trusted_proxies"},
		"a good one":                       {remote: "127.0.0.1:5", host: "matrix.example.org", forwarded: "192.0.2.1"},
		"one that is trusted":              {remote: "10.0.0.1:5", host: "matrix.example.org", forwarded: "192.0.2.1"},
		"a tool on this machine":           {remote: "127.0.0.1:5", host: "127.0.0.1:8008"},
		"a tool on this machine, by IPv6":  {remote: "[::1]:5", host: "[::1]:8008"},
		"a tool that says localhost":       {remote: "127.0.0.1:5", host: "localhost:8008"},
		"a client that claims to be one":   {remote: "198.51.100.7:5", host: "matrix.example.org", forwarded: "192.0.2.1"},
		"a client in the same network":     {remote: "192.168.1.5:5", host: "matrix.example.org"},
		"a client of our own, without one": {remote: "127.0.0.1:5", host: "matrix.example.org", tls: true},
	} {
		var log bytes.Buffer
		served := 0
		p := &proxyWatch{
			next: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }), log: slog.New(slog.NewTextHandler(&log, nil)),
			trusts: func(addr netip.Addr) bool { return addr.IsLoopback() || addr == netip.MustParseAddr("10.0.0.1") },
		}
		for range 3 {
			r := httptest.NewRequest("GET", "/_matrix/client/versions", nil)
			r.RemoteAddr, r.Host = c.remote, c.host
			if c.forwarded != "" {
				r.Header.Set("X-Forwarded-For", c.forwarded)
			}
			if c.tls {
				r.TLS = &tls.ConnectionState{}
			}
			p.ServeHTTP(httptest.NewRecorder(), r)
		}
		if said := log.String(); served != 3 || !strings.Contains(said, c.says) || strings.Count(said, "\n") != min(1, len(c.says)) {
			t.Errorf("%s: served %d, said %q", what, served, said)
		}
	}
}
