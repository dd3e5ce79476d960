package client

import (
	"context"
	"net/http"
	"net/url"

	"hanse/federation"
	"hanse/federation/id"
)

// Hierarchy asks for a room's summary and, if it is a space, for those of its children that this server may join.
//
// spec:server-server-api#get_matrixfederationv1hierarchyroomid
func (c *Client) Hierarchy(ctx context.Context, server id.ServerName, q federation.HierarchyRequest) (federation.HierarchyResponse, error) {
	query := url.Values{}
	if q.SuggestedOnly {
		query.Set("suggested_only", "true")
	}
	var answer federation.HierarchyResponse
	err := c.do(ctx, server, call{
		endpoint: "hierarchy", method: http.MethodGet, path: path(federationV1, "hierarchy", string(q.RoomID)),
		query: query, timeout: c.timeouts.Short, limit: c.limits.List,
	}, into(&answer))
	return answer, err
}
