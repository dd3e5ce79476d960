package server_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/crypto/ed25519"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/federation/server"
	"hanse/federation/signedjson"
)

// BenchmarkTransaction is what a transaction of 50 events costs up to its handler; "signature" is the part that no
// server can save. Their ratio is what counts.
func BenchmarkTransaction(b *testing.B) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		b.Fatal(err)
	}
	fake := &fake{transaction: func(context.Context, id.ServerName, string, federation.Transaction) (federation.PDUResults, error) {
		return nil, nil
	}}
	handler := server.New(server.Config{Self: self, Verifier: ring{other: {"ed25519:a": public}}, Handlers: server.Handlers{Transactions: fake}})
	txn := federation.Transaction{Origin: other}
	for range federation.MaxTransactionPDUs {
		txn.PDUs = append(txn.PDUs, []byte(`{"auth_events":["$a","$b"],"content":{"body":"`+strings.Repeat("x", 500)+`"},"prev_events":["$c"],"type":"m.room.message"}`))
	}
	const uri = "/_matrix/federation/v1/send/1"
	body := txn.AppendJSON(nil)
	signed, err := federation.SignRequest(signedjson.Key{ID: "ed25519:a", Private: private}, "PUT", uri, other, self, body)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("whole", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			q := httptest.NewRequest("PUT", uri, bytes.NewReader(body))
			q.Header.Set("Authorization", signed.String())
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, q)
			if w.Code != http.StatusOK {
				b.Fatal(w.Code, w.Body)
			}
		}
	})
	b.Run("signature", func(b *testing.B) {
		message, _ := federation.RequestBytes("PUT", uri, other, self, body)
		for b.Loop() {
			if !ed25519.Verify(public, message, signed.Signature) {
				b.Fatal("not good")
			}
		}
	})
}
