package clientapi

import (
	"encoding/json"
	"net/http"

	"hanse/node/clientsync"
)

func (a *API) filterRoutes() []route {
	return []route{
		{http.MethodPost, "/user/{userId}/filter", stable, withUser, ordinary, a.saveFilter},
		{http.MethodGet, "/user/{userId}/filter/{filterId}", stable, withUser, ordinary, a.getFilter},
	}
}

// spec:client-server-api#post_matrixclientv3useruseridfilter
func (a *API) saveFilter(r *request) (any, error) {
	if err := r.ownUser(); err != nil {
		return nil, err
	}
	raw, err := r.object()
	if err != nil {
		return nil, err
	}
	if _, err := clientsync.ParseFilter(raw); err != nil {
		return nil, badJSON("filter: %v", err)
	}
	filterID, err := a.config.Users.SaveFilter(r.Context(), r.user, raw)
	return map[string]any{"filter_id": filterID}, err
}

// spec:client-server-api#get_matrixclientv3useruseridfilterfilterid
func (a *API) getFilter(r *request) (any, error) {
	if err := r.ownUser(); err != nil {
		return nil, err
	}
	filter, err := a.config.Users.Filter(r.Context(), r.user, r.PathValue("filterId"))
	return json.RawMessage(filter), err
}
