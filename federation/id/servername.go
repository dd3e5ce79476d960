package id

import (
	"net/netip"
	"strconv"
	"strings"
)

// ServerName names a homeserver: a DNS name or an IP literal, and optionally a port.
// Server names are case-sensitive.
//
// spec:appendices#server-name
type ServerName string

const serverName = "server name"

// ParseServerName checks s against the grammar of server names. A name of four decimal
// numbers is an IPv4 literal and must be a valid one; IPv6 literals stand in brackets and
// have no zone.
func ParseServerName(s string) (ServerName, error) {
	switch {
	case s == "":
		return "", refuse(serverName, s, "it is empty")
	case len(s) > MaxLength:
		return "", refuse(serverName, s, "it has more than 255 bytes")
	}
	host, port, hasPort := cutPort(s)
	if hasPort {
		if reason := checkPort(port); reason != "" {
			return "", refuse(serverName, s, reason)
		}
	}
	if reason := checkHost(host); reason != "" {
		return "", refuse(serverName, s, reason)
	}
	return ServerName(s), nil
}

// cutPort splits "host:port"; the colons inside the brackets of an IPv6 literal are part of
// the host.
func cutPort(s string) (host, port string, hasPort bool) {
	from := 0
	if strings.HasPrefix(s, "[") {
		from = strings.IndexByte(s, ']')
		if from < 0 {
			return s, "", false
		}
	}
	if i := strings.IndexByte(s[from:], ':'); i >= 0 {
		return s[:from+i], s[from+i+1:], true
	}
	return s, "", false
}

func checkPort(port string) (reason string) {
	if len(port) == 0 || len(port) > maxPortDigits {
		return "its port has not one to five digits"
	}
	for i := range len(port) {
		if !isDigit(port[i]) {
			return "its port is not a number"
		}
	}
	// The grammar alone would let 99999 pass, which is no port: nobody can be there, so that no signature of such a server
	// could ever be checked. What names one is refused at once rather than when its keys are looked for in vain.
	if n, err := strconv.Atoi(port); err != nil || n > maxPort {
		return "its port is greater than 65535"
	}
	return ""
}

func checkHost(host string) (reason string) {
	if strings.HasPrefix(host, "[") {
		if _, ok := ipv6(host); !ok {
			return "what stands in brackets is not an IPv6 address"
		}
		return ""
	}
	if host == "" {
		return "it has no host"
	}
	for i := range len(host) {
		if c := host[i]; !isDigit(c) && !isLetter(c) && c != '-' && c != '.' {
			return "its host contains other characters than letters, digits, '-' and '.'"
		}
	}
	if looksLikeIPv4(host) {
		if _, err := netip.ParseAddr(host); err != nil {
			return "it looks like an IPv4 address, but is not one"
		}
	}
	return ""
}

// looksLikeIPv4 tells whether host has the form of the grammar's IPv4address: four groups of
// one to three digits.
func looksLikeIPv4(host string) bool {
	groups, digits := 1, 0
	for i := range len(host) {
		switch c := host[i]; {
		case isDigit(c):
			digits++
			if digits > 3 {
				return false
			}
		case c == '.' && digits > 0:
			groups, digits = groups+1, 0
		default:
			return false
		}
	}
	return groups == 4 && digits > 0
}

// ipv6 reads "[address]". Zones are no part of the grammar.
func ipv6(host string) (netip.Addr, bool) {
	if !strings.HasPrefix(host, "[") || !strings.HasSuffix(host, "]") {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(host[1 : len(host)-1])
	if err != nil || !addr.Is6() || addr.Zone() != "" {
		return netip.Addr{}, false
	}
	return addr, true
}

// Host is the name without the port. An IPv6 literal keeps its brackets.
func (n ServerName) Host() string {
	host, _, _ := cutPort(string(n))
	return host
}

// Port is the port as written; ok is false if the name has none.
func (n ServerName) Port() (port string, ok bool) {
	_, port, ok = cutPort(string(n))
	return port, ok
}

// Literal is the IP address if the host is a literal.
func (n ServerName) Literal() (netip.Addr, bool) {
	host := n.Host()
	if strings.HasPrefix(host, "[") {
		return ipv6(host)
	}
	if !looksLikeIPv4(host) {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(host)
	return addr, err == nil
}

func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
