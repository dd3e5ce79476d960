package federation

import "hanse/federation/id"

// OpenIDUserInfo tells whose an OpenID token is. Who asked must see that the user is of the server that was asked.
//
// spec:server-server-api#get_matrixfederationv1openiduserinfo
type OpenIDUserInfo struct {
	Sub id.UserID `json:"sub"`
}
