package authrules

import (
	"hanse/federation/canonicaljson"
	"hanse/federation/event"
)

// member is a member of a canonical JSON object; false when value isn't an object or has no such
// member.
func member(value []byte, key string) ([]byte, bool) {
	return canonicaljson.Get(value, key)
}

// word is [canonicaljson.GetString] for members that mostly are words of the specification, which need no memory of their own.
func word(value []byte, key string) (string, bool) {
	raw, ok := member(value, key)
	if !ok {
		return "", false
	}
	if known, ok := event.KnownText(raw); ok {
		return known, true
	}
	return canonicaljson.String(raw)
}
