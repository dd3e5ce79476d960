package push

import (
	"strings"
	"unicode/utf8"
)

// pattern is a glob-style pattern: `*` stands for any characters, `?` for one. It is the texts between the stars.
//
// spec:appendices#glob-style-matching
type pattern []string

// newPattern reads a pattern, in small letters, since matching knows no case.
func newPattern(text string) pattern { return strings.Split(strings.ToLower(text), "*") }

// literal is the pattern of a text in which nothing stands for something else.
type literal string

// steps bounds the work of one user's patterns on one event; what comes after its end doesn't match.
type steps int

// spend takes away and tells whether there was enough.
func (s *steps) spend(n int) bool {
	*s -= steps(n)
	return *s >= 0
}

// matches holds the pattern against a whole text, in small letters.
func (p pattern) matches(text string, left *steps) bool {
	first, last := p[0], p[len(p)-1]
	at, ok := segmentAt(text, 0, first)
	if len(p) == 1 || !ok {
		return ok && at == len(text)
	}
	for _, middle := range p[1 : len(p)-1] {
		if at, ok = find(text, at, middle, left, anywhere); !ok {
			return false
		}
	}
	_, ok = find(text, at, last, left, func(_, end int) bool { return end == len(text) })
	return ok
}

// within tells whether the pattern matches a part of the text that begins and ends at word boundaries. Each of the texts
// between the stars is best taken where it comes first.
func (p pattern) within(text string, left *steps) bool {
	begins := func(start, _ int) bool { return boundary(text, start, false) }
	ends := func(_, end int) bool { return boundary(text, end, true) }
	if len(p) == 1 {
		_, ok := find(text, 0, p[0], left, func(start, end int) bool { return begins(start, end) && ends(start, end) })
		return ok
	}
	at, ok := find(text, 0, p[0], left, begins)
	for _, middle := range p[1 : len(p)-1] {
		if ok {
			at, ok = find(text, at, middle, left, anywhere)
		}
	}
	if ok {
		_, ok = find(text, at, p[len(p)-1], left, ends)
	}
	return ok
}

// within is the same of a text without wildcards.
func (l literal) within(text string, left *steps) bool {
	return l != "" && scan(text, 0, string(l), left, func(start, end int) bool {
		return boundary(text, start, false) && boundary(text, end, true)
	}) >= 0
}

func anywhere(_, _ int) bool { return true }

// find is where the first segment at or after from ends that suits.
func find(text string, from int, segment string, left *steps, suits func(start, end int) bool) (end int, ok bool) {
	if segment != "" && !strings.Contains(segment, "?") {
		start := scan(text, from, segment, left, suits)
		return start + len(segment), start >= 0
	}
	for start := from; start <= len(text); {
		if !left.spend(1 + len(segment)) {
			return 0, false
		}
		if end, ok := segmentAt(text, start, segment); ok && suits(start, end) {
			return end, true
		}
		_, size := utf8.DecodeRuneInString(text[start:])
		start += max(size, 1)
	}
	return 0, false
}

// scan is find for a segment without wildcards that is not empty; -1: nowhere.
func scan(text string, from int, segment string, left *steps, suits func(start, end int) bool) int {
	for from <= len(text)-len(segment) {
		next := strings.Index(text[from:], segment)
		if next < 0 {
			left.spend((len(text) - from) / 16) // it is a fast way
			return -1
		}
		if !left.spend(1 + next/16) {
			return -1
		}
		from += next
		if suits(from, from+len(segment)) {
			return from
		}
		_, size := utf8.DecodeRuneInString(text[from:])
		from += size
	}
	return -1
}

// segmentAt tells whether a segment stands at a place of the text, and where it ends there.
func segmentAt(text string, at int, segment string) (end int, ok bool) {
	for segment != "" {
		if at >= len(text) {
			return 0, false
		}
		if segment[0] == '?' {
			_, size := utf8.DecodeRuneInString(text[at:])
			at, segment = at+size, segment[1:]
			continue
		}
		if text[at] != segment[0] {
			return 0, false
		}
		at, segment = at+1, segment[1:]
	}
	return at, true
}

// boundary tells whether a part of the text may begin (or end) at a place: no letter, digit or underscore is on its other
// side.
//
// spec:client-server-api/modules/push#conditions
func boundary(text string, at int, ends bool) bool {
	if ends {
		return at == len(text) || !isWord(text[at])
	}
	return at == 0 || !isWord(text[at-1])
}

func isWord(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}
