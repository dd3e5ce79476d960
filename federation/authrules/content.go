package authrules

import "hanse/federation/canonicaljson"

// member is a member of a canonical JSON object; false when value isn't an object or has no such
// member.
func member(value []byte, key string) ([]byte, bool) {
	return canonicaljson.Get(value, key)
}

// text is a member that is a string; "" and false when it isn't there or is something else.
func text(value []byte, key string) (string, bool) {
	raw, ok := member(value, key)
	if !ok {
		return "", false
	}
	return canonicaljson.String(raw)
}
