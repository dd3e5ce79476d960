package event

import (
	"testing"
	"time"

	"golang.org/x/crypto/ed25519"

	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/federation/signedjson"
	"hanse/federation/verifykey"
)

// vectorKey is the key of the specification's test vectors.
func vectorKey(t testing.TB) signedjson.Key {
	t.Helper()
	seed, err := signedjson.DecodeBase64("YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1")
	if err != nil {
		t.Fatal(err)
	}
	return signedjson.Key{ID: "ed25519:1", Private: ed25519.NewKeyFromSeed(seed)}
}

func rulesOf(t testing.TB, v roomversion.Version) *roomversion.Rules {
	t.Helper()
	rules, ok := roomversion.Lookup(v)
	if !ok {
		t.Fatalf("no room version %q", v)
	}
	return rules
}

// typical is an ordinary message as a deployed server sends it: about 700 bytes with its
// unsigned.
func typical(t testing.TB) (rules *roomversion.Rules, raw []byte) {
	t.Helper()
	rules = rulesOf(t, roomversion.V10)
	e, err := Draft{
		RoomID: "!OGEhHVWSdvArJzumhm:example.org", Type: "m.room.message", Sender: "@alice:example.org",
		Content:        []byte(`{"body":"The quick brown fox jumps over the lazy dog","m.mentions":{},"msgtype":"m.text"}`),
		PrevEvents:     []id.EventID{"$CD66HAED5npg6074c6pDtLKalHjVfYb2q4Q3LZgrW6o"},
		AuthEvents:     []id.EventID{"$Rqnc-F-dvnEYJTyHq_iKxU2bZ1CI92-kuZq3a5lr5Zg", "$acR1l0raoZnm60CBwAVgqbZqoO_mYU81xysh1u7XcJk", "$KBBl3UGcMSfUYWDNYAVGyEWFYIYCMLwfOLJWNFJnKKs"},
		Depth:          1234,
		OriginServerTS: 1432735824653,
	}.Sign(rules, "example.org", vectorKey(t))
	if err != nil {
		t.Fatal(err)
	}
	raw = append([]byte(nil), e.JSON()[:len(e.JSON())-1]...)
	return rules, append(raw, `,"unsigned":{"age":42}}`...)
}

func BenchmarkParse(b *testing.B) {
	rules, raw := typical(b)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(rules, raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	rules, raw := typical(b)
	e, err := Parse(rules, raw)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Load(rules, e.ID(), e.JSON()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkContentHash(b *testing.B) {
	rules, raw := typical(b)
	e, err := Parse(rules, raw)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !e.ContentHashMatches() {
			b.Fatal("no match")
		}
	}
}

// check is everything about a received event that needs no other event: parse, event ID,
// content hash, and one signature.
func check(b *testing.B, rules *roomversion.Rules, raw []byte, public ed25519.PublicKey) {
	e, err := Parse(rules, raw)
	if err != nil {
		b.Fatal(err)
	}
	if !e.ContentHashMatches() {
		b.Fatal("no match")
	}
	signature := e.SignaturesOf(e.RequiredSigners()[0])["ed25519:1"]
	if !ed25519.Verify(public, e.SignedBytes(), signature) {
		b.Fatal("wrong signature")
	}
}

// bare is the signature check of an event alone, the floor of check.
func bare(b *testing.B, rules *roomversion.Rules, raw []byte, public ed25519.PublicKey) func() {
	e, err := Parse(rules, raw)
	if err != nil {
		b.Fatal(err)
	}
	message, signature := e.SignedBytes(), e.SignaturesOf("example.org")["ed25519:1"]
	return func() {
		if !ed25519.Verify(public, message, signature) {
			b.Fatal("wrong signature")
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	rules, raw := typical(b)
	public := vectorKey(b).Public()
	b.ReportAllocs()
	for b.Loop() {
		check(b, rules, raw, public)
	}
}

func BenchmarkBareVerify(b *testing.B) {
	rules, raw := typical(b)
	verify := bare(b, rules, raw, vectorKey(b).Public())
	for b.Loop() {
		verify()
	}
}

// BenchmarkCheckRatio measures both in turns, and reports the quotient of their least times,
// which hardly depends on what else the machine does. The mark is 1.25.
func BenchmarkCheckRatio(b *testing.B) {
	rules, raw := typical(b)
	public := vectorKey(b).Public()
	verify := bare(b, rules, raw, public)
	least := [2]time.Duration{time.Hour, time.Hour}
	for b.Loop() {
		for i, f := range []func(){func() { check(b, rules, raw, public) }, verify} {
			start := time.Now()
			for range 4 {
				f()
			}
			least[i] = min(least[i], time.Since(start))
		}
	}
	b.ReportMetric(float64(least[0])/float64(least[1]), "×bare")
	b.ReportMetric(float64(least[0]-least[1])/4, "ns-ours/op")
}

// BenchmarkCheckPreparedRatio is BenchmarkCheckRatio with a key that is used often, as package keys checks it, alone and
// among sixteen events: against the bare ed25519.Verify, as the mark says.
func BenchmarkCheckPreparedRatio(b *testing.B) {
	rules, raw := typical(b)
	public := vectorKey(b).Public()
	bare := bare(b, rules, raw, public)
	base, key := verifykey.NewBase(), verifykey.New(public)
	checkAll := func(n int) func() {
		checks := make([]verifykey.Check, n)
		return func() {
			for i := range checks {
				e, err := Parse(rules, raw)
				if err != nil || !e.ContentHashMatches() {
					b.Fatal("not good", err)
				}
				checks[i] = verifykey.Check{Key: key, Message: e.SignedBytes(), Signature: e.SignaturesOf(e.RequiredSigners()[0])["ed25519:1"]}
			}
			base.Verify(checks)
			for i := range checks {
				if !checks[i].Good {
					b.Fatal("wrong signature")
				}
			}
		}
	}
	const many = 16
	least := [3]time.Duration{time.Hour, time.Hour, time.Hour}
	for b.Loop() {
		for i, f := range []func(){bare, checkAll(1), checkAll(many)} {
			start := time.Now()
			f()
			least[i] = min(least[i], time.Since(start))
		}
	}
	b.ReportMetric(float64(least[1])/float64(least[0]), "×bare-alone")
	b.ReportMetric(float64(least[2])/float64(least[0])/many, "×bare-of-16")
}

func BenchmarkSign(b *testing.B) {
	rules := rulesOf(b, roomversion.V12)
	key := vectorKey(b)
	draft := Draft{Type: "m.room.create", StateKey: new(string), Sender: "@alice:example.org", Content: []byte(`{"room_version":"12"}`)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := draft.Sign(rules, "example.org", key); err != nil {
			b.Fatal(err)
		}
	}
}
