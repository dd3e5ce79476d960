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
	now := time.Now().UnixMilli()
	return s.commit.write(ctx, func(t *writeTx) error {
		return t.insert(insertTransaction, string(origin), []byte(txnID), []byte(response), now)
	})
}
