package keys

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ed25519"
)

// testKey is the n-th of as many keys as a test wants.
func testKey(n int) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	binary.LittleEndian.PutUint64(seed, uint64(n))
	return ed25519.NewKeyFromSeed(seed)
}

func publicOf(private ed25519.PrivateKey) ed25519.PublicKey {
	return private.Public().(ed25519.PublicKey)
}

// trialsOf are signatures by so many keys in turns, every seventh of which is not good.
func trialsOf(n, keys int) (trials []trial, want []bool) {
	for i := range n {
		private, message := testKey(i%keys), fmt.Appendf(nil, "message %d", i)
		signature := ed25519.Sign(private, message)
		if i%7 == 3 {
			signature[i%64] ^= 1
		}
		trials = append(trials, trial{public: publicOf(private), message: message, signature: signature})
		want = append(want, i%7 != 3)
	}
	return trials, want
}

func TestJudge(t *testing.T) {
	for _, keys := range []int{1, 3, 50} {
		for _, n := range []int{0, 1, 2, usesPrepared, 5*groupSize + 1, 400} {
			p := newPrepared()
			for round := range 3 { // without tables, and with them
				trials, want := trialsOf(n, keys)
				p.judge(trials)
				for i := range trials {
					if trials[i].good != want[i] {
						t.Fatalf("%d keys, signature %d of %d, round %d: good: %v", keys, i, n, round, trials[i].good)
					}
				}
			}
		}
	}
}

// Each signature is in one group, with others by its key; those by one key are shared out evenly.
func TestGroups(t *testing.T) {
	for _, c := range []struct{ n, keys, cores, groups int }{
		{1, 1, 2, 1}, {4, 1, 2, 1}, {8, 1, 2, 2}, {40, 1, 2, 4}, {50, 1, 1, 4}, {50, 1, 2, 4}, {50, 1, 3, 6}, {50, 1, 64, 13},
		{50, 10, 2, 10}, {1000, 1, 2, 64}, {100, 2, 2, 8},
	} {
		trials := make([]trial, c.n)
		for i := range trials {
			trials[i].public = ed25519.PublicKey{byte(i % c.keys)}
		}
		groups, seen, uses := groupsOf(trials, c.cores), make([]int, c.n), 0
		least, most := c.n, 0
		for _, g := range groups {
			least, most, uses = min(least, len(g.members)), max(most, len(g.members)), uses+g.uses
			for _, i := range g.members {
				if seen[i]++; !bytes.Equal(trials[i].public, trials[g.members[0]].public) {
					t.Errorf("%+v: two keys in a group", c)
				}
			}
		}
		if len(groups) != c.groups || most > groupSize || most-least > 1 || uses != c.n || slices.Max(seen) != 1 || slices.Min(seen) != 1 {
			t.Errorf("%+v: %d groups of %d to %d, %d uses", c, len(groups), least, most, uses)
		}
	}
}

// A key of a wrong length, or that is no point, is no reason to panic, with a table or without.
func TestJudgeOddKeys(t *testing.T) {
	p := newPrepared()
	for _, public := range [][]byte{nil, make([]byte, 31), make([]byte, 33), bytes.Repeat([]byte{0x02}, 32)} {
		for range 2 * usesPrepared {
			trials := []trial{{public: public, signature: make([]byte, 64), good: true}}
			if p.judge(trials); trials[0].good {
				t.Errorf("key %x: good", public)
			}
		}
	}
}

func TestPreparedWhenUsedOften(t *testing.T) {
	p, public := newPrepared(), publicOf(testKey(1))
	for i := 1; i < usesPrepared; i++ {
		if p.key(public, 1) != nil {
			t.Fatalf("a table after %d uses", i)
		}
	}
	if p.key(public, 1) == nil {
		t.Fatalf("no table after %d uses", usesPrepared)
	}
	if p.key(publicOf(testKey(2)), usesPrepared) == nil {
		t.Fatal("no table for many uses at once")
	}
}

func TestPreparedIsBounded(t *testing.T) {
	p, dear := newPrepared(), publicOf(testKey(0))
	p.find(keyBytes(dear), usesPrepared)
	for i := range 2 * maxPrepared {
		p.find(keyBytes(publicOf(testKey(i+1))), usesPrepared)
		if p.find(keyBytes(dear), 1) == nil {
			t.Fatal("a key that is used all the time has lost its table")
		}
	}
	if len(p.tables) != maxPrepared {
		t.Errorf("%d tables, %d are allowed", len(p.tables), maxPrepared)
	}
	for i := range 2 * maxCounted {
		var public keyBytes
		binary.LittleEndian.PutUint64(public[:], uint64(i))
		p.find(public, 1)
	}
	if len(p.uses) > maxCounted {
		t.Errorf("%d keys are counted, %d are allowed", len(p.uses), maxCounted)
	}
}

func TestJudgeConcurrently(t *testing.T) {
	p := newPrepared()
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			trials, want := trialsOf(100, 5)
			p.judge(trials)
			for i := range trials {
				if trials[i].good != want[i] {
					t.Errorf("signature %d: good: %v", i, trials[i].good)
				}
			}
		})
	}
	group.Wait()
}

// BenchmarkJudge measures batches of signatures by turns with the bare ed25519.Verify of the same, all in one
// goroutine, and reports the quotients of their least times: of a transaction of 50 by one server, of as many by 20,
// and of a single request.
func BenchmarkJudge(b *testing.B) {
	for _, shape := range []struct{ signatures, keys int }{{1, 1}, {50, 1}, {50, 20}, {2000, 20}, {2000, 128}} {
		b.Run(fmt.Sprintf("signatures=%d/keys=%d", shape.signatures, shape.keys), func(b *testing.B) {
			p := newPrepared()
			trials := make([]trial, shape.signatures)
			for i := range trials {
				private, message := testKey(i%shape.keys), bytes.Repeat([]byte{byte(i)}, 500)
				trials[i] = trial{public: publicOf(private), message: message, signature: ed25519.Sign(private, message)}
				p.key(trials[i].public, usesPrepared)
			}
			bare := func() {
				for i := range trials {
					if !ed25519.Verify(trials[i].public, trials[i].message, trials[i].signature) {
						b.Fatal("wrong signature")
					}
				}
			}
			judge := func() {
				for _, g := range groupsOf(trials, 1) {
					p.judgeGroup(trials, g)
				}
			}
			least := [2]time.Duration{time.Hour, time.Hour}
			b.ReportAllocs()
			for b.Loop() {
				for i, f := range []func(){bare, judge} {
					start := time.Now()
					f()
					least[i] = min(least[i], time.Since(start))
				}
			}
			b.ReportMetric(float64(least[1])/float64(least[0]), "×bare")
			b.ReportMetric(float64(least[1])/float64(len(trials)), "ns/signature")
		})
	}
}
