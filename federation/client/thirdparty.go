package client

import (
	"context"
	"encoding/json"
	"net/http"

	"hanse/federation"
	"hanse/federation/id"
)

// ExchangeThirdPartyInvite asks the inviting user's server to make an invite of what an identity server signed.
//
// spec:server-server-api#put_matrixfederationv1exchange_third_party_inviteroomid
func (c *Client) ExchangeThirdPartyInvite(ctx context.Context, server id.ServerName, invite federation.ThirdPartyInvite) error {
	q := call{
		endpoint: "exchange_third_party_invite", method: http.MethodPut,
		path:    path(federationV1, "exchange_third_party_invite", string(invite.RoomID)),
		timeout: c.timeouts.Long, limit: c.limits.Small,
	}
	var err error
	if q.body, err = json.Marshal(invite); err != nil {
		return &Error{Server: server, Endpoint: q.endpoint, Stage: StageRequest, Err: err}
	}
	return c.do(ctx, server, q, nothing)
}
