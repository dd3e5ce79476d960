package clientapi

import (
	"net/http"
)

// Encryption is not there yet. Reading answers truthfully that nobody has keys, which clients need to go on without
// encryption; uploading is no known path (404 M_UNRECOGNIZED), as keys taken and lost would be worse than refused.
//
// todo spec: end-to-end encryption: keys, to-device messages, cross-signing, key backup
func (a *API) keysRoutes() []route {
	return []route{
		{http.MethodPost, "/keys/query", stable, withUser, ordinary, a.queryKeys},
		{http.MethodPost, "/keys/claim", stable, withUser, ordinary, a.claimKeys},
		{http.MethodGet, "/keys/changes", stable, withUser, ordinary, a.keyChanges},
		{http.MethodGet, "/room_keys/version", stable, withUser, ordinary, a.keyBackup},
	}
}

// spec:client-server-api#post_matrixclientv3keysquery
func (a *API) queryKeys(r *request) (any, error) {
	if _, err := r.object(); err != nil {
		return nil, err
	}
	return map[string]any{"device_keys": map[string]any{}, "failures": map[string]any{}}, nil
}

// spec:client-server-api#post_matrixclientv3keysclaim
func (a *API) claimKeys(r *request) (any, error) {
	if _, err := r.object(); err != nil {
		return nil, err
	}
	return map[string]any{"one_time_keys": map[string]any{}, "failures": map[string]any{}}, nil
}

// spec:client-server-api#get_matrixclientv3keyschanges
func (a *API) keyChanges(*request) (any, error) {
	return map[string]any{"changed": []string{}, "left": []string{}}, nil
}

// spec:client-server-api#get_matrixclientv3room_keysversion
func (a *API) keyBackup(*request) (any, error) { return nil, notFound("there is no key backup") }
