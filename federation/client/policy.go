package client

import (
	"context"
	"encoding/json"
	"net/http"

	"hanse/federation/id"
)

// policyV1 is the prefix of the policy servers' API.
const policyV1 = "/_matrix/policy/v1"

// PolicySign asks a policy server to sign an event, and gives the signatures of its answer, by server and key, as they
// came: unchecked base64. A refusal is an error whose Matrix says why.
//
// spec:server-server-api#asking-for-a-policy-server-signature-on-an-event
func (c *Client) PolicySign(ctx context.Context, server id.ServerName, event json.RawMessage) (map[string]map[string]string, error) {
	var answer map[string]map[string]string
	err := c.do(ctx, server, call{
		endpoint: "sign", method: http.MethodPost, path: path(policyV1, "sign"), body: event,
		timeout: c.timeouts.Short, limit: c.limits.Small,
	}, into(&answer))
	return answer, err
}
