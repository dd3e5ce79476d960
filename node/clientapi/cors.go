package clientapi

import "net/http"

// corsHeaders let browsers use the API from any origin. The values are shared by all answers, and so full that who adds to one copies it.
var corsHeaders = [...]struct {
	key   string
	value []string
}{
	{"Access-Control-Allow-Origin", []string{"*"}},
	{"Access-Control-Allow-Methods", []string{"GET, HEAD, POST, PUT, DELETE, OPTIONS"}},
	{"Access-Control-Allow-Headers", []string{"X-Requested-With, Content-Type, Authorization, Date"}},
	{"Access-Control-Expose-Headers", []string{"Retry-After"}},
	{"Access-Control-Max-Age", []string{"86400"}},
	{"X-Content-Type-Options", []string{"nosniff"}},
	{"Cache-Control", []string{"no-store"}},
	{"Cross-Origin-Resource-Policy", []string{"cross-origin"}},
}

// setCORS sets them; they are on every answer, errors included.
//
// spec:client-server-api#web-browser-clients
func setCORS(h http.Header) {
	for _, c := range corsHeaders {
		h[c.key] = c.value
	}
}
