// Package resolver turns a server name into the addresses to connect to, by the steps of the specification's
// server discovery, and guards outgoing connections against addresses that other servers must not make us call.
// It opens no federation connections itself.
package resolver

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
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
	Via     string         // the step of the spec that led here, for people
}

// Config is what a Resolver needs. The zero value asks the system's resolver, trusts the system's roots and
// refuses every address that is not public.
type Config struct {
	DNSServer string         // "ip:port" of the DNS server to ask; empty: the system's (/etc/resolv.conf, /etc/hosts)
	Roots     *x509.CertPool // CAs trusted for well-known; nil: the system's
	Allow     []netip.Prefix // addresses that may be called although they are not public
	UserAgent string         // sent with well-known requests
	Network   Network        // nil: the real network; tests give their own
	Log       *slog.Logger   // nil: silent
}

// Network is what the resolver asks of the world.
type Network interface{}

// Resolver finds targets. It is safe for concurrent use.
type Resolver struct{ cfg Config }

// New makes a resolver; it starts nothing.
func New(cfg Config) *Resolver { return &Resolver{cfg: cfg} }

// Resolve gives the targets of a server in the order in which to try them; at least one when err is nil.
func (r *Resolver) Resolve(ctx context.Context, server id.ServerName) ([]Target, error) {
	return nil, errors.New("resolver: not built yet")
}

// Forget drops what is cached of a server, for when none of its targets answers.
func (r *Resolver) Forget(server id.ServerName) {}

// Control is for net.Dialer.Control: it refuses connections to denied addresses, whatever name led there.
func (r *Resolver) Control(network, address string, _ syscall.RawConn) error { return nil }

// DialContext dials through the guard; addr is "ip:port" or "name:port".
func (r *Resolver) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Control: r.Control}
	return d.DialContext(ctx, network, addr)
}
