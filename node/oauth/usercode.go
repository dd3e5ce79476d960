package oauth

import "strings"

// userCodeAlphabet has no vowels, so that no words come of it, and nothing that looks like a digit: RFC 8628, section 6.1. 20 of
// them, 8 times, are 25 thousand million codes.
const (
	userCodeAlphabet = "BCDFGHJKLMNPQRSTVWXZ"
	userCodeLength   = 8
)

// UserCode makes the code that a person types on another device, of at least 64 random bytes: those that would make some characters
// likelier than others are passed over. "" if too few are left.
func UserCode(random []byte) string {
	var code []byte
	for _, b := range random {
		if most := 256 / len(userCodeAlphabet) * len(userCodeAlphabet); int(b) < most && len(code) < userCodeLength {
			code = append(code, userCodeAlphabet[int(b)%len(userCodeAlphabet)])
		}
	}
	if len(code) < userCodeLength {
		return ""
	}
	return string(code)
}

// ShownUserCode is the code as it is shown, as XXXX-XXXX.
func ShownUserCode(code string) string {
	if len(code) != userCodeLength {
		return code
	}
	return code[:userCodeLength/2] + "-" + code[userCodeLength/2:]
}

// ReadUserCode reads what a person typed: in any case, with or without signs between the letters. "" if it can be no code.
func ReadUserCode(typed string) string {
	var code strings.Builder
	for _, r := range strings.ToUpper(typed) {
		switch {
		case strings.ContainsRune(userCodeAlphabet, r):
			code.WriteRune(r)
		case r != '-' && r != ' ' && r != '.' && r != '_':
			return ""
		}
	}
	if code.Len() != userCodeLength {
		return ""
	}
	return code.String()
}
