package canonicaljson

import "slices"

// Objects are built by appending: '{', then for each member in its order AppendKey and the
// canonical value, then '}'.

// AppendKey appends the key of an object's next member, with the comma before it if it is
// not the first. key is escaped, as [Cursor.Next] gives it.
func AppendKey(dst, key []byte) []byte {
	// No value ends with '{': it is the beginning of the object.
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	dst = append(dst, '"')
	dst = append(dst, key...)
	return append(dst, '"', ':')
}

// AppendMember appends the next member of an object, a key as in [AppendKey] and a canonical
// value.
func AppendMember(dst, key, value []byte) []byte {
	return append(AppendKey(dst, key), value...)
}

// Filter appends a canonical object with those of its members whose key keep accepts. keep
// gets the key still escaped, as [Cursor.Next] does. dst may be object[:0]: members only move
// towards the front.
func Filter(dst, object []byte, keep func(key []byte) bool) []byte {
	dst = append(dst, '{')
	c := Walk(object)
	for key, value, ok := c.Next(); ok; key, value, ok = c.Next() {
		if keep(key) {
			dst = AppendMember(dst, key, value)
		}
	}
	return append(dst, '}')
}

// SetMember appends a canonical object with one member added or replaced. key is not escaped;
// value must be canonical.
func SetMember(dst, object []byte, key string, value []byte) []byte {
	var stack [64]byte
	quoted := AppendString(stack[:0], key)
	escaped := quoted[1 : len(quoted)-1]
	dst = append(slices.Grow(dst, len(object)+len(quoted)+len(value)+2), '{')
	done := false
	c := Walk(object)
	for k, v, ok := c.Next(); ok; k, v, ok = c.Next() {
		order := -1
		if !done {
			order = compareKeys(escaped, k)
		}
		if !done && order <= 0 {
			dst = AppendMember(dst, escaped, value)
			done = true
		}
		if order != 0 {
			dst = AppendMember(dst, k, v)
		}
	}
	if !done {
		dst = AppendMember(dst, escaped, value)
	}
	return append(dst, '}')
}

// InsertMember is a canonical object with one more member, whose key it hasn't got: [SetMember] that makes use of the room behind
// the object, if there is enough. The object itself is lost.
func InsertMember(object []byte, key string, value []byte) []byte {
	var stack [320]byte
	member := AppendString(stack[:0], key)
	escaped := member[1 : len(member)-1]
	at := len(object) - 1 // before the end
	c := Walk(object)
	for next := c.i; ; next = c.i {
		k, _, ok := c.Next()
		if !ok {
			break
		}
		if compareKeys(escaped, k) < 0 {
			at = next
			break
		}
	}
	member = append(append(member, ':'), value...)
	switch {
	case len(object) == len("{}"):
	case at == len(object)-1:
		object, at = append(object[:at], ",}"...), at+1
	default:
		member = append(member, ',')
	}
	return slices.Insert(object, at, member...)
}
