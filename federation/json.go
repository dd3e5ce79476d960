package federation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"hanse/federation/canonicaljson"
	"hanse/federation/id"
)

// appendString appends s as a canonical JSON string.
func appendString(dst []byte, s string) []byte {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\b':
			dst = append(dst, '\\', 'b')
		case c == '\f':
			dst = append(dst, '\\', 'f')
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// appendList appends raw values as a JSON array, as they are.
func appendList(dst []byte, list []json.RawMessage) []byte {
	dst = append(dst, '[')
	for i, value := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, value...)
	}
	return append(dst, ']')
}

// size is how many bytes appendList needs.
func size(list []json.RawMessage) int {
	n := 2 + len(list)
	for _, value := range list {
		n += len(value)
	}
	return n
}

// splitList splits an array of valid JSON into at most most elements, without copying: the elements are parts of raw.
// null and nothing are the empty list, as some servers send them for one.
func splitList(raw []byte, most int, what string) ([]json.RawMessage, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	if raw[0] != '[' || raw[len(raw)-1] != ']' {
		return nil, fmt.Errorf("%s is not an array", what)
	}
	inside := bytes.TrimSpace(raw[1 : len(raw)-1])
	if len(inside) == 0 {
		return nil, nil
	}
	var list []json.RawMessage
	for {
		if len(list) == most {
			return nil, fmt.Errorf("%s has more than %d elements", what, most)
		}
		end := valueEnd(inside)
		list = append(list, json.RawMessage(bytes.TrimSpace(inside[:end:end])))
		if end == len(inside) {
			return list, nil
		}
		inside = inside[end+1:] // behind the comma
	}
}

// elements is splitList for canonical JSON.
func elements(canonical []byte, most int, what string) ([]json.RawMessage, error) {
	if string(canonical) == "null" {
		return nil, nil
	}
	if len(canonical) == 0 || canonical[0] != '[' {
		return nil, fmt.Errorf("%s is not an array", what)
	}
	var list []json.RawMessage
	for element := range canonicaljson.Elements(canonical) {
		if len(list) == most {
			return nil, fmt.Errorf("%s has more than %d elements", what, most)
		}
		list = append(list, element)
	}
	return list, nil
}

// valueEnd is where the first value of a comma-separated list of valid JSON values ends: at a comma, or at the end.
func valueEnd(s []byte) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			for i++; i < len(s) && s[i] != '"'; i++ {
				if s[i] == '\\' {
					i++
				}
			}
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
	return len(s)
}

// eventIDs checks a list of event IDs; one that isn't makes the whole list wrong.
func eventIDs(list []string, most int, what string) ([]id.EventID, error) {
	if len(list) > most {
		return nil, fmt.Errorf("%s has more than %d elements", what, most)
	}
	out := make([]id.EventID, len(list))
	for i, text := range list {
		event, err := id.ParseEventID(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		out[i] = event
	}
	return out, nil
}

// serverNames keeps the valid names of a list of servers, which is a hint whom to ask: bad ones are left out, and
// those after the first most.
func serverNames(list []string, most int) []id.ServerName {
	out := make([]id.ServerName, 0, min(len(list), most))
	for _, text := range list {
		if len(out) == most {
			break
		}
		if name, err := id.ParseServerName(text); err == nil {
			out = append(out, name)
		}
	}
	return out
}

// writer writes pieces of JSON and keeps the first error.
type writer struct {
	w   io.Writer
	err error
}

func (w *writer) text(s string) {
	if w.err == nil {
		_, w.err = io.WriteString(w.w, s)
	}
}

func (w *writer) raw(b []byte) {
	if w.err == nil {
		_, w.err = w.w.Write(b)
	}
}

// Stream gives values one by one, to be written as they come: it calls yield for each, and returns the first error, its own or yield's.
type Stream func(yield func(json.RawMessage) error) error

// list writes raw values as an array, and those of a stream, which may be nil, behind them.
func (w *writer) list(list []json.RawMessage, more Stream) {
	w.text("[")
	first := true
	one := func(value json.RawMessage) error {
		if !first {
			w.text(",")
		}
		first = false
		w.raw(value)
		return w.err
	}
	for _, value := range list {
		_ = one(value) // the writer keeps the error
	}
	if more != nil && w.err == nil {
		w.err = more(one)
	}
	w.text("]")
}

// value writes any small value.
func (w *writer) value(v any) {
	if w.err != nil {
		return
	}
	var encoded []byte
	if encoded, w.err = json.Marshal(v); w.err == nil {
		w.raw(encoded)
	}
}
