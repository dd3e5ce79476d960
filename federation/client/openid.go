package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"hanse/federation"
	"hanse/federation/id"
)

// OpenIDUser asks a server whose an OpenID token of its is. An answer with another server's user is an error.
//
// spec:server-server-api#get_matrixfederationv1openiduserinfo
func (c *Client) OpenIDUser(ctx context.Context, server id.ServerName, token string) (id.UserID, error) {
	const endpoint = "openid/userinfo"
	var answer federation.OpenIDUserInfo
	err := c.do(ctx, server, call{
		endpoint: endpoint, method: http.MethodGet, path: federationV1 + "/openid/userinfo", unsigned: true,
		query: url.Values{"access_token": {token}}, timeout: c.timeouts.Short, limit: c.limits.Small,
	}, into(&answer))
	if err != nil {
		return "", err
	}
	user, err := id.ParseUserID(string(answer.Sub))
	if err != nil || user.Server() != server {
		return "", &Error{Server: server, Endpoint: endpoint, Status: http.StatusOK, Stage: StageResponse,
			Err: fmt.Errorf("the server names %.100q, who is none of its users", answer.Sub)}
	}
	return user, nil
}
