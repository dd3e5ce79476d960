package canonicaljson

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// unescape decodes what stands between the quotes of a valid string. Without an escape it
// gives raw itself.
func unescape(raw []byte) []byte {
	i := bytes.IndexByte(raw, '\\')
	if i < 0 {
		return raw
	}
	out := make([]byte, 0, len(raw))
	for i >= 0 {
		out = append(out, raw[:i]...)
		r, n := decodeEscape(raw[i:])
		if n == 0 {
			return out // not valid: the caller has not checked it
		}
		out = utf8.AppendRune(out, r)
		raw = raw[i+n:]
		i = bytes.IndexByte(raw, '\\')
	}
	return append(out, raw...)
}

// decodeEscape reads the escape at the beginning of b, with both halves of a surrogate pair.
// n is 0 if it is none, or half a pair.
func decodeEscape(b []byte) (r rune, n int) {
	if len(b) < 2 {
		return 0, 0
	}
	switch b[1] {
	case '"', '\\', '/':
		return rune(b[1]), 2
	case 'b':
		return '\b', 2
	case 't':
		return '\t', 2
	case 'n':
		return '\n', 2
	case 'f':
		return '\f', 2
	case 'r':
		return '\r', 2
	case 'u':
		return decodeUnicodeEscape(b)
	}
	return 0, 0
}

func decodeUnicodeEscape(b []byte) (r rune, n int) {
	if len(b) < 6 {
		return 0, 0
	}
	r, ok := hex4(b[2:6])
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if len(b) < 12 || b[6] != '\\' || b[7] != 'u' {
		return 0, 0
	}
	low, ok := hex4(b[8:12])
	if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
		return 0, 0
	}
	return r, 12
}

func hex4(b []byte) (r rune, ok bool) {
	for _, c := range b[:4] {
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// appendQuoted appends the canonical string whose value is text.
func appendQuoted[T string | []byte](dst []byte, text T) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := range len(text) {
		c := text[i]
		if plain[c] || c >= 0x80 {
			continue
		}
		dst = append(dst, text[start:i]...)
		start = i + 1
		if e := shortEscape(c); e != 0 {
			dst = append(dst, '\\', e)
		} else {
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
	}
	dst = append(dst, text[start:]...)
	return append(dst, '"')
}

// shortEscape is the letter that escapes c, 0 if there is none.
func shortEscape(c byte) byte {
	switch c {
	case '"', '\\':
		return c
	case '\b':
		return 'b'
	case '\t':
		return 't'
	case '\n':
		return 'n'
	case '\f':
		return 'f'
	case '\r':
		return 'r'
	}
	return 0
}

// AppendString appends text as a canonical JSON string. Bytes that are not UTF-8 become
// U+FFFD.
func AppendString(dst []byte, text string) []byte {
	if !utf8.ValidString(text) {
		return appendQuoted(dst, bytes.ToValidUTF8([]byte(text), []byte("\uFFFD")))
	}
	return appendQuoted(dst, text)
}
