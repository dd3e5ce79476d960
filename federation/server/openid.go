package server

import (
	"context"
	"net/http"

	"hanse/federation"
	"hanse/federation/id"
)

// OpenIDHandler tells whose an OpenID token is. Its requests are not signed: who has the token may know.
type OpenIDHandler interface {
	// OpenIDUser is M_UNKNOWN_TOKEN with 401 for a token that is unknown or has expired.
	OpenIDUser(ctx context.Context, token string) (id.UserID, error)
}

// openID is GET /openid/userinfo.
//
// spec:server-server-api#get_matrixfederationv1openiduserinfo
func (a *api) openID(q *request) (any, error) {
	token, err := q.text("access_token")
	if err != nil {
		return nil, err
	}
	if token == "" {
		return nil, federation.NewError(http.StatusUnauthorized, federation.CodeMissingToken, "access_token is missing")
	}
	user, err := a.Handlers.OpenID.OpenIDUser(q.ctx(), token)
	if err != nil {
		return nil, err
	}
	return federation.OpenIDUserInfo{Sub: user}, nil
}
