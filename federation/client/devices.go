package client

import (
	"context"
	"encoding/json"
	"net/http"

	"hanse/federation"
	"hanse/federation/id"
)

// UserDevices asks for all devices of a user of the server. What it says is the server's word: keys name the user and
// device that they are for.
//
// spec:server-server-api#get_matrixfederationv1userdevicesuserid
func (c *Client) UserDevices(ctx context.Context, server id.ServerName, user id.UserID) (federation.UserDevices, error) {
	var answer federation.UserDevices
	err := c.do(ctx, server, call{
		endpoint: "user/devices", method: http.MethodGet, path: path(federationV1, "user/devices", string(user)),
		timeout: c.timeouts.Short, limit: c.limits.List,
	}, into(&answer))
	return answer, err
}

// QueryDeviceKeys asks for the keys of devices of the server's users.
//
// spec:server-server-api#post_matrixfederationv1userkeysquery
func (c *Client) QueryDeviceKeys(ctx context.Context, server id.ServerName, q federation.DeviceKeysQuery) (federation.DeviceKeysAnswer, error) {
	var answer federation.DeviceKeysAnswer
	err := c.post(ctx, server, "user/keys/query", q, &answer)
	return answer, err
}

// ClaimDeviceKeys takes one-time keys of devices of the server's users. A key of an answer that got lost is lost.
//
// spec:server-server-api#post_matrixfederationv1userkeysclaim
func (c *Client) ClaimDeviceKeys(ctx context.Context, server id.ServerName, q federation.OneTimeKeysClaim) (federation.OneTimeKeysAnswer, error) {
	var answer federation.OneTimeKeysAnswer
	err := c.post(ctx, server, "user/keys/claim", q, &answer)
	return answer, err
}

func (c *Client) post(ctx context.Context, server id.ServerName, endpoint string, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return &Error{Server: server, Endpoint: endpoint, Stage: StageRequest, Err: err}
	}
	return c.do(ctx, server, call{
		endpoint: endpoint, method: http.MethodPost, path: federationV1 + "/" + endpoint, body: body,
		timeout: c.timeouts.Short, limit: c.limits.List,
	}, into(answer))
}
