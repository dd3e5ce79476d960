package canonicaljson

// Object builds a canonical object at the end of a buffer. The caller gives the members in
// their order; each is a [Object.Key] and then a value, appended to [Object.Bytes] and put
// back by [Object.Set].
type Object struct {
	dst   []byte
	begun bool
}

// Begin begins an object at the end of dst.
func Begin(dst []byte) Object { return Object{dst: append(dst, '{')} }

// Key begins a member. key is escaped, as [Members] gives it.
func (o *Object) Key(key []byte) {
	if o.begun {
		o.dst = append(o.dst, ',')
	}
	o.begun = true
	o.dst = append(o.dst, '"')
	o.dst = append(o.dst, key...)
	o.dst = append(o.dst, '"', ':')
}

// Bytes is the buffer as it is.
func (o *Object) Bytes() []byte { return o.dst }

// Set replaces the buffer with one that has a value appended.
func (o *Object) Set(dst []byte) { o.dst = dst }

// End ends the object and gives the buffer.
func (o *Object) End() []byte { return append(o.dst, '}') }

// Filter appends a canonical object with those of its members whose key keep accepts. keep
// gets the key still escaped, as [Members] does.
func Filter(dst, object []byte, keep func(key []byte) bool) []byte {
	w := Begin(dst)
	for key, value := range Members(object) {
		if keep(key) {
			w.member(key, value)
		}
	}
	return w.End()
}

// SetMember appends a canonical object with one member added or replaced. value must be
// canonical.
func SetMember(dst, object []byte, key string, value []byte) []byte {
	quoted := AppendString(nil, key)
	escaped := quoted[1 : len(quoted)-1]
	w := Begin(dst)
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
	return w.End()
}

func (o *Object) member(key, value []byte) {
	o.Key(key)
	o.dst = append(o.dst, value...)
}
