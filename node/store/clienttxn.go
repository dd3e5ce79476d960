package store

import (
	"context"
	"database/sql"

	"hanse/federation/id"
)

// ClientTxn is a client's transaction: the same user, device, endpoint and TxnID is the same request.
type ClientTxn struct {
	User     id.UserID
	Device   string
	Endpoint string // what the client called, without the transaction ID: "send/!room:x/m.room.message"
	TxnID    string
	EventID  id.EventID
}

// ClientTxn tells which event a client's transaction made; false when the transaction is not known.
//
// spec:client-server-api#transaction-identifiers
func (s *Store) ClientTxn(ctx context.Context, user id.UserID, device, endpoint, txnID string) (id.EventID, bool, error) {
	var e id.EventID
	found, err := s.read.found(ctx, `SELECT event_id FROM client_txns
		WHERE user_id = $1 AND device_id = $2 AND endpoint = $3 AND txn_id = $4`,
		[]any{string(user), []byte(device), []byte(endpoint), []byte(txnID)}, &e)
	return e, found, err
}

// ClientTxnIDs tells which of the events this device sent, and under which transaction IDs: unsigned.transaction_id.
func (s *Store) ClientTxnIDs(ctx context.Context, user id.UserID, device string, events []id.EventID) (map[id.EventID]string, error) {
	ids := map[id.EventID]string{}
	err := list("SELECT event_id, txn_id FROM client_txns WHERE user_id = $1 AND device_id = $2 AND event_id IN (%s)",
		[]any{string(user), []byte(device)}, events, func(query string, args []any) error {
			return s.read.each(ctx, query, args, func(rows *sql.Rows) error {
				var e id.EventID
				var txn []byte
				err := rows.Scan(&e, &txn)
				ids[e] = string(txn)
				return err
			})
		})
	return ids, err
}
