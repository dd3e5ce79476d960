package canonicaljson

// Filter appends a canonical object with those of its members whose key keep accepts. keep
// gets the key still escaped, as [Members] does.
func Filter(dst, object []byte, keep func(key []byte) bool) []byte {
	w := Writer{dst: append(dst, '{')}
	for key, value := range Members(object) {
		if keep(key) {
			w.member(key, value)
		}
	}
	return w.Object()
}

// SetMember appends a canonical object with one member added or replaced. value must be
// canonical.
func SetMember(dst, object []byte, key string, value []byte) []byte {
	quoted := AppendString(nil, key)
	escaped := quoted[1 : len(quoted)-1]
	w := Writer{dst: append(dst, '{')}
	done := false
	for k, v := range Members(object) {
		if !done {
			if order := compareKeys(escaped, k); order <= 0 {
				w.member(escaped, value)
				done = true
				if order == 0 {
					continue
				}
			}
		}
		w.member(k, v)
	}
	if !done {
		w.member(escaped, value)
	}
	return w.Object()
}

// Writer builds a canonical object from members in their order: the caller sees to it.
type Writer struct {
	dst   []byte
	begun bool
}

// NewWriter begins an object at the end of dst.
func NewWriter(dst []byte) *Writer { return &Writer{dst: append(dst, '{')} }

// Member appends a member. key must need no escapes, value must be canonical.
func (w *Writer) Member(key string, value []byte) {
	w.comma()
	w.dst = append(w.dst, '"')
	w.dst = append(w.dst, key...)
	w.dst = append(w.dst, '"', ':')
	w.dst = append(w.dst, value...)
}

func (w *Writer) member(escaped, value []byte) {
	w.comma()
	w.dst = append(w.dst, '"')
	w.dst = append(w.dst, escaped...)
	w.dst = append(w.dst, '"', ':')
	w.dst = append(w.dst, value...)
}

func (w *Writer) comma() {
	if w.begun {
		w.dst = append(w.dst, ',')
	}
	w.begun = true
}

// Object ends the object and gives dst back.
func (w *Writer) Object() []byte { return append(w.dst, '}') }
