package clientapi

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(RateLimits{Events: Limit{PerSecond: 2, Burst: 3}})
		for i := range 3 {
			if err := l.take(sendsEvent, "@alice:example.org", netip.Addr{}); err != nil {
				t.Fatalf("%d: %v", i, err)
			}
		}
		var limited *limitedError
		if err := l.take(sendsEvent, "@alice:example.org", netip.Addr{}); !errors.As(err, &limited) || limited.after != 500*time.Millisecond {
			t.Fatalf("the fourth: %v", err)
		}
		if err := l.take(sendsEvent, "@bob:example.org", netip.Addr{}); err != nil {
			t.Errorf("another user: %v", err)
		}
		if err := l.take(ordinary, "@alice:example.org", netip.Addr{}); err != nil {
			t.Errorf("another class: %v", err)
		}
		time.Sleep(500 * time.Millisecond)
		if err := l.take(sendsEvent, "@alice:example.org", netip.Addr{}); err != nil {
			t.Errorf("after the wait it named: %v", err)
		}
	})
}

func TestLimiterIsBounded(t *testing.T) {
	l := newLimiter(RateLimits{})
	for i := range maxLimiters + 5 {
		if err := l.takeFor(ordinary, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(l.buckets) != maxLimiters || l.recent.Len() != maxLimiters {
		t.Errorf("%d buckets", len(l.buckets))
	}
}

func TestLimitedPrefix(t *testing.T) {
	same := func(a, b string) bool {
		return limitedPrefix(netip.MustParseAddr(a)) == limitedPrefix(netip.MustParseAddr(b))
	}
	if !same("2001:db8::1", "2001:db8::2") || same("2001:db8::1", "2001:db8:0:1::1") || same("192.0.2.1", "192.0.2.2") {
		t.Error("IPv6 is limited by /64, IPv4 by address")
	}
}

func TestAddress(t *testing.T) {
	a := &API{config: Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}
	for _, c := range []struct{ remote, forwarded, want string }{
		{"192.0.2.1:99", "", "192.0.2.1"},
		{"192.0.2.1:99", "198.51.100.7", "192.0.2.1"}, // no proxy of ours says that
		{"10.0.0.1:99", "198.51.100.7", "198.51.100.7"},
		{"10.0.0.1:99", "203.0.113.5, 198.51.100.7, 10.1.1.1", "198.51.100.7"},
		{"10.0.0.1:99", "", "10.0.0.1"},
		{"10.0.0.1:99", "nonsense", "10.0.0.1"},
		{"[::ffff:10.0.0.1]:99", "2001:db8::1", "2001:db8::1"},
	} {
		r := &http.Request{RemoteAddr: c.remote, Header: http.Header{}}
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		if got := a.address(r).String(); got != c.want {
			t.Errorf("address(%s, %q) = %s, not %s", c.remote, c.forwarded, got, c.want)
		}
	}
}

// Every request takes from at least one bucket.
func BenchmarkLimiterTake(b *testing.B) {
	l := newLimiter(RateLimits{Requests: Limit{PerSecond: 1e9, Burst: 1e9}})
	b.ReportAllocs()
	for b.Loop() {
		if err := l.take(ordinary, "@alice:example.org", netip.Addr{}); err != nil {
			b.Fatal(err)
		}
	}
}

// TestPutBack: what is refused at one recipient was not taken from the others.
func TestPutBack(t *testing.T) {
	l := newLimiter(RateLimits{})
	for range 3 {
		putBack, err := l.takeMany(toDevice, "@a:x to @b:x", 16<<20)
		if err != nil {
			t.Fatal(err)
		}
		putBack()
	}
	if _, err := l.takeMany(toDevice, "@a:x to @b:x", 16<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := l.takeMany(toDevice, "@a:x to @b:x", 1<<20); err == nil {
		t.Error("more than there was is taken")
	}
}
