package client

import (
	"context"
	"encoding/json"
	"net/http"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

// MakeKnock asks for the template of a knock event. The caller must check the template.
//
// spec:server-server-api#knocking-rooms
func (c *Client) MakeKnock(ctx context.Context, server id.ServerName, room id.RoomID, user id.UserID,
	versions []roomversion.Version) (federation.MakeKnockResponse, error) {
	return c.template(ctx, server, "make_knock", room, user, versions)
}

// SendKnock hands in a signed knock event and gets what the user may see of the room.
//
// spec:server-server-api#knocking-rooms
func (c *Client) SendKnock(ctx context.Context, server id.ServerName, room id.RoomID, event id.EventID,
	knock json.RawMessage) (federation.SendKnockResponse, error) {
	var answer federation.SendKnockResponse
	err := c.do(ctx, server, call{
		endpoint: "send_knock", method: http.MethodPut, path: path(federationV1, "send_knock", string(room), string(event)),
		body: knock, timeout: c.timeouts.Long, limit: c.limits.List,
	}, into(&answer))
	return answer, err
}
