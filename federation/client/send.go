package client

import (
	"context"
	"net/http"

	"hanse/federation"
	"hanse/federation/id"
)

// SendTransaction delivers a transaction. Calling it again with the same ID and content is safe: the server answers as
// before. The results of single events (many servers give none) are no errors of the call.
//
// spec:server-server-api#transactions
func (c *Client) SendTransaction(ctx context.Context, server id.ServerName, txnID string, txn federation.Transaction) (federation.PDUResults, error) {
	var answer federation.SendResponse
	err := c.do(ctx, server, call{
		endpoint: "send", method: http.MethodPut, path: path(federationV1, "send", txnID),
		body: txn.AppendJSON(nil), timeout: c.timeouts.Send, limit: c.limits.Small,
	}, into(&answer))
	return answer.PDUs, err
}
