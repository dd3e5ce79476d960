package client

import (
	"context"
	"net/http"

	"hanse/federation"
	"hanse/federation/id"
)

// Version asks what a server runs.
//
// spec:server-server-api#server-implementation
func (c *Client) Version(ctx context.Context, server id.ServerName) (federation.VersionResponse, error) {
	var answer federation.VersionResponse
	err := c.do(ctx, server, call{
		endpoint: "version", method: http.MethodGet, path: path(federationV1, "version"), unsigned: true,
		timeout: c.timeouts.Short, limit: c.limits.Small,
	}, into(&answer))
	return answer, err
}
