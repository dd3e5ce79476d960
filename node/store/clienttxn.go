package store

import (
	"context"

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

// ClientTxnIDs tells which of the events this device sent, and under which transaction IDs: unsigned.transaction_id. Rows of
// events tell it too.
func (s *Store) ClientTxnIDs(ctx context.Context, user id.UserID, device string, events []id.EventID) (map[id.EventID]string, error) {
	rows, err := s.stored(ctx, events)
	if err != nil {
		return nil, err
	}
	ids := map[id.EventID]string{}
	for e, row := range rows {
		if row.txnID != "" && row.txnDevice == device && row.event.Sender() == user {
			ids[e] = row.txnID
		}
	}
	return ids, nil
}
