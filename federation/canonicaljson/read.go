package canonicaljson

import (
	"bytes"
	"iter"
	"math"
)

// Cursor walks over the members of a canonical object, in their order and without
// allocating. Its zero value has none.
type Cursor struct {
	object []byte
	i      int // where the next key begins; 0 at the end
}

// Walk is a cursor before the first member of a canonical object.
func Walk(object []byte) Cursor {
	if len(object) < 2 || object[0] != '{' {
		return Cursor{}
	}
	return Cursor{object: object, i: 1}
}

// Next gives the next member; false at the end. key is what stands between the quotes, still
// escaped ([Unescape] decodes it); value is the value's text. Both are parts of the object.
func (c *Cursor) Next() (key, value []byte, ok bool) {
	object, i := c.object, c.i
	c.i = 0
	if i == 0 || i >= len(object) || object[i] != '"' {
		return nil, nil, false
	}
	end := skipString(object, i)
	if end >= len(object) || object[end] != ':' {
		return nil, nil, false
	}
	start := end + 1
	after := skipValue(object, start)
	if after <= start {
		return nil, nil, false
	}
	if after < len(object) && object[after] == ',' {
		c.i = after + 1
	}
	return object[i+1 : end-1], object[start:after:after], true
}

// Members iterates over the members of a canonical object, as [Cursor] does.
func Members(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		c := Walk(object)
		for key, value, ok := c.Next(); ok && yield(key, value); key, value, ok = c.Next() {
		}
	}
}

// Elements iterates over the elements of a canonical array, each a part of it.
func Elements(array []byte) iter.Seq[[]byte] {
	return func(yield func(value []byte) bool) {
		if len(array) < 2 || array[0] != '[' || array[1] == ']' {
			return
		}
		for i := 1; i < len(array); i++ {
			start := i
			i = skipValue(array, start)
			if i <= start || !yield(array[start:i:i]) {
				return
			}
			if i >= len(array) || array[i] != ',' {
				return
			}
		}
	}
}

// Get is the value of a member of a canonical object, by its key (not escaped).
func Get(object []byte, key string) ([]byte, bool) {
	c := Walk(object)
	for k, value, ok := c.Next(); ok; k, value, ok = c.Next() {
		if KeyIs(k, key) {
			return value, true
		}
	}
	return nil, false
}

// GetString is [Get] of a member that is a string; "" and false when it isn't there or is something else.
func GetString(object []byte, key string) (string, bool) {
	value, _ := Get(object, key)
	return String(value)
}

// KeyIs tells whether an escaped key, as [Members] gives it, is key.
func KeyIs(escaped []byte, key string) bool {
	if len(escaped) < len(key) || bytes.IndexByte(escaped, '\\') < 0 {
		return string(escaped) == key
	}
	return string(unescape(escaped)) == key
}

// Unescape decodes a key, as [Members] gives it.
func Unescape(escaped []byte) string { return string(unescape(escaped)) }

// String decodes a value that is a string; false if it is another.
func String(value []byte) (string, bool) {
	if !IsString(value) {
		return "", false
	}
	return string(unescape(value[1 : len(value)-1])), true
}

// IsString, IsObject and IsArray tell what kind of value a canonical text is.
func IsString(value []byte) bool { return enclosed(value, '"', '"') }

// IsObject tells whether a canonical value is an object.
func IsObject(value []byte) bool { return enclosed(value, '{', '}') }

// IsArray tells whether a canonical value is an array.
func IsArray(value []byte) bool { return enclosed(value, '[', ']') }

func enclosed(value []byte, first, last byte) bool {
	return len(value) >= 2 && value[0] == first && value[len(value)-1] == last
}

// Int reads a value that is an integer and fits 64 bits; false if it is another. A number
// written with a fraction or an exponent is not an integer, whatever its value.
func Int(value []byte) (int64, bool) {
	digits := value
	negative := len(value) > 0 && value[0] == '-'
	if negative {
		digits = value[1:]
	}
	if len(digits) == 0 {
		return 0, false
	}
	var n uint64
	for _, c := range digits {
		if !isDigit(c) || n > math.MaxInt64/10 {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	switch {
	case negative && n <= -math.MinInt64:
		return -int64(n), true
	case !negative && n <= math.MaxInt64:
		return int64(n), true
	}
	return 0, false
}

// skipString is the index after the string that begins at i, len(b) if it does not end.
func skipString(b []byte, i int) int {
	for i++; i < len(b); i++ {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			return len(b)
		}
		i += n
		// A quote is escaped if an odd number of backslashes stands before it.
		backslashes := 0
		for b[i-1-backslashes] == '\\' {
			backslashes++
		}
		if backslashes%2 == 0 {
			return i + 1
		}
	}
	return len(b)
}

// skipValue is the index after the value that begins at i; i if there is none.
func skipValue(b []byte, i int) int {
	if i >= len(b) {
		return i
	}
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		return skipNested(b, i)
	}
	for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ']' {
		i++
	}
	return i
}

func skipNested(b []byte, i int) int {
	for nesting := 0; i < len(b); {
		switch b[i] {
		case '"':
			i = skipString(b, i)
			continue
		case '{', '[':
			nesting++
		case '}', ']':
			if nesting--; nesting == 0 {
				return i + 1
			}
		}
		i++
	}
	return i
}
