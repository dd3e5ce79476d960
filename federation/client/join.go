package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

// MakeJoin asks for the template of a join event. The caller must check the template.
//
// spec:server-server-api#joining-rooms
func (c *Client) MakeJoin(ctx context.Context, server id.ServerName, room id.RoomID, user id.UserID,
	versions []roomversion.Version) (federation.MakeJoinResponse, error) {
	return c.template(ctx, server, "make_join", room, user, versions)
}

// template is the first half of joining, leaving and knocking.
func (c *Client) template(ctx context.Context, server id.ServerName, endpoint string, room id.RoomID, user id.UserID,
	versions []roomversion.Version) (federation.MakeResponse, error) {
	query := url.Values{}
	for _, version := range versions {
		query.Add("ver", string(version))
	}
	var answer federation.MakeResponse
	err := c.do(ctx, server, call{
		endpoint: endpoint, method: http.MethodGet, path: path(federationV1, endpoint, string(room), string(user)),
		query: query, timeout: c.timeouts.Short, limit: c.limits.Small,
	}, into(&answer))
	return answer, err
}

// SendJoin hands in a signed join event and gets the room's state; omitMembers says that the state may come without
// the members' events. Servers that don't have the v2 endpoint are asked through v1. The answer is read as a stream of
// at most Limits.State bytes.
//
// spec:server-server-api#joining-rooms
func (c *Client) SendJoin(ctx context.Context, server id.ServerName, room id.RoomID, event id.EventID, join json.RawMessage,
	omitMembers bool) (federation.SendJoinResponse, error) {
	return c.sendJoin(ctx, server, room, event, join, omitMembers, federation.DecodeSendJoin)
}

// SendJoinEvents is SendJoin that gives the events of the state away as they come: those of an answer that breaks off too.
func (c *Client) SendJoinEvents(ctx context.Context, server id.ServerName, room id.RoomID, event id.EventID, join json.RawMessage,
	omitMembers bool, events federation.StateEvents) (federation.SendJoinResponse, error) {
	return c.sendJoin(ctx, server, room, event, join, omitMembers, func(body io.Reader, old bool) (federation.SendJoinResponse, error) {
		return federation.DecodeSendJoinEvents(body, old, events)
	})
}

func (c *Client) sendJoin(ctx context.Context, server id.ServerName, room id.RoomID, event id.EventID, join json.RawMessage,
	omitMembers bool, decode func(body io.Reader, old bool) (federation.SendJoinResponse, error)) (federation.SendJoinResponse, error) {
	query := url.Values{}
	if omitMembers {
		query.Set("omit_members", "true")
	}
	var answer federation.SendJoinResponse
	q := call{
		endpoint: "send_join", method: http.MethodPut, path: path(federationV2, "send_join", string(room), string(event)),
		query: query, body: join, timeout: c.timeouts.Long, limit: c.limits.State, large: true,
	}
	read := func(old bool) func(io.Reader) error {
		return func(body io.Reader) (err error) {
			answer, err = decode(body, old)
			return err
		}
	}
	err := c.do(ctx, server, q, read(false))
	if lacksEndpoint(err) {
		q.path, q.query = path(federationV1, "send_join", string(room), string(event)), nil
		err = c.do(ctx, server, q, read(true))
	}
	return answer, err
}

// lacksEndpoint tells whether a call failed because the server doesn't have the endpoint: time to try the older one.
func lacksEndpoint(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.unknownEndpoint()
}
