package verifykey

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/crypto/ed25519"
)

// BenchmarkShapes measures the shapes of a key's table by turns with ed25519.Verify, and reports the quotients of
// their least times, which hardly depend on what else the machine does: of a check among sixteen, of one alone, and of
// making the table. CPU caches count in its favour: there is one key.
func BenchmarkShapes(b *testing.B) {
	base, private := NewBase(), ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	public := private.Public().(ed25519.PublicKey)
	message := make([]byte, 500)
	signature := ed25519.Sign(private, message)
	for _, s := range []shape{{4, 1}, {4, 2}, {4, 4}, {5, 1}, {5, 2}, {5, 4}, {6, 1}, {6, 2}, {6, 4}, {7, 2}, {8, 1}, {8, 4}} {
		b.Run(fmt.Sprintf("bits=%d/stride=%d", s.bits, s.stride), func(b *testing.B) {
			key := newKey(s, public)
			var checks [together]Check
			for i := range checks {
				checks[i] = Check{Key: key, Message: message, Signature: signature}
			}
			bare := func() {
				if !ed25519.Verify(public, message, signature) {
					b.Fatal("wrong signature")
				}
			}
			verify := func(n int) func() {
				return func() {
					if base.verify(s, checks[:n]); !checks[n-1].Good {
						b.Fatal("wrong signature")
					}
				}
			}
			least := [4]time.Duration{time.Hour, time.Hour, time.Hour, time.Hour}
			for b.Loop() {
				for i, f := range []func(){bare, verify(together), verify(1), func() { newKey(s, public) }} {
					start := time.Now()
					f()
					least[i] = min(least[i], time.Since(start))
				}
			}
			b.ReportMetric(float64(least[1])/float64(least[0])/together, "×bare-of-16")
			b.ReportMetric(float64(least[2])/float64(least[0]), "×bare-alone")
			b.ReportMetric(float64(least[3])/float64(least[0]), "×bare-table")
			b.ReportMetric(float64(len(key.table)*120)/1024, "KiB")
		})
	}
}

// BenchmarkVerify is sixteen checks by one key, per check.
func BenchmarkVerify(b *testing.B) {
	base, private := NewBase(), ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	key := New(private.Public().(ed25519.PublicKey))
	checks := make([]Check, together)
	for i := range checks {
		checks[i] = Check{Key: key, Message: make([]byte, 500), Signature: ed25519.Sign(private, make([]byte, 500))}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%together == 0 {
			base.Verify(checks)
		}
	}
}
