package client

import "strings"

const (
	federationV1 = "/_matrix/federation/v1"
	federationV2 = "/_matrix/federation/v2"
	keyV2        = "/_matrix/key/v2"
	mediaV3      = "/_matrix/media/v3"
)

// path joins a prefix, an endpoint's name and its parameters, each escaped as one segment.
func path(prefix, endpoint string, params ...string) string {
	var b strings.Builder
	b.WriteString(prefix)
	b.WriteByte('/')
	b.WriteString(endpoint)
	for _, param := range params {
		b.WriteByte('/')
		escape(&b, param)
	}
	return b.String()
}

// escape escapes everything but RFC 3986's unreserved characters, as deployed servers do. What net/url leaves alone
// in a segment ('+', '$', ':') is right too, but proxies on the way have been seen to take '+' for a blank.
func escape(b *strings.Builder, segment string) {
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(segment); i++ {
		c := segment[i]
		if '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || strings.IndexByte("-_.~", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
}
