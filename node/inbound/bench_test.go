package inbound_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/keys"
	"hanse/node/rooms"
)

// BenchmarkTransaction measures full transactions of 50 messages, from the decoded body to the durable answer: parsing,
// signatures, hashes, rules, commit.
func BenchmarkTransaction(b *testing.B) {
	for _, count := range []int{1, 10} {
		b.Run(fmt.Sprintf("rooms=%d", count), func(b *testing.B) { benchmarkTransaction(b, count) })
	}
}

func benchmarkTransaction(b *testing.B, roomCount int) {
	RegisterTestingT(b)
	key, err := keys.Generate()
	if err != nil {
		b.Fatal(err)
	}
	p := &peer{name: "peer.test", key: key, user: "@bob:peer.test"}
	s, stop := run(b.TempDir(), true, p)
	defer stop()
	txns := make([][]json.RawMessage, b.N)
	for range roomCount {
		roomID, err := s.rooms.Create(context.Background(), rooms.CreateRequest{Creator: alice, Preset: "public_chat", Version: "10"})
		if err != nil {
			b.Fatal(err)
		}
		p.join(s, roomID)
		for i, pdus := range chain(b, p, p.message(s, roomID, ""), b.N, federation.MaxTransactionPDUs/roomCount) {
			txns[i] = append(txns[i], pdus...)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i, pdus := range txns {
		results, err := s.inbound.Transaction(context.Background(), p.name, fmt.Sprint(i), federation.Transaction{PDUs: pdus})
		if err != nil || len(results) != len(pdus) {
			b.Fatal(err, results)
		}
		for _, result := range results {
			if result.Error != "" {
				b.Fatal(result.Error)
			}
		}
	}
	b.ReportMetric(float64(b.N*federation.MaxTransactionPDUs)/b.Elapsed().Seconds(), "PDUs/s")
}

// chain makes n times so many messages, each on top of the one before.
func chain(b *testing.B, p *peer, d event.Draft, n, messages int) [][]json.RawMessage {
	b.Helper()
	rules, _ := roomversion.Lookup("10")
	txns := make([][]json.RawMessage, n)
	for i := range txns {
		for j := range messages {
			d.Content = json.RawMessage(fmt.Sprintf(`{"msgtype":"m.text","body":"%d %d"}`, i, j))
			d.OriginServerTS = time.Now().UnixMilli()
			e, err := d.Sign(rules, p.name, p.key)
			if err != nil {
				b.Fatal(err)
			}
			txns[i] = append(txns[i], e.JSON())
			d.PrevEvents, d.Depth = []id.EventID{e.ID()}, d.Depth+1
		}
	}
	return txns
}
