// Package exactjson reads JSON that others wrote into Go values, by exact names.
//
// encoding/json also takes a member whose name differs from a field's in case alone ("Membership" for "membership"), and of
// two members for one field it mixes the values. The names of Matrix are exact, and what decides about events reads them so:
// a reader that took "Membership" would see a join where the authorisation rules see none.
package exactjson

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxNesting is how deep arrays and objects may stand in each other where a type goes as deep, as in canonicaljson.
const maxNesting = 1000

// Unmarshal is [json.Unmarshal], but a member goes into a field only if its name is the field's, to the letter; of several
// for one field the last counts, as if the others weren't there, which is how Synapse reads; and what isn't UTF-8 is an
// error. Types with methods of their own for it (UnmarshalJSON) see their text as it came: they are to read it by Unmarshal too.
//
// As there, null leaves a value as it is, and an integer is written without a fraction or an exponent.
func Unmarshal(data []byte, into any) error {
	if !utf8.Valid(data) {
		return errors.New("the JSON is not UTF-8")
	}
	t := reflect.TypeOf(into)
	if t == nil || t.Kind() != reflect.Pointer {
		return json.Unmarshal(data, into) // which says what is wrong
	}
	r := reader{text: data}
	if t = within(t); t != nil {
		r.value(t, 0)
	}
	if r.deep {
		return errors.New("the JSON is nested too deep")
	}
	return json.Unmarshal(r.text, into)
}

// reader goes through a text beside the type that it is for, and hides the names of members that are not to be read. Text
// that is no JSON ends it somewhere: encoding/json will say so.
type reader struct {
	text   []byte
	at     int
	copied bool // text is a copy, in which names are hidden
	deep   bool // something is nested deeper than maxNesting

	many    bool        // there may be many of a struct
	structs []structure // then, those met: reflect is slow
}

// structure is a struct type and its fields.
type structure struct {
	typ    reflect.Type
	fields []field
}

// field is a field of a struct, by its name in JSON; typ is [within] it.
type field struct {
	name string
	typ  reflect.Type
}

// place is where a name stands in the text, without its quotes; 0, 0: nowhere.
type place struct{ start, end int }

// usualFields is how many fields a struct may have for which the stack has room.
const usualFields = 24

// within is the type behind pointers in which there can be fields with names; nil if there are none, or if encoding/json leaves the
// text to the type.
func within(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer && !readsItself(t) {
		t = t.Elem()
	}
	if readsItself(reflect.PointerTo(t)) {
		return nil
	}
	switch t.Kind() {
	case reflect.Struct:
		return t
	case reflect.Map, reflect.Slice, reflect.Array:
		if holdsNames(t.Elem()) {
			return t
		}
	}
	return nil
}

// readsItself tells whether encoding/json leaves a type's text to the type.
func readsItself(t reflect.Type) bool {
	return t.Implements(reflect.TypeFor[json.Unmarshaler]()) || t.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// holdsNames tells whether there can be fields in an element, without looking at what it has for elements.
func holdsNames(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct, reflect.Map, reflect.Slice, reflect.Array, reflect.Pointer:
		return !readsItself(reflect.PointerTo(t))
	}
	return false
}

// value passes over a value that is for a type, as [within] gives it.
func (r *reader) value(t reflect.Type, nesting int) {
	r.space()
	if r.at == len(r.text) {
		return
	}
	opening := r.text[r.at]
	switch {
	case opening != '{' && opening != '[':
		r.scalar()
	case t == nil:
		r.nested()
	case nesting == maxNesting:
		r.deep, r.at = true, len(r.text)
	case opening == '{' && t.Kind() == reflect.Struct:
		var room [usualFields]field
		r.object(r.fieldsOf(t, room[:0]), nil, nesting+1)
	case opening == '{' && t.Kind() == reflect.Map:
		r.many = true
		r.object(nil, within(t.Elem()), nesting+1)
	case opening == '[' && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array):
		r.many = true
		r.array(within(t.Elem()), nesting+1)
	default:
		r.nested()
	}
}

// object passes over an object: for a struct of those fields or, if there are none, with values for each.
func (r *reader) object(fields []field, each reflect.Type, nesting int) {
	var room [usualFields]place
	last := room[:] // where the name of each field was last
	if len(fields) > len(last) {
		last = make([]place, len(fields))
	}
	for r.at++; r.next('}'); {
		start := r.at + 1
		if r.text[r.at] != '"' {
			r.at = len(r.text)
			break
		}
		r.string()
		name := place{start, r.at - 1}
		if r.space(); r.at == len(r.text) || r.text[r.at] != ':' {
			r.at = len(r.text)
			break
		}
		r.at++
		typ := each
		if len(fields) > 0 {
			typ = r.member(fields, last, name)
		}
		r.value(typ, nesting)
	}
}

