package store

import (
	"context"
	"encoding/json"
	"time"

	"hanse/federation/id"
)

// Transaction reads what was answered to another server's transaction; false when it was not seen, or longer ago than
// two days.
//
// spec:server-server-api#transactions
func (s *Store) Transaction(ctx context.Context, origin id.ServerName, txnID string) (json.RawMessage, bool, error) {
	var response []byte
	found, err := s.read.found(ctx, "SELECT response FROM inbound_transactions WHERE origin = $1 AND txn_id = $2",
		[]any{string(origin), []byte(txnID)}, &response)
	return response, found, err
}

// SaveTransaction keeps the answer to another server's transaction.
func (s *Store) SaveTransaction(ctx context.Context, origin id.ServerName, txnID string, response json.RawMessage) error {
	return s.commit.write(ctx, saveTransaction(origin, txnID, response))
}

// NoteTransaction is SaveTransaction for a transaction that could be handled again without harm: it doesn't wait until the
// answer is on disk, and where the writer is far behind the answer isn't kept.
func (s *Store) NoteTransaction(origin id.ServerName, txnID string, response json.RawMessage) {
	s.commit.post(saveTransaction(origin, txnID, response))
}

func saveTransaction(origin id.ServerName, txnID string, response json.RawMessage) func(*writeTx) error {
	now := time.Now().UnixMilli()
	return func(t *writeTx) error {
		return t.insert(insertTransaction, string(origin), []byte(txnID), []byte(response), now)
	}
}
