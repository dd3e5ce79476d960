package clientapi

import "net/http"

func (a *API) userDirectoryRoutes() []route {
	return []route{{http.MethodPost, "/user_directory/search", formerlyUnstable, withUser, ordinary, a.searchUsers}}
}

// spec:client-server-api#post_matrixclientv3user_directorysearch
func (a *API) searchUsers(r *request) (any, error) {
	req := struct {
		Term  *string `json:"search_term"`
		Limit *int    `json:"limit"`
	}{}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if req.Term == nil {
		return nil, missingParam("search_term")
	}
	limit := 10 // the specification's default
	if req.Limit != nil {
		limit = *req.Limit
	}
	if limit < 0 {
		return nil, invalidParam("limit must not be negative")
	}
	found, limited, err := a.config.Users.Search(r.Context(), r.user, *req.Term, limit)
	return map[string]any{"results": found, "limited": limited}, err
}
