package signedjson

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"
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

// DecodeBase64 decodes Base64 with or without padding, in the standard and in the URL-safe
// alphabet.
//
// What is sloppier than that is read as Synapse reads it, or refused if Synapse refuses it: it
// decides whether an event is dropped, and who can make it be so on some servers and not on others
// divides the room.
//
// spec:appendices#unpadded-base64
func DecodeBase64(s string) ([]byte, error) {
	decoded, err := base64.RawStdEncoding.DecodeString(s)
	if err == nil && len(decoded) == base64.RawStdEncoding.DecodedLen(len(s)) { // no line ends, which it skips
		return decoded, nil
	}
	return decodeSloppy(s)
}

// decodeSloppy decodes as Python does without validation, once Synapse has padded a text to a multiple of four: both
// alphabets mixed, other ASCII characters skipped, up to the first padding that completes four characters.
func decodeSloppy(s string) ([]byte, error) {
	if at := strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }); at >= 0 {
		return nil, base64.CorruptInputError(at)
	}
	digits := make([]byte, 0, len(s))
	padding := 0 // since the last digit
	for i := range (len(s) + 3) &^ 3 {
		c := byte('=')
		if i < len(s) {
			c = s[i]
		}
		switch {
		case c == '=':
			if padding++; len(digits)%4 >= 2 && len(digits)%4+padding >= 4 {
				return base64.RawStdEncoding.DecodeString(string(digits))
			}
		case c == '-':
			c = '+'
		case c == '_':
			c = '/'
		}
		if isDigit(c) {
			digits, padding = append(digits, c), 0
		}
	}
	if len(digits)%4 != 0 {
		return nil, base64.CorruptInputError(len(s))
	}
	return base64.RawStdEncoding.DecodeString(string(digits))
}

// isDigit tells whether the character is one of the standard alphabet.
func isDigit(c byte) bool {
	return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '+' || c == '/'
}
