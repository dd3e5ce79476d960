package client

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"hanse/resolver"
)

// A server's SRV records may name a host that is down, with many addresses, before one that is up.
func TestEveryAddressHasItsTurn(t *testing.T) {
	for _, n := range []int{1, 3, 5, maxTargets, maxTargets + 3} {
		synctest.Test(t, func(t *testing.T) {
			began, tried := time.Now(), 0
			transport := newTransport(func(ctx context.Context, _, _ string) (net.Conn, error) {
				tried++
				<-ctx.Done()
				return nil, ctx.Err()
			}, nil, Timeouts{}.withDefaults())
			targets := make([]resolver.Target, n)
			for i := range targets {
				targets[i] = resolver.Target{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 8448), TLSName: "a.test"}
			}
			_, err := transport.dialTLS(context.WithValue(t.Context(), attemptKey{}, &attempt{targets: targets}), "tcp", "")
			if tried != min(n, maxTargets) || !isTimeout(err) {
				t.Errorf("%d of %d addresses were tried: %v", tried, n, err)
			}
			if took := time.Since(began); took != min(time.Duration(n)*10*time.Second, 30*time.Second) {
				t.Errorf("%d addresses took %v", n, took)
			}
		})
	}
}
