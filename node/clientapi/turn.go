package clientapi

import (
	"crypto/hmac"
	"crypto/sha1" // the TURN REST scheme is defined with it
	"encoding/base64"
	"net/http"
	"strconv"
	"time"
)

// Turn is the TURN servers that carry calls between clients which can't reach each other.
type Turn struct {
	URIs []string // turn: and turns:; none: there are no such servers
	// Secret is shared with the TURN servers (coturn's static-auth-secret): a user's name and password are made with it.
	Secret string
	// Life is for how long a name and its password are good.
	Life time.Duration
}

func (a *API) turnRoutes() []route {
	return []route{{http.MethodGet, "/voip/turnServer", stable, withUser, ordinary, a.turnServer}}
}

// turnServer answers {} without a TURN server: clients then try a direct way alone.
//
// spec:client-server-api#get_matrixclientv3voipturnserver
func (a *API) turnServer(r *request) (any, error) {
	turn := a.config.Turn
	if len(turn.URIs) == 0 {
		return nil, nil
	}
	// The name says until when it is good; the password proves that we made it.
	username := strconv.FormatInt(time.Now().Add(turn.Life).Unix(), 10) + ":" + string(r.user)
	mac := hmac.New(sha1.New, []byte(turn.Secret))
	mac.Write([]byte(username))
	return map[string]any{
		"username": username, "password": base64.StdEncoding.EncodeToString(mac.Sum(nil)),
		"uris": turn.URIs, "ttl": int64(turn.Life.Seconds()),
	}, nil
}
