// Package resolver turns a server name into the addresses to connect to, by the steps of the specification's
// server discovery, and guards outgoing connections against addresses that other servers must not make us call.
//
// steps.go is the list of steps, free of IO; wellknown.go and dns.go ask the world, cache.go remembers the answers.
// The package opens no federation connections itself.
package resolver

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"syscall"

	"hanse/federation/id"
)

// Target is one address at which a server may be reached.
//
// spec:server-server-api#resolving-server-names
type Target struct {
	Addr    netip.AddrPort // where to connect
	Host    string         // the Host header of the request
	TLSName string         // the name (or IP address, without brackets) that the certificate must be valid for
	Via     string         // the step of the spec that led here, for people: "3.3 _matrix-fed._tcp.example.org"
}

// Config is what a Resolver needs. The zero value asks the system's resolver, trusts the system's roots and
// refuses every address that is not public.
type Config struct {
	// DNSServer is the "ip:port" of the DNS server to ask for everything. Empty: the system's way (the servers of
	// /etc/resolv.conf; for addresses /etc/hosts too).
	DNSServer string
	Roots     *x509.CertPool // CAs trusted for well-known; nil: the system's
	Allow     []netip.Prefix // addresses that may be called although they are not public
	UserAgent string         // sent with well-known requests
	Network   Network        // nil: the real network. Tests give their own
	Log       *slog.Logger   // nil: silent
}

// Resolver finds servers. It caches what it is told, for as long as it is told within bounds. It is safe for
// concurrent use.
type Resolver struct {
	network   Network
	http      *http.Client
	userAgent string
	guard     guard
	log       *slog.Logger

	wellKnown *cache[WellKnown]
	services  *cache[[]Service]
	addresses *cache[[]netip.Addr]
}

// New makes a resolver; it starts nothing.
func New(cfg Config) *Resolver {
	r := &Resolver{network: cfg.Network, userAgent: cfg.UserAgent, guard: guard{allow: cfg.Allow}, log: cfg.Log,
		wellKnown: newCache[WellKnown](), services: newCache[[]Service](), addresses: newCache[[]netip.Addr]()}
	if r.network == nil {
		r.network = RealNetwork(cfg.DNSServer)
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.http = r.webClient(cfg.Roots)
	return r
}

// Error says why a server can't be found, and what was tried.
type Error struct {
	Server id.ServerName
	Steps  []Step
	Err    error
}

// Error names the server and the reason.
func (e *Error) Error() string { return fmt.Sprintf("can't find server %s: %v", e.Server, e.Err) }

// Unwrap gives the reason.
func (e *Error) Unwrap() error { return e.Err }

// Resolve gives the targets of a server in the order in which to try them, at least one when err is nil. Targets at
// denied addresses are left out. The error is an *Error, or that of ctx.
//
// spec:server-server-api#resolving-server-names
func (r *Resolver) Resolve(ctx context.Context, server id.ServerName) ([]Target, error) {
	targets, _, err := r.Explain(ctx, server)
	return targets, err
}

// Explain is Resolve that also tells the steps on the way, for people who want to know why a server is found where
// it is, or not at all. What is cached is used.
func (r *Resolver) Explain(ctx context.Context, server id.ServerName) ([]Target, []Step, error) {
	w := walk{ask: asker{r}, random: rand.IntN}
	targets, err := w.find(ctx, server)
	if err == nil {
		targets, err = r.guard.filter(targets)
	}
	switch {
	case ctx.Err() != nil:
		return nil, w.steps, ctx.Err()
	case err != nil:
		r.log.Debug("server can't be found", "server", server, "error", err)
		return nil, w.steps, &Error{Server: server, Steps: w.steps, Err: err}
	}
	return targets[:min(len(targets), maxTargets)], w.steps, nil
}

// Forget has a server be looked for anew, for when none of its targets answers. Its addresses and SRV records count on if DNS servers don't
// answer then, as nothing better is known; a delegation by well-known doesn't, as who takes one back is found by the steps after it.
func (r *Resolver) Forget(server id.ServerName) {
	hosts := []string{server.Host()}
	if known, ok := r.wellKnown.peek(server.Host()); ok {
		hosts = append(hosts, known.Server.Host())
	}
	r.wellKnown.drop(server.Host())
	for _, host := range hosts {
		for _, service := range [...]string{serviceFed, serviceOld} {
			list, _ := r.services.peek(service + host)
			for _, s := range list {
				r.addresses.forget(s.Host)
			}
			r.services.forget(service + host)
		}
		r.addresses.forget(host)
	}
}

// Control is for net.Dialer.Control: it refuses connections to denied addresses with a *DeniedError, whatever name
// led there.
func (r *Resolver) Control(network, address string, c syscall.RawConn) error {
	return r.guard.control(network, address, c)
}

// DialContext connects to "ip:port" or "name:port", the name's addresses in turn, but never to a denied address.
func (r *Resolver) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Control: r.Control}
	addrs := []netip.Addr{}
	if literal, err := netip.ParseAddr(host); err == nil {
		addrs = append(addrs, literal)
	} else if addrs, err = (asker{r}).addresses(ctx, host); err != nil {
		return nil, err
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("%s has no address", host)
	}
	var first error
	for _, addr := range addrs {
		conn, err := r.network.Dial(ctx, dialer, network, net.JoinHostPort(addr.String(), port))
		if err == nil {
			return conn, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}
