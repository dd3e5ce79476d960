package server

import (
	"fmt"

	"hanse/federation"
)

// transaction is PUT /send/{txnID}.
//
// spec:server-server-api#transactions
func (a *api) transaction(q *request) (any, error) {
	txnID := q.PathValue("txnID")
	if len(txnID) > maxTransactionID {
		return nil, federation.InvalidParam(fmt.Sprintf("the transaction ID is longer than %d bytes", maxTransactionID))
	}
	txn, err := federation.DecodeTransaction(q.body)
	if err != nil {
		return nil, wrongBody(q.body, err.Error())
	}
	results, err := a.Handlers.Transactions.Transaction(q.ctx(), q.origin, txnID, txn)
	return federation.SendResponse{PDUs: results}, err
}
