package node

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
)

// proxyWatch tells, once each, of reverse proxies that hide where their clients are: those count as one then, for rate limits and as
// devices' last address. Safe for concurrent use.
type proxyWatch struct {
	next   http.Handler
	trusts func(netip.Addr) bool // whether an address's X-Forwarded-For is believed
	log    *slog.Logger

	silent, unbelieved atomic.Bool // it was told
}

func (p *proxyWatch) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.TLS == nil { // where we speak TLS ourselves there is none
		p.look(r)
	}
	p.next.ServeHTTP(w, r)
}

func (p *proxyWatch) look(r *http.Request) {
	forwarded := len(r.Header["X-Forwarded-For"]) > 0
	told := &p.silent
	if forwarded {
		told = &p.unbelieved
	}
	if told.Load() {
		return
	}
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return
	}
	from := remote.Addr().Unmap()
	switch trusted := p.trusts(from); {
	// Who asks for this machine by a name of the public internet came to it from there.
	case !forwarded && trusted && publicHost(r.Host):
		if told.CompareAndSwap(false, true) {
			p.log.Warn("a reverse proxy doesn't say where its clients are, who therefore count as one: let it set X-Forwarded-For", "proxy", from, "host", r.Host)
		}
	case forwarded && !trusted && (from.IsPrivate() || from.IsLoopback()):
		if told.CompareAndSwap(false, true) {
			p.log.Warn("the X-Forwarded-For of an address is not believed, and its clients count as one: if it is your reverse proxy, add it to client.trusted_proxies", "address", from)
		}
	}
}

// publicHost tells whether a Host header names a host by a name with a dot, as they have on the public internet.
func publicHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err != nil && strings.Contains(strings.Trim(host, "."), ".") && !strings.HasSuffix(host, ".localhost") && !strings.HasSuffix(host, ".internal")
}
