// Package id holds the identifiers of Matrix, a type a file: [ServerName], [UserID],
// [RoomID], [EventID], [RoomAlias] and [KeyID].
//
// Each is a string whose text is the value: identifiers compare byte by byte and are
// case-sensitive. A value that came out of a Parse function is valid; code that holds one
// trusts it, and the methods return zero values, never panic, on one that is not. What the
// specification calls opaque stays opaque here.
//
// The package is not a registry of names: whether a user or a server exists is asked elsewhere.
//
// spec:appendices#identifier-grammar
package id

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Error says why a text is not an identifier.
type Error struct {
	Kind   string // what was expected, as people say it: "user ID"
	Text   string // the text, cut to a length that is fit for a log
	Reason string // what is wrong with it
}

// Error is a sentence for people.
func (e *Error) Error() string {
	article := "a"
	if e.Kind == eventID {
		article = "an"
	}
	return fmt.Sprintf("%q is not %s %s: %s", e.Text, article, e.Kind, e.Reason)
}

// refuse makes the error for a text of the given kind.
func refuse(kind, text, reason string) error {
	if len(text) > maxErrorText {
		text = strings.ToValidUTF8(text[:maxErrorText], "") + "…"
	}
	return &Error{Kind: kind, Text: text, Reason: reason}
}

// split takes an identifier "&localpart:domain" apart at its first colon. It checks the
// sigil, the length and the characters of the localpart, but not the domain.
//
// spec:appendices#common-identifier-format
func split(kind string, sigil byte, s string) (localpart, domain string, err error) {
	if err := opaque(kind, sigil, s); err != nil {
		return "", "", err
	}
	localpart, domain, found := strings.Cut(s[1:], ":")
	if !found {
		return "", "", refuse(kind, s, "it has no colon between the localpart and the server name")
	}
	return localpart, domain, nil
}

// opaque checks what all identifiers share: the sigil, the length in bytes, and that the
// rest is Unicode without NUL (surrogates are not valid UTF-8).
func opaque(kind string, sigil byte, s string) error {
	switch {
	case len(s) == 0:
		return refuse(kind, s, "it is empty")
	case s[0] != sigil:
		return refuse(kind, s, fmt.Sprintf("it does not begin with %q", sigil))
	case len(s) > MaxLength:
		return refuse(kind, s, fmt.Sprintf("it has %d bytes, %d are allowed", len(s), MaxLength))
	case strings.IndexByte(s, 0) >= 0:
		return refuse(kind, s, "it contains NUL")
	case !utf8.ValidString(s):
		return refuse(kind, s, "it is not valid UTF-8")
	}
	return nil
}

// domainOf is the part after the first colon.
func domainOf(s string) ServerName {
	if i := strings.IndexByte(s, ':'); i >= 0 {
		return ServerName(s[i+1:])
	}
	return ""
}

// localpartOf is the part between the sigil and the first colon.
func localpartOf(s string) string {
	if len(s) == 0 {
		return ""
	}
	localpart, _, _ := strings.Cut(s[1:], ":")
	return localpart
}
