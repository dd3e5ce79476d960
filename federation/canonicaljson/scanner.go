package canonicaljson

import (
	"bytes"
	"unicode/utf8"
)

// scanner walks a text from i on. It serves both ways of reading: canonical, which only tells
// whether nothing needs to change, and tree, which reads any JSON.
type scanner struct {
	src  []byte
	i    int
	mode Mode
	// without is the key of the outermost object's member to leave out, "" for none.
	without string
	// cutStart and cutEnd are where that member stands in canonical text, with a comma.
	cutStart, cutEnd int
}

// canonical tells whether the text is one value in canonical form. False may also mean that
// the text is wrong: the caller then reads it again with errors.
func (s *scanner) canonical() bool {
	return s.canonicalValue(0) && s.i == len(s.src)
}

func (s *scanner) canonicalValue(nesting int) bool {
	if s.i >= len(s.src) {
		return false
	}
	switch s.src[s.i] {
	case '"':
		_, ok := s.canonicalString()
		return ok
	case '{':
		return nesting < MaxNesting && s.canonicalObject(nesting+1)
	case '[':
		return nesting < MaxNesting && s.canonicalArray(nesting+1)
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	}
	return s.canonicalNumber()
}

func (s *scanner) canonicalObject(nesting int) bool {
	s.i++
	if s.skip('}') {
		return true
	}
	var last []byte
	for first := true; ; first = false {
		start := s.i
		key, ok := s.canonicalString()
		if !ok || !first && compareKeys(last, key) >= 0 {
			return false
		}
		last = key
		if !s.skip(':') {
			return false
		}
		if nesting == 1 && s.without != "" && KeyIs(key, s.without) {
			if !s.cut(start, nesting) {
				return false
			}
		} else if !s.canonicalValue(nesting) {
			return false
		}
		if !s.skip(',') {
			return s.skip('}')
		}
	}
}

// cut steps over the value of the member to leave out, whose key begins at start.
func (s *scanner) cut(start, nesting int) bool {
	mode := s.mode
	s.mode = Lenient
	if !s.canonicalValue(nesting) {
		return false
	}
	s.mode = mode
	s.cutStart, s.cutEnd = start, s.i
	if s.i < len(s.src) && s.src[s.i] == ',' {
		s.cutEnd++
	} else if s.src[start-1] == ',' {
		s.cutStart--
	}
	return true
}

func (s *scanner) canonicalArray(nesting int) bool {
	s.i++
	if s.skip(']') {
		return true
	}
	for {
		if !s.canonicalValue(nesting) {
			return false
		}
		if !s.skip(',') {
			return s.skip(']')
		}
	}
}

// canonicalString steps over a string and gives what stands between the quotes.
func (s *scanner) canonicalString() (raw []byte, ok bool) {
	if !s.skip('"') {
		return nil, false
	}
	start, src := s.i, s.src
	for i := start; i < len(src); {
		switch c := src[i]; {
		case plain[c]:
			i++
		case c == '"':
			s.i = i + 1
			return src[start:i], true
		case c == '\\':
			n := canonicalEscape(src[i:])
			if n == 0 {
				return nil, false
			}
			i += n
		case c < 0x20:
			return nil, false
		default:
			r, n := utf8.DecodeRune(src[i:])
			if r == utf8.RuneError && n <= 1 {
				return nil, false
			}
			i += n
		}
	}
	return nil, false
}

// canonicalEscape is the length of the escape at the beginning of b, 0 if it is not one that
// canonical JSON uses.
//
// spec:appendices#grammar
func canonicalEscape(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', 'b', 't', 'n', 'f', 'r':
		return 2
	case 'u':
		if len(b) < 6 || b[2] != '0' || b[3] != '0' {
			return 0
		}
		c, ok := hex4(b[2:6])
		if !ok || c >= 0x20 || shortEscape(byte(c)) != 0 || b[5] >= 'A' && b[5] <= 'F' {
			return 0
		}
		return 6
	}
	return 0
}

// canonicalNumber steps over an integer. Numbers of other forms are left to tree.
func (s *scanner) canonicalNumber() bool {
	start := s.i
	negative := s.skip('-')
	first := s.i
	for s.i < len(s.src) && isDigit(s.src[s.i]) {
		s.i++
	}
	digits := s.src[first:s.i]
	switch {
	case len(digits) == 0, digits[0] == '0' && (len(digits) > 1 || negative):
		return false
	case s.mode == Lenient && len(digits) > maxDigits, s.mode == Strict && !inRange(s.src[start:s.i]):
		return false
	}
	// What follows an integer tells whether it was the beginning of a fraction or exponent.
	return s.i == len(s.src) || s.src[s.i] != '.' && s.src[s.i]|0x20 != 'e'
}

func (s *scanner) skip(c byte) bool {
	if s.i < len(s.src) && s.src[s.i] == c {
		s.i++
		return true
	}
	return false
}

func (s *scanner) word(w string) bool {
	if len(s.src)-s.i < len(w) || string(s.src[s.i:s.i+len(w)]) != w {
		return false
	}
	s.i += len(w)
	return true
}

// compareKeys orders canonical keys by their codepoints, which is the order of the bytes of
// UTF-8, but not of their escapes.
func compareKeys(a, b []byte) int {
	if bytes.IndexByte(a, '\\') < 0 && bytes.IndexByte(b, '\\') < 0 {
		return bytes.Compare(a, b)
	}
	return bytes.Compare(unescape(a), unescape(b))
}

// plain are the bytes that stand for themselves in a string: ASCII but controls, '"', '\'.
var plain = func() (t [256]bool) {
	for c := 0x20; c < 0x80; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
