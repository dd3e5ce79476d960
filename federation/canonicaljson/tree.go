package canonicaljson

import (
	"bytes"
	"slices"
	"unicode/utf8"
)

// tree reads any JSON into a flat list of nodes, each followed by those below it, and writes
// them in canonical form: every byte of the text is read once and written once, however the
// objects are nested.
type tree struct {
	scanner
	nodes []node
	order []int // members of objects, as indexes of their keys' nodes, sorted
}

type node struct {
	kind byte // '{', '[', '"', 'k' for a key, or '0' for what is written as it stands
	// text is the decoded text of a string or key, or the canonical token.
	text []byte
	// next is the index after the last node below this one.
	next int
	// first and count are an object's part of order.
	first, count int
}

// read reads the whole text. Errors are *Error.
func (t *tree) read() error {
	t.nodes = make([]node, 0, min(t.most(), MaxValues))
	if err := t.value(0); err != nil {
		return err
	}
	t.space()
	if t.i < len(t.src) {
		return t.fail("something follows the value")
	}
	return nil
}

// most is a bound on the nodes, from the punctuation: what a slice that grows throws away would be several times as much.
func (t *tree) most() int {
	n := 1
	for _, c := range t.src {
		if c == ',' || c == ':' || c == '[' || c == '{' {
			n++
		}
	}
	return n
}

func (t *tree) value(nesting int) error {
	if len(t.nodes) >= MaxValues {
		return t.fail("too many values")
	}
	t.space()
	if t.i >= len(t.src) {
		return t.fail("the text ends where a value should be")
	}
	switch c := t.src[t.i]; {
	case c == '{', c == '[':
		if nesting >= MaxNesting {
			return t.fail("nested too deep")
		}
		if c == '{' {
			return t.object(nesting + 1)
		}
		return t.array(nesting + 1)
	case c == '"':
		return t.text('"')
	case c == '-' || isDigit(c):
		return t.number()
	}
	start := t.i
	if t.word("true") || t.word("false") || t.word("null") {
		t.add(node{kind: '0', text: t.src[start:t.i]})
		return nil
	}
	return t.fail("not a JSON value")
}

func (t *tree) object(nesting int) error {
	start := t.i
	object := t.add(node{kind: '{'})
	t.i++
	if t.space(); t.skip('}') {
		return nil
	}
	for {
		t.space()
		if err := t.text('k'); err != nil {
			return err
		}
		if t.space(); !t.skip(':') {
			return t.fail("no colon after a key")
		}
		if err := t.memberValue(nesting); err != nil {
			return err
		}
		if t.space(); t.skip(',') {
			continue
		}
		if !t.skip('}') {
			return t.fail("neither a comma nor the end of the object")
		}
		return t.sort(object, start)
	}
}

// memberValue reads the value after the key that was read last. One to leave out is read
// leniently.
func (t *tree) memberValue(nesting int) error {
	if !t.leavesOut(nesting, &t.nodes[len(t.nodes)-1]) {
		return t.value(nesting)
	}
	mode := t.mode
	t.mode = Lenient
	err := t.value(nesting)
	t.mode = mode
	return err
}

// leavesOut tells whether a member of an object is to be left out, by its key.
func (t *tree) leavesOut(nesting int, key *node) bool {
	return nesting == 1 && t.without != "" && string(key.text) == t.without
}

// sort puts the members of an object in order, and finds duplicates.
func (t *tree) sort(object, start int) error {
	n := &t.nodes[object]
	n.next, n.first = len(t.nodes), len(t.order)
	for key := object + 1; key < n.next; key = t.nodes[key+1].next {
		t.order = append(t.order, key)
	}
	members := t.order[n.first:]
	n.count = len(members)
	slices.SortFunc(members, func(a, b int) int {
		return bytes.Compare(t.nodes[a].text, t.nodes[b].text)
	})
	for i := 1; i < len(members); i++ {
		if bytes.Equal(t.nodes[members[i-1]].text, t.nodes[members[i]].text) {
			t.i = start
			return t.fail("a duplicate key in the object that begins")
		}
	}
	return nil
}

