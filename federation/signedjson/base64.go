package signedjson

import (
	"encoding/base64"
	"strings"
)

// EncodeBase64 encodes as Matrix does: standard alphabet, no padding.
//
// spec:appendices#unpadded-base64
func EncodeBase64(b []byte) string {
	return base64.RawStdEncoding.EncodeToString(b)
}

// AppendBase64 appends it as a JSON string.
func AppendBase64(dst, b []byte) []byte {
	return append(base64.RawStdEncoding.AppendEncode(append(dst, '"'), b), '"')
}

// DecodeBase64 decodes Base64 with or without padding, in the standard or in the URL-safe
// alphabet.
//
// spec:appendices#unpadded-base64
func DecodeBase64(s string) ([]byte, error) {
	s = strings.TrimRight(s, "=")
	if strings.ContainsAny(s, "-_") {
		return base64.RawURLEncoding.DecodeString(s)
	}
	return base64.RawStdEncoding.DecodeString(s)
}
