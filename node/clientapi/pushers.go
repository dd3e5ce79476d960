package clientapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"

	"hanse/federation/exactjson"
	"hanse/node/push"
)

func (a *API) pusherRoutes() []route {
	routes := []route{{http.MethodGet, "/pushers", stable, withUser, ordinary, a.pushers}}
	if a.config.Pushers != nil {
		routes = append(routes, route{http.MethodPost, "/pushers/set", stable, withUser, ordinary, a.setPusher})
	}
	return routes
}

// spec:client-server-api#get_matrixclientv3pushers
func (a *API) pushers(r *request) (any, error) {
	if a.config.Pushers == nil {
		return map[string]any{"pushers": []push.Pusher{}}, nil
	}
	list, err := a.config.Pushers.List(r.Context(), r.user)
	return map[string]any{"pushers": list}, err
}

// spec:client-server-api#post_matrixclientv3pushersset
func (a *API) setPusher(r *request) (any, error) {
	var req struct {
		AppID             *string         `json:"app_id"`
		PushKey           *string         `json:"pushkey"`
		Kind              json.RawMessage `json:"kind"`
		AppDisplayName    *string         `json:"app_display_name"`
		DeviceDisplayName *string         `json:"device_display_name"`
		ProfileTag        string          `json:"profile_tag"`
		Lang              *string         `json:"lang"`
		Data              json.RawMessage `json:"data"`
		Append            bool            `json:"append"`
	}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	deletes := bytes.Equal(req.Kind, []byte("null"))
	var missing []string
	for _, param := range []struct {
		name  string
		there bool
	}{
		{"app_id", req.AppID != nil}, {"pushkey", req.PushKey != nil}, {"kind", req.Kind != nil},
		{"app_display_name", deletes || req.AppDisplayName != nil}, {"device_display_name", deletes || req.DeviceDisplayName != nil},
		{"lang", deletes || req.Lang != nil}, {"data", deletes || req.Data != nil},
	} {
		if !param.there {
			missing = append(missing, param.name)
		}
	}
	if missing != nil {
		return nil, missingParam(strings.Join(missing, ", "))
	}
	if deletes {
		return nil, a.config.Pushers.Delete(r.Context(), r.user, *req.AppID, *req.PushKey)
	}
	var kind string
	if exactjson.Unmarshal(req.Kind, &kind) != nil {
		return nil, badJSON("kind must be a text or null")
	}
	return nil, a.config.Pushers.Set(r.Context(), r.user, r.device, push.Pusher{
		AppID: *req.AppID, PushKey: *req.PushKey, Kind: kind, AppDisplayName: *req.AppDisplayName,
		DeviceDisplayName: *req.DeviceDisplayName, ProfileTag: req.ProfileTag, Lang: *req.Lang, Data: bytes.TrimSpace(req.Data),
	}, req.Append)
}
