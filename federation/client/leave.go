package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	"hanse/federation"
	"hanse/federation/id"
)

// MakeLeave asks for the template of a leave event. The caller must check the template.
//
// spec:server-server-api#leaving-rooms-rejecting-invites
func (c *Client) MakeLeave(ctx context.Context, server id.ServerName, room id.RoomID, user id.UserID) (federation.MakeLeaveResponse, error) {
	return c.template(ctx, server, "make_leave", room, user, nil)
}

// SendLeave hands in a signed leave event. Servers that don't have the v2 endpoint are asked through v1.
//
// spec:server-server-api#leaving-rooms-rejecting-invites
func (c *Client) SendLeave(ctx context.Context, server id.ServerName, room id.RoomID, event id.EventID, leave json.RawMessage) error {
	q := call{
		endpoint: "send_leave", method: http.MethodPut, path: path(federationV2, "send_leave", string(room), string(event)),
		body: leave, timeout: c.timeouts.Long, limit: c.limits.Small,
	}
	err := c.do(ctx, server, q, nothing)
	if lacksEndpoint(err) {
		q.path = path(federationV1, "send_leave", string(room), string(event))
		err = c.do(ctx, server, q, nothing)
	}
	return err
}

// nothing reads an answer that says no more than its status.
func nothing(body io.Reader) error {
	_, err := io.Copy(io.Discard, body)
	return err
}
