package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/keys"
)

var _ keys.Fetcher = (*Client)(nil)

// ServerKeys fetches a server's key document from the server itself. Nothing in it is checked.
//
// spec:server-server-api#publishing-keys
func (c *Client) ServerKeys(ctx context.Context, server id.ServerName) (json.RawMessage, error) {
	var document json.RawMessage
	err := c.do(ctx, server, call{
		endpoint: "key/v2/server", method: http.MethodGet, path: path(keyV2, "server"), unsigned: true,
		timeout: c.timeouts.Short, limit: c.limits.Keys,
	}, func(body io.Reader) (err error) {
		document, err = io.ReadAll(body)
		return err
	})
	return document, err
}

// NotaryQuery asks a notary for other servers' key documents. Nothing in them is checked.
//
// spec:server-server-api#querying-keys-through-another-server
func (c *Client) NotaryQuery(ctx context.Context, notary id.ServerName, q keys.NotaryRequest) ([]json.RawMessage, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return nil, &Error{Server: notary, Endpoint: "key/v2/query", Stage: StageRequest, Err: err}
	}
	var answer federation.KeysQueryResponse
	err = c.do(ctx, notary, call{
		endpoint: "key/v2/query", method: http.MethodPost, path: path(keyV2, "query"), body: body, unsigned: true,
		timeout: c.timeouts.Short, limit: c.limits.Keys,
	}, into(&answer))
	return answer.ServerKeys, err
}
