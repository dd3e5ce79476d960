package client

import (
	"context"
	"encoding/json"
	"net/http"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

// Invite sends an invite to the invited user's server and gets the event back with that server's signature. Servers
// that don't have the v2 endpoint are asked through v1, which only room versions with the old event format allow.
//
// spec:server-server-api#inviting-to-a-room
func (c *Client) Invite(ctx context.Context, server id.ServerName, invite federation.InviteRequest) (json.RawMessage, error) {
	var answer federation.InviteResponse
	room, event := string(invite.RoomID), string(invite.EventID)
	v2 := federation.InviteRequestV2{RoomVersion: invite.RoomVersion, Event: invite.Event, InviteRoomState: invite.InviteRoomState}
	body, err := v2.MarshalJSON()
	q := call{
		endpoint: "invite", method: http.MethodPut, path: path(federationV2, "invite", room, event),
		body: body, timeout: c.timeouts.Long, limit: c.limits.Small,
	}
	if err == nil {
		err = c.do(ctx, server, q, into(&answer))
	}
	rules, known := roomversion.Lookup(invite.RoomVersion)
	if !lacksEndpoint(err) || !known || rules.EventIDs != roomversion.EventIDGiven {
		return answer.Event, err
	}
	v1 := federation.InviteRequestV1{Event: invite.Event, InviteRoomState: invite.InviteRoomState}
	if q.body, err = v1.MarshalJSON(); err != nil {
		return nil, &Error{Server: server, Endpoint: q.endpoint, Stage: StageRequest, Err: err}
	}
	q.path = path(federationV1, "invite", room, event)
	err = c.do(ctx, server, q, intoPair(&answer))
	return answer.Event, err
}
