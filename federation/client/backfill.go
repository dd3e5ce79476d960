package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"hanse/federation"
	"hanse/federation/id"
)

// Backfill asks for the events before some others, these included, at most limit.
//
// spec:server-server-api#backfilling-and-retrieving-missing-events
func (c *Client) Backfill(ctx context.Context, server id.ServerName, room id.RoomID, limit int, before []id.EventID) ([]json.RawMessage, error) {
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	for _, event := range before {
		query.Add("v", string(event))
	}
	var answer federation.BackfillResponse
	err := c.do(ctx, server, call{
		endpoint: "backfill", method: http.MethodGet, path: path(federationV1, "backfill", string(room)),
		query: query, timeout: c.timeouts.Long, limit: c.limits.List,
	}, into(&answer))
	return answer.PDUs, err
}

// MissingEvents asks for the events between those we have and those we got.
//
// spec:server-server-api#backfilling-and-retrieving-missing-events
func (c *Client) MissingEvents(ctx context.Context, server id.ServerName, q federation.MissingEventsRequest) ([]json.RawMessage, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return nil, &Error{Server: server, Endpoint: "get_missing_events", Stage: StageRequest, Err: err}
	}
	var answer federation.MissingEventsResponse
	err = c.do(ctx, server, call{
		endpoint: "get_missing_events", method: http.MethodPost,
		path: path(federationV1, "get_missing_events", string(q.RoomID)), body: body,
		timeout: c.timeouts.Long, limit: c.limits.List,
	}, into(&answer))
	return answer.Events, err
}
