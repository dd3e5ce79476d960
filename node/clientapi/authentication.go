package clientapi

import (
	"net/http"
	"net/netip"
	"strings"

	"hanse/federation"
)

// accessToken finds the access token: in the Authorization header, or, as older clients do, in the query.
//
// spec:client-server-api#using-access-tokens
func accessToken(r *http.Request) (string, error) {
	token := ""
	if header := r.Header.Get("Authorization"); header != "" {
		scheme, value, _ := strings.Cut(header, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return "", errMissingToken
		}
		token = strings.TrimSpace(value)
	} else {
		token = r.URL.Query().Get("access_token")
	}
	switch {
	case token == "":
		return "", errMissingToken
	case len(token) > maxTokenBytes:
		return "", &federation.Error{Status: http.StatusUnauthorized, Code: "M_UNKNOWN_TOKEN", Message: "this is not an access token of ours"}
	}
	return token, nil
}

var errMissingToken = &federation.Error{Status: http.StatusUnauthorized, Code: "M_MISSING_TOKEN", Message: "an access token is needed"}

// address is where the client is: the connection's other end or, behind a trusted proxy, the nearest address in
// X-Forwarded-For that is no trusted proxy itself.
func (a *API) address(r *http.Request) netip.Addr {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr := remote.Addr().Unmap()
	if !a.TrustsProxy(addr) {
		return addr
	}
	if len(r.Header["X-Forwarded-For"]) == 0 {
		return addr
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		addr = hop.Unmap()
		if !a.TrustsProxy(addr) {
			break
		}
	}
	return addr
}

// From is where a request comes from, as it counts for limits: an address or, for IPv6, its /64.
func (a *API) From(r *http.Request) string { return limitedPrefix(a.address(r)) }

// TrustsProxy tells whether the X-Forwarded-For of an address is believed.
func (a *API) TrustsProxy(addr netip.Addr) bool {
	for _, p := range a.config.TrustedProxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
