package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"hanse/federation"
	"hanse/federation/id"
)

// TimestampToEvent asks for the event of a room that is closest to a time.
//
// spec:server-server-api#get_matrixfederationv1timestamp_to_eventroomid
func (c *Client) TimestampToEvent(ctx context.Context, server id.ServerName, q federation.TimestampRequest) (federation.TimestampResponse, error) {
	dir := "b"
	if q.Forward {
		dir = "f"
	}
	var answer federation.TimestampResponse
	err := c.do(ctx, server, call{
		endpoint: "timestamp_to_event", method: http.MethodGet, path: path(federationV1, "timestamp_to_event", string(q.RoomID)),
		query: url.Values{"ts": {strconv.FormatInt(q.TS, 10)}, "dir": {dir}}, timeout: c.timeouts.Short, limit: c.limits.Small,
	}, into(&answer))
	return answer, err
}
