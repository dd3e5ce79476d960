package resolver

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestDeniedAddresses(t *testing.T) {
	for reason, addrs := range map[string]string{
		"this host":                        "0.0.0.0 0.1.2.3",
		"private":                          "10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 fc00::1 fdff::1 ::ffff:10.0.0.1 64:ff9b::10.0.0.1",
		"shared by a provider's customers": "100.64.0.1 100.127.255.255",
		"loopback":                         "127.0.0.1 127.255.255.255 ::1 ::ffff:127.0.0.1 64:ff9b::127.0.0.1",
		"link-local":                       "169.254.169.254 fe80::1 fe80::1%eth0 febf::1",
		"documentation":                    "192.0.2.1 198.51.100.1 203.0.113.1 2001:db8::1 3fff::1",
		"multicast":                        "224.0.0.1 239.255.255.255 ff02::1",
		"reserved":                         "240.0.0.1 255.255.255.255",
		"benchmarks":                       "198.18.0.1 198.19.255.255",
		"protocol assignments":             "192.0.0.1 2001::1 2001:10::1",
		"unspecified":                      "::",
		"IPv4-compatible":                  "::2 ::8.8.8.8",
		"IPv4-translated":                  "::ffff:0:8.8.8.8",
		"6to4":                             "2002:808:808::1",
		"local NAT64":                      "64:ff9b:1::1",
		"site-local":                       "fec0::1",
		"discard":                          "100::1",
		"":                                 "8.8.8.8 1.1.1.1 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 172.15.255.255 172.32.0.0 192.167.255.255 193.0.0.1 223.255.255.255 2001:4860:4860::8888 2a00::1 ::ffff:8.8.8.8 64:ff9b::8.8.8.8",
	} {
		for _, text := range strings.Fields(addrs) {
			err := guard{}.check(netip.MustParseAddr(text))
			var refusal *DeniedError
			switch {
			case reason == "" && err != nil:
				t.Errorf("%s: %v", text, err)
			case reason != "" && (!errors.As(err, &refusal) || refusal.Reason != reason):
				t.Errorf("%s: %v, want %s", text, err, reason)
			}
		}
	}
}

func TestAllowedAddresses(t *testing.T) {
	g := guard{allow: []netip.Prefix{netip.MustParsePrefix("127.1.0.0/16"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("2002::/16")}}
	for text, ok := range map[string]bool{
		"127.1.2.3": true, "127.2.0.1": false, "::ffff:127.1.2.3": true, "64:ff9b::127.1.0.1": true, "fe80::1%eth0": true,
		"2002::1": true, "10.0.0.1": false, "8.8.8.8": true,
	} {
		if err := g.check(netip.MustParseAddr(text)); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestTheGuardStandsBeforeTheConnection(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	closed := New(Config{})
	var refusal *DeniedError
	if conn, err := closed.DialContext(t.Context(), "tcp", listener.Addr().String()); !errors.As(err, &refusal) {
		t.Errorf("connected to loopback: %v, %v", conn, err)
	}
	dialer := net.Dialer{Control: closed.Control}
	for _, name := range []string{"localhost", "127.0.0.1"} {
		_, port, _ := net.SplitHostPort(listener.Addr().String())
		if conn, err := dialer.DialContext(t.Context(), "tcp4", net.JoinHostPort(name, port)); !errors.As(err, &refusal) {
			t.Errorf("a dialer with Control connected to %s: %v, %v", name, conn, err)
		}
	}
	open := New(Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	conn, err := open.DialContext(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestTargetsAreFiltered(t *testing.T) {
	public, private := Target{Addr: netip.MustParseAddrPort("8.8.8.8:1")}, Target{Addr: netip.MustParseAddrPort("10.0.0.1:1")}
	if got, err := (guard{}).filter([]Target{private, public}); err != nil || len(got) != 1 || got[0] != public {
		t.Errorf("got %v, %v", got, err)
	}
	var refusal *DeniedError
	if got, err := (guard{}).filter([]Target{private, private}); !errors.As(err, &refusal) {
		t.Errorf("got %v, %v", got, err)
	}
}
