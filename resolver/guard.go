package resolver

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
)

// DeniedError is the refusal to call an address.
type DeniedError struct {
	Addr   netip.Addr
	Reason string // what kind of address it is, e.g. "loopback"
}

// Error tells what would have to be configured to call it all the same.
func (e *DeniedError) Error() string {
	return fmt.Sprintf("address %s is refused (%s): it isn't among the allowed addresses", e.Addr, e.Reason)
}

// denied are the addresses that no other server may make us call, because they are not on the public Internet.
// After the registries of special-purpose addresses (RFC 6890 and later ones).
var denied = []struct {
	prefix netip.Prefix
	reason string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "this host"},
	{netip.MustParsePrefix("10.0.0.0/8"), "private"},
	{netip.MustParsePrefix("100.64.0.0/10"), "shared by a provider's customers"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},
	{netip.MustParsePrefix("172.16.0.0/12"), "private"},
	{netip.MustParsePrefix("192.0.0.0/24"), "protocol assignments"},
	{netip.MustParsePrefix("192.0.2.0/24"), "documentation"},
	{netip.MustParsePrefix("192.88.99.0/24"), "6to4 relay"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private"},
	{netip.MustParsePrefix("198.18.0.0/15"), "benchmarks"},
	{netip.MustParsePrefix("198.51.100.0/24"), "documentation"},
	{netip.MustParsePrefix("203.0.113.0/24"), "documentation"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},

	{netip.MustParsePrefix("::/128"), "unspecified"},
	{netip.MustParsePrefix("::1/128"), "loopback"},
	{netip.MustParsePrefix("::/96"), "IPv4-compatible"},
	{netip.MustParsePrefix("::ffff:0:0:0/96"), "IPv4-translated"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "local NAT64"},
	{netip.MustParsePrefix("100::/64"), "discard"},
	{netip.MustParsePrefix("2001::/23"), "protocol assignments"},
	{netip.MustParsePrefix("2001:db8::/32"), "documentation"},
	{netip.MustParsePrefix("2002::/16"), "6to4"},
	{netip.MustParsePrefix("3fff::/20"), "documentation"},
	{netip.MustParsePrefix("5f00::/16"), "segment routing"},
	{netip.MustParsePrefix("fc00::/7"), "private"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("fec0::/10"), "site-local"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
}

// nat64 is the prefix under which networks without IPv4 reach it: the IPv4 address inside decides, so that such a
// network can federate and yet nobody reaches a private address that way.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// guard decides which addresses may be called. Immutable.
type guard struct {
	allow []netip.Prefix
}

// check returns a *DeniedError for an address that may not be called.
func (g guard) check(addr netip.Addr) error {
	plain := addr.Unmap().WithZone("")
	for _, prefix := range g.allow {
		if prefix.Contains(plain) {
			return nil
		}
	}
	if nat64.Contains(plain) {
		bytes := plain.As16()
		return g.check(netip.AddrFrom4([4]byte(bytes[12:])))
	}
	for _, d := range denied {
		if d.prefix.Contains(plain) {
			return &DeniedError{Addr: addr, Reason: d.reason}
		}
	}
	return nil
}

// control is the check at the last moment: no name, redirect or changed DNS record gets past it.
func (g guard) control(_, address string, _ syscall.RawConn) error {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("address %q is refused: %w", address, err)
	}
	return g.check(addr.Addr())
}

// filter leaves out targets that may not be called; an error when none is left.
func (g guard) filter(targets []Target) ([]Target, error) {
	var kept []Target
	var refused []error
	for _, t := range targets {
		if err := g.check(t.Addr.Addr()); err != nil {
			refused = append(refused, err)
			continue
		}
		kept = append(kept, t)
	}
	if len(kept) == 0 {
		return nil, errors.Join(refused...)
	}
	return kept, nil
}
