package inbound

import (
	"context"

	"hanse/federation/id"
)

// OpenID tells whose an OpenID token is: M_UNKNOWN_TOKEN for nobody's. node/users' Users is one.
type OpenID interface {
	OpenIDUser(ctx context.Context, token string) (id.UserID, error)
}
