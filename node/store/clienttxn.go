package store

import (
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