func (t *tree) array(nesting int) error {
	array := t.add(node{kind: '['})
	t.i++
	if t.space(); t.skip(']') {
		return nil
	}
	for {
		if err := t.value(nesting); err != nil {
			return err
		}
		if t.space(); t.skip(',') {
			continue
		}
		if !t.skip(']') {
			return t.fail("neither a comma nor the end of the array")
		}
		t.nodes[array].next = len(t.nodes)
		return nil
	}
}

// text reads a string, or a key.
func (t *tree) text(kind byte) error {
	if !t.skip('"') {
		return t.fail("no string where one should be")
	}
	start := t.i
	for t.i < len(t.src) {
		switch c := t.src[t.i]; {
		case plain[c]:
			t.i++
		case c == '"':
			t.add(node{kind: kind, text: unescape(t.src[start:t.i])})
			t.i++
			return nil
		case c == '\\':
			_, n := decodeEscape(t.src[t.i:])
			if n == 0 {
				return t.fail("an invalid escape, or half a surrogate pair")
			}
			t.i += n
		case c < 0x20:
			return t.fail("a control character in a string")
		default:
			r, n := utf8.DecodeRune(t.src[t.i:])
			if r == utf8.RuneError && n <= 1 {
				return t.fail("invalid UTF-8")
			}
			t.i += n
		}
	}
	return t.fail("the text ends in a string")
}

func (t *tree) number() error {
	start := t.i
	t.skip('-')
	zero := t.i < len(t.src) && t.src[t.i] == '0'
	if n := t.digits(); n == 0 || zero && n > 1 {
		return t.fail("an invalid number")
	}
	if t.skip('.') && t.digits() == 0 {
		return t.fail("an invalid number")
	}
	if t.skip('e') || t.skip('E') {
		_ = t.skip('+') || t.skip('-')
		if t.digits() == 0 {
			return t.fail("an invalid number")
		}
	}
	canonical, reason := number(t.src[start:t.i], t.mode)
	if reason != "" {
		t.i = start
		return t.fail(reason)
	}
	t.add(node{kind: '0', text: canonical})
	return nil
}

func (t *tree) digits() (n int) {
	for t.i < len(t.src) && isDigit(t.src[t.i]) {
		t.i++
		n++
	}
	return n
}

func (t *tree) space() {
	for t.i < len(t.src) {
		switch t.src[t.i] {
		case ' ', '\t', '\n', '\r':
			t.i++
		default:
			return
		}
	}
}

func (t *tree) add(n node) int {
	n.next = len(t.nodes) + 1
	t.nodes = append(t.nodes, n)
	return len(t.nodes) - 1
}

func (t *tree) fail(reason string) error {
	return &Error{Offset: t.i, Reason: reason}
}

// write appends the canonical form of what was read.
func (t *tree) write(dst []byte) []byte {
	return t.writeNode(dst, 0)
}

func (t *tree) writeNode(dst []byte, i int) []byte {
	switch n := t.nodes[i]; n.kind {
	case '{':
		dst = append(dst, '{')
		first := true
		for _, key := range t.order[n.first : n.first+n.count] {
			if i == 0 && t.leavesOut(1, &t.nodes[key]) {
				continue
			}
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = appendQuoted(dst, t.nodes[key].text)
			dst = append(dst, ':')
			dst = t.writeNode(dst, key+1)
		}
		return append(dst, '}')
	case '[':
		dst = append(dst, '[')
		for j := i + 1; j < n.next; j = t.nodes[j].next {
			if j > i+1 {
				dst = append(dst, ',')
			}
			dst = t.writeNode(dst, j)
		}
		return append(dst, ']')
	case '"':
		return appendQuoted(dst, n.text)
	default:
		return append(dst, n.text...)
	}
}
