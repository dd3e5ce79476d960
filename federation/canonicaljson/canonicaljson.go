// Package canonicaljson brings JSON into Matrix' canonical form, and reads what is in it.
//
// It works on bytes: [Append] is one pass over a text that is canonical already, which is
// what servers send, and two over one that is not. [Members], [Get], [String] and [Int] read
// canonical text without building values.
//
// It is not a general JSON library: what reads expects canonical input, which came out of
// Append, and gives nothing (never a panic) on other input.
//
// spec:appendices#canonical-json
package canonicaljson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// Mode says what happens to numbers that canonical JSON does not know.
type Mode int

const (
	// Lenient is for events of the room versions that must not enforce canonical JSON, and
	// for JSON that is no event. Numbers come out as deployed servers (Synapse, whose
	// language is Python) write them, since hashes and signatures depend on it: integers of
	// any size keep their digits, "-0" is "0", and a number with a fraction or an exponent
	// is the shortest decimal that gives the same double: "1e3" is "1000.0". One that no
	// double can hold is an error.
	//
	// spec:rooms/v1#canonical-json
	Lenient Mode = iota

	// Strict is for events of the other room versions: a number with a fraction or an
	// exponent, one outside ±(2^53−1), and "-0", is an error. For "-0" the text of the
	// specification ("MUST NOT appear") is followed, as most servers do; Synapse reads it
	// as 0, but no server sends it.
	//
	// spec:rooms/v6#canonical-json
	Strict
)

// Error says where a text is not JSON that has a canonical form.
type Error struct {
	Offset int    // bytes from the beginning of the text
	Reason string // what is wrong there
}

// Error is a sentence for people.
func (e *Error) Error() string {
	return fmt.Sprintf("JSON: %s at byte %d", e.Reason, e.Offset)
}

// Append appends the canonical form of the JSON value src to dst. If it fails, with an
// [*Error], dst comes back as it was. It refuses syntax errors, duplicate keys, invalid
// UTF-8, lone surrogates, text nested deeper than [MaxNesting], more than [MaxValues] values
// where the text isn't canonical already, and numbers as mode says.
// What it appends is a fixpoint: Append gives it back byte for byte.
func Append(dst, src []byte, mode Mode) ([]byte, error) {
	return AppendWithout(dst, src, "", mode)
}

// AppendWithout is [Append], but if src is an object, its member of that key is left out, and
// numbers in it are not held to mode. The key "" leaves nothing out.
func AppendWithout(dst, src []byte, key string, mode Mode) ([]byte, error) {
	s := scanner{src: src, mode: mode, without: key}
	if s.canonical() {
		dst = slices.Grow(dst, len(src)-(s.cutEnd-s.cutStart))
		dst = append(dst, src[:s.cutStart]...)
		return append(dst, src[s.cutEnd:]...), nil
	}
	t := tree{scanner: scanner{src: src, mode: mode, without: key}}
	if err := t.read(); err != nil {
		return dst, err
	}
	return t.write(dst), nil
}

// Marshal is the canonical form of a Go value, by the rules of encoding/json.
func Marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return Append(nil, buf.Bytes(), Strict)
}
