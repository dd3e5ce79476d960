package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"

	"hanse/federation"
	"hanse/federation/id"
)

// Event asks for one event. Nothing in it is checked, not even that it is the one asked for.
//
// spec:server-server-api#retrieving-events
func (c *Client) Event(ctx context.Context, server id.ServerName, event id.EventID) (json.RawMessage, error) {
	var answer json.RawMessage
	err := c.do(ctx, server, call{
		endpoint: "event", method: http.MethodGet, path: path(federationV1, "event", string(event)),
		timeout: c.timeouts.Short, limit: c.limits.Small,
	}, func(body io.Reader) error {
		data, err := io.ReadAll(body)
		if err == nil {
			answer, err = federation.DecodeEvent(data)
		}
		return err
	})
	return answer, err
}

// State asks for a room's state before an event, as events. The answer is read as a stream of at most Limits.State
// bytes.
//
// spec:server-server-api#retrieving-events
func (c *Client) State(ctx context.Context, server id.ServerName, room id.RoomID, event id.EventID) (federation.StateResponse, error) {
	var answer federation.StateResponse
	err := c.state(ctx, server, room, event, func(body io.Reader) (err error) {
		answer, err = federation.DecodeState(body)
		return err
	})
	return answer, err
}

// StateEvents is State that gives the events away as they come: those of an answer that breaks off too.
func (c *Client) StateEvents(ctx context.Context, server id.ServerName, room id.RoomID, event id.EventID, events federation.StateEvents) error {
	return c.state(ctx, server, room, event, func(body io.Reader) error { return federation.DecodeStateEvents(body, events) })
}

func (c *Client) state(ctx context.Context, server id.ServerName, room id.RoomID, event id.EventID, read func(io.Reader) error) error {
	return c.do(ctx, server, call{
		endpoint: "state", method: http.MethodGet, path: path(federationV1, "state", string(room)),
		query: url.Values{"event_id": {string(event)}}, timeout: c.timeouts.Long, limit: c.limits.State, large: true,
	}, read)
}

// StateIDs asks for a room's state before an event, as event IDs.
//
// spec:server-server-api#retrieving-events
func (c *Client) StateIDs(ctx context.Context, server id.ServerName, room id.RoomID, event id.EventID) (federation.StateIDsResponse, error) {
	var answer federation.StateIDsResponse
	err := c.do(ctx, server, call{
		endpoint: "state_ids", method: http.MethodGet, path: path(federationV1, "state_ids", string(room)),
		query: url.Values{"event_id": {string(event)}}, timeout: c.timeouts.Long, limit: c.limits.IDs, large: true,
	}, into(&answer))
	return answer, err
}

// EventAuth asks for an event's auth chain. The answer is read as a stream of at most Limits.State bytes.
//
// spec:server-server-api#retrieving-event-authorisation-information
func (c *Client) EventAuth(ctx context.Context, server id.ServerName, room id.RoomID, event id.EventID) ([]json.RawMessage, error) {
	var answer federation.EventAuthResponse
	err := c.do(ctx, server, call{
		endpoint: "event_auth", method: http.MethodGet, path: path(federationV1, "event_auth", string(room), string(event)),
		timeout: c.timeouts.Long, limit: c.limits.State, large: true,
	}, func(body io.Reader) (err error) {
		answer, err = federation.DecodeEventAuth(body)
		return err
	})
	return answer.AuthChain, err
}
