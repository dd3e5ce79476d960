package clientapi

import "net/http"

// corsHeaders let browsers use the API from any origin. The specification recommends a part of them; If-Match and ETag are for logins by QR code, and
// Range is for the end of a file (bytes=-500), for which browsers ask first, as they don't for its beginning. The values are shared by all answers,
// and so full that who adds to one copies it.
var corsHeaders = [...]struct {
	key   string
	value []string
}{
	{"Access-Control-Allow-Origin", []string{"*"}},
	{"Access-Control-Allow-Methods", []string{"GET, HEAD, POST, PUT, DELETE, OPTIONS"}},
	{"Access-Control-Allow-Headers", []string{"X-Requested-With, Content-Type, Authorization, Date, If-Match, If-None-Match, Range"}},
	{"Access-Control-Expose-Headers", []string{"Retry-After, ETag, Content-Range, Accept-Ranges"}},
	{"X-Content-Type-Options", []string{"nosniff"}},
	{"Cache-Control", []string{"no-store"}},
	{"Cross-Origin-Resource-Policy", []string{"cross-origin"}},
}

// preflightLife is for how many seconds a browser may keep the answer to its question whether it may ask (OPTIONS). On other answers
// it means nothing, and with it they have more headers than fit into a map's first eight places.
var preflightLife = []string{"86400"}

// setCORS sets them; they are on every answer, errors included.
//
// spec:client-server-api#web-browser-clients
func setCORS(h http.Header, method string) {
	for _, c := range corsHeaders {
		h[c.key] = c.value
	}
	if method == http.MethodOptions {
		h["Access-Control-Max-Age"] = preflightLife
	}
}
