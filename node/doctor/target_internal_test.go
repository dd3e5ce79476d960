package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/crypto/ed25519"

	"hanse/keys"
	"hanse/resolver"
)

// TestUnreached: why an address can't be connected to is said so that the right thing is mended, by who knows what this machine has.
func TestUnreached(t *testing.T) {
	own := keys.SigningKey{ID: "ed25519:a", Private: make(ed25519.PrivateKey, ed25519.PrivateKeySize)}
	for _, c := range []struct {
		what    string
		addr    string
		key     keys.SigningKey
		err     error
		level   Level
		mend    string
		hairpin bool
	}{
		{"nobody listens", "198.51.100.7:8448", keys.SigningKey{}, syscall.ECONNREFUSED, Problem, "nothing listens on port 8448", false},
		{"nobody listens at our address", "127.0.0.1:8448", own, syscall.ECONNREFUSED, Problem, "nothing listens on port 8448", false},
		{"our router refuses", "198.51.100.7:8448", own, syscall.ECONNREFUSED, Problem, "nothing listens on port 8448", true},
		{"our router keeps silent", "198.51.100.7:443", own, context.DeadlineExceeded, Problem, "packets to port 443 are lost", true},
		{"packets are lost", "198.51.100.7:443", keys.SigningKey{}, context.DeadlineExceeded, Problem, "packets to port 443 are lost", false},
		{"no IPv6 here", "[2001:db8::1]:8448", keys.SigningKey{}, syscall.ENETUNREACH, Warning, "machine with IPv6", false},
		{"no way", "198.51.100.7:8448", keys.SigningKey{}, syscall.EHOSTUNREACH, Problem, "correct the A record", false},
	} {
		x := &examination{Options: Options{Key: c.key}, Report: &Report{}}
		x.unreached(resolver.Target{Addr: netip.MustParseAddrPort(c.addr)}, fmt.Errorf("dial: %w", c.err))
		if len(x.Findings) != 1 || x.Findings[0].Level != c.level || !strings.Contains(x.Findings[0].Mend, c.mend) || strings.Contains(x.Findings[0].Mend, "hairpin") != c.hairpin {
			t.Errorf("%s: %+v", c.what, x.Findings)
		}
	}
}
