package canonicaljson

import (
	"bytes"
	"strconv"
)

// inRange tells whether an integer without leading zeros is in ±(2^53−1).
func inRange(token []byte) bool {
	n, ok := Int(token)
	return ok && -maxInteger <= n && n <= maxInteger
}

// number is the canonical form of a number token of valid syntax, or the reason why it has
// none in this mode.
func number(token []byte, mode Mode) (canonical []byte, reason string) {
	if bytes.ContainsAny(token, ".eE") {
		return fraction(token, mode)
	}
	if string(token) == "-0" {
		if mode == Strict {
			return nil, "negative zero"
		}
		return token[1:], ""
	}
	switch {
	case mode == Strict && !inRange(token):
		return nil, "an integer outside ±(2^53−1)"
	case len(bytes.TrimPrefix(token, []byte("-"))) > maxDigits:
		return nil, "an integer with too many digits"
	}
	return token, ""
}

func fraction(token []byte, mode Mode) (canonical []byte, reason string) {
	if mode == Strict {
		return nil, "a number with a fraction or an exponent"
	}
	f, err := strconv.ParseFloat(string(token), 64)
	if err != nil {
		return nil, "a number that is too great"
	}
	return appendFloat(nil, f), ""
}

// appendFloat writes f as Python does: the shortest digits that give f again, with an
// exponent if it is less than -4 or at least 16, otherwise with at least one decimal.
func appendFloat(dst []byte, f float64) []byte {
	scientific := strconv.AppendFloat(nil, f, 'e', -1, 64)
	e := bytes.IndexByte(scientific, 'e')
	exponent, _ := strconv.Atoi(string(scientific[e+1:]))
	if exponent < -4 || exponent >= 16 {
		return append(dst, scientific...)
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
	if bytes.IndexByte(dst[start:], '.') < 0 {
		dst = append(dst, ".0"...)
	}
	return dst
}
