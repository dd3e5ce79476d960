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

// QueryDirectory asks where an alias leads; the server should be the alias's.
//
// spec:server-server-api#querying-for-information
func (c *Client) QueryDirectory(ctx context.Context, server id.ServerName, alias id.RoomAlias) (federation.DirectoryResponse, error) {
	var answer federation.DirectoryResponse
	err := c.do(ctx, server, call{
		endpoint: "query/directory", method: http.MethodGet, path: federationV1 + "/query/directory",
		query: url.Values{"room_alias": {string(alias)}}, timeout: c.timeouts.Short, limit: c.limits.List,
	}, into(&answer))
	return answer, err
}

// QueryProfile asks for a user's profile, or one field of it; field "" is the whole. The server should be the user's.
//
// spec:server-server-api#querying-for-information
func (c *Client) QueryProfile(ctx context.Context, server id.ServerName, user id.UserID, field string) (federation.ProfileResponse, error) {
	query := url.Values{"user_id": {string(user)}}
	if field != "" {
		query.Set("field", field)
	}
	var answer federation.ProfileResponse
	err := c.do(ctx, server, call{
		endpoint: "query/profile", method: http.MethodGet, path: federationV1 + "/query/profile",
		query: query, timeout: c.timeouts.Short, limit: c.limits.Small,
	}, into(&answer))
	return answer, err
}

// PublicRooms asks for a server's published rooms, by GET, or by POST when there is a filter.
//
// spec:server-server-api#published-room-directory
func (c *Client) PublicRooms(ctx context.Context, server id.ServerName, q federation.PublicRoomsRequest) (federation.PublicRoomsResponse, error) {
	request := call{
		endpoint: "publicRooms", method: http.MethodGet, path: federationV1 + "/publicRooms",
		timeout: c.timeouts.Short, limit: c.limits.List,
	}
	if q.Filter == nil {
		request.query = publicRoomsQuery(q)
	} else {
		request.method = http.MethodPost
		var err error
		if request.body, err = json.Marshal(q); err != nil {
			return federation.PublicRoomsResponse{}, &Error{Server: server, Endpoint: "publicRooms", Stage: StageRequest, Err: err}
		}
	}
	var answer federation.PublicRoomsResponse
	err := c.do(ctx, server, request, into(&answer))
	return answer, err
}

func publicRoomsQuery(q federation.PublicRoomsRequest) url.Values {
	query := url.Values{}
	if q.Limit > 0 {
		query.Set("limit", strconv.Itoa(q.Limit))
	}
	if q.Since != "" {
		query.Set("since", q.Since)
	}
	if q.IncludeAllNetworks {
		query.Set("include_all_networks", "true")
	}
	if q.ThirdPartyInstanceID != "" {
		query.Set("third_party_instance_id", q.ThirdPartyInstanceID)
	}
	return query
}
