package users

import (
	"context"
	"net/http"
	"time"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/store"
)

// NewOpenIDToken makes a token that tells others, for a while, who a user is, and nothing else.
//
// spec:client-server-api#post_matrixclientv3useruseridopenidrequest_token
func (u *Users) NewOpenIDToken(ctx context.Context, user id.UserID) (token string, life time.Duration, err error) {
	token = randomToken("openid_")
	now := time.Now()
	if err := u.store.DeleteExpiredOpenIDTokens(ctx, now); err != nil {
		return "", 0, err
	}
	hash := store.HashToken(token)
	return token, openIDTokenLife, u.store.AddOpenIDToken(ctx, hash[:], user, now.Add(openIDTokenLife))
}

// OpenIDUser tells whose an OpenID token is: M_UNKNOWN_TOKEN for one that is unknown or has expired, or whose user is gone or locked.
//
// spec:server-server-api#get_matrixfederationv1openiduserinfo
func (u *Users) OpenIDUser(ctx context.Context, token string) (id.UserID, error) {
	hash := store.HashToken(token)
	user, found, err := u.store.OpenIDToken(ctx, hash[:], time.Now())
	if err != nil {
		return "", err
	}
	if found {
		account, there, err := u.store.User(ctx, user)
		if err != nil {
			return "", err
		}
		found = there && !account.Deactivated && account.Locked.IsZero()
	}
	if !found {
		return "", federation.NewError(http.StatusUnauthorized, federation.CodeUnknownToken, "this token is not known, or has expired")
	}
	return user, nil
}