// member is the type of the field that a name is of, nil if it is of none. A name that is almost a field's is hidden, and so is the
// last one of the same field.
func (r *reader) member(fields []field, last []place, name place) reflect.Type {
	key := r.text[name.start:name.end]
	if bytes.IndexByte(key, '\\') >= 0 {
		var text string
		if json.Unmarshal(bytes.Clone(r.text[name.start-1:name.end+1]), &text) != nil {
			return nil
		}
		key = []byte(text)
	}
	for i := range fields {
		if string(key) == fields[i].name {
			if last[i].end > 0 {
				r.hide(last[i])
				r.many = true
			}
			last[i] = name
			return fields[i].typ
		}
	}
	for i := range fields {
		if strings.EqualFold(string(key), fields[i].name) {
			r.hide(name)
			break
		}
	}
	return nil
}

// hide makes a name one that no field has.
func (r *reader) hide(name place) {
	if !r.copied {
		r.text, r.copied = bytes.Clone(r.text), true
	}
	for i := name.start; i < name.end; i++ {
		r.text[i] = ' '
	}
}

// fieldsOf are the fields of a struct; where there is one of it they are put into room, if they have room there.
func (r *reader) fieldsOf(t reflect.Type, room []field) []field {
	if !r.many {
		return collect(room, t)
	}
	for i := range r.structs {
		if r.structs[i].typ == t {
			return r.structs[i].fields
		}
	}
	fields := collect(nil, t)
	r.structs = append(r.structs, structure{t, fields})
	return fields
}

// collect appends the fields of a struct, then those of the structs embedded in it, which count if their names aren't there yet.
func collect(fields []field, t reflect.Type) []field {
	for _, embedded := range []bool{false, true} {
		for i := range t.NumField() {
			f := t.Field(i)
			tag := f.Tag.Get("json")
			name, _, _ := strings.Cut(tag, ",")
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			switch promoted := f.Anonymous && name == "" && inner.Kind() == reflect.Struct; {
			case promoted != embedded || tag == "-" || !promoted && !f.IsExported():
			case promoted:
				fields = collect(fields, inner)
			default:
				if name == "" {
					name = f.Name
				}
				if !slices.ContainsFunc(fields, func(f field) bool { return f.name == name }) {
					fields = append(fields, field{name, within(f.Type)})
				}
			}
		}
	}
	return fields
}

// array passes over an array of elements of a type.
func (r *reader) array(each reflect.Type, nesting int) {
	for r.at++; r.next(']'); {
		r.value(each, nesting)
	}
}

// next goes to the next member or element; false if there is none, behind the end.
func (r *reader) next(end byte) bool {
	r.space()
	if r.at < len(r.text) && r.text[r.at] == ',' {
		r.at++
		r.space()
	}
	if r.at == len(r.text) {
		return false
	}
	if c := r.text[r.at]; c == '}' || c == ']' || c == ':' || c == ',' {
		r.at++
		if c != end {
			r.at = len(r.text)
		}
		return false
	}
	return true
}

func (r *reader) space() {
	for r.at < len(r.text) && (r.text[r.at] == ' ' || r.text[r.at] == '\n' || r.text[r.at] == '\t' || r.text[r.at] == '\r') {
		r.at++
	}
}

// scalar passes over a string, a number, true, false or null.
func (r *reader) scalar() {
	if r.text[r.at] == '"' {
		r.string()
		return
	}
	for r.at < len(r.text) {
		switch r.text[r.at] {
		case ',', '}', ']', ' ', '\n', '\t', '\r':
			return
		}
		r.at++
	}
}

// string passes over a string.
func (r *reader) string() {
	for begin := r.at + 1; ; {
		length := bytes.IndexByte(r.text[begin:], '"')
		if length < 0 {
			r.at = len(r.text)
			return
		}
		end := begin + length
		escapes := 0
		for end-escapes > begin && r.text[end-escapes-1] == '\\' {
			escapes++
		}
		begin = end + 1
		if escapes%2 == 0 {
			r.at = begin
			return
		}
	}
}

// nested passes over an object or an array in which nothing is of interest.
func (r *reader) nested() {
	for depth := 0; r.at < len(r.text); {
		switch r.text[r.at] {
		case '"':
			r.string()
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		r.at++
		if depth == 0 {
			return
		}
	}
}
