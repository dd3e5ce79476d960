package federation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// decoder reads a large JSON object member by member, so that never the text and its parts are held at once. It keeps
// the first error; after one, every method does nothing.
type decoder struct {
	json *json.Decoder
	in   *valueReader
	err  error
}

func newDecoder(from io.Reader) *decoder {
	in := &valueReader{from: from, left: maxValue}
	return &decoder{json: json.NewDecoder(in), in: in}
}

// valueReader reads no more than a value may have until next is called: json.Decoder holds the whole of each value, so one
// that doesn't end would take as much memory as the whole answer may have, twice.
type valueReader struct {
	from io.Reader
	left int
}

func (r *valueReader) next() { r.left = maxValue }

// Read reads what is left of the value.
func (r *valueReader) Read(into []byte) (int, error) {
	if r.left == 0 {
		return 0, fmt.Errorf("the answer holds a value of more than %d bytes", maxValue)
	}
	n, err := r.from.Read(into[:min(len(into), r.left)])
	r.left -= n
	return n, err
}

func (d *decoder) token() (json.Token, error) {
	d.in.next()
	return d.json.Token()
}

// delim reads one of []{}.
func (d *decoder) delim(want json.Delim) bool {
	if d.err != nil {
		return false
	}
	token, err := d.token()
	switch {
	case err != nil:
		d.fail(err)
	case token != want:
		d.err = fmt.Errorf("the answer has not the expected form: %v instead of %v", token, want)
	}
	return d.err == nil
}

// more tells whether there is another member or element.
func (d *decoder) more() bool {
	d.in.next()
	return d.json.More()
}

func (d *decoder) fail(err error) {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // the answer was cut off
	}
	d.err = err
}

// openPair reads the beginning of [200, …], the answers of v1 endpoints.
func (d *decoder) openPair() {
	if d.delim('[') {
		d.skip()
	}
}

// object reads an object; member is called with each member's name and must read its value.
func (d *decoder) object(member func(name string)) {
	if !d.delim('{') {
		return
	}
	for d.err == nil && d.more() {
		token, err := d.token()
		if err != nil {
			d.fail(err)
			return
		}
		name, _ := token.(string)
		member(name)
	}
	d.delim('}')
}

// list reads an array of at most most values; null is the empty list.
func (d *decoder) list(most int) []json.RawMessage {
	var list []json.RawMessage
	d.each(most, appendTo(&list))
	return list
}

// appendTo gathers values.
func appendTo(list *[]json.RawMessage) func(json.RawMessage) error {
	return func(raw json.RawMessage) error {
		*list = append(*list, raw)
		return nil
	}
}

// each is list that gives the values away as they come, until take returns an error.
func (d *decoder) each(most int, take func(json.RawMessage) error) {
	if d.err != nil {
		return
	}
	token, err := d.token()
	if err != nil {
		d.fail(err)
		return
	}
	if token == nil {
		return
	}
	if token != json.Delim('[') {
		d.err = errors.New("the answer has not the expected form: a list of events is not an array")
		return
	}
	for n := 0; d.err == nil && d.more(); n++ {
		if n == most {
			d.err = fmt.Errorf("the answer has more than %d events", most)
			return
		}
		if raw := d.raw(); d.err == nil {
			d.err = take(raw)
		}
	}
	d.delim(']')
}

func (d *decoder) raw() json.RawMessage {
	var raw json.RawMessage
	d.value(&raw)
	return raw
}

func (d *decoder) value(into any) {
	if d.err != nil {
		return
	}
	d.in.next()
	if err := d.json.Decode(into); err != nil {
		d.fail(err)
	}
}

// skip reads a value and drops it.
func (d *decoder) skip() { d.raw() }
