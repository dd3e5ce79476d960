package clientapi

import "net/http"

// spec:client-server-api/modules/openid#openid
func (a *API) openIDRoutes() []route {
	return []route{{http.MethodPost, "/user/{userId}/openid/request_token", stable, withUser, ordinary, a.requestOpenIDToken}}
}

// spec:client-server-api#post_matrixclientv3useruseridopenidrequest_token
func (a *API) requestOpenIDToken(r *request) (any, error) {
	if err := r.ownUser(); err != nil {
		return nil, err
	}
	if _, err := r.body(); err != nil { // an empty object, so far; some send nothing
		return nil, err
	}
	token, life, err := a.config.Users.NewOpenIDToken(r.Context(), r.user)
	return map[string]any{
		"access_token": token, "token_type": "Bearer", "matrix_server_name": a.config.Self, "expires_in": int64(life.Seconds()),
	}, err
}
