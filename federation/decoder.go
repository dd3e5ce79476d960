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
	err  error
}

func newDecoder(from io.Reader) *decoder { return &decoder{json: json.NewDecoder(from)} }

// delim reads one of []{}.
func (d *decoder) delim(want json.Delim) bool {
	if d.err != nil {
		return false
	}
	token, err := d.json.Token()
	switch {
	case err != nil:
		d.fail(err)
	case token != want:
		d.err = fmt.Errorf("the answer has not the expected form: %v instead of %v", token, want)
	}
	return d.err == nil
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
	for d.err == nil && d.json.More() {
		token, err := d.json.Token()
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
	if d.err != nil {
		return nil
	}
	token, err := d.json.Token()
	if err != nil {
		d.fail(err)
		return nil
	}
	if token == nil {
		return nil
	}
	if token != json.Delim('[') {
		d.err = errors.New("the answer has not the expected form: a list of events is not an array")
		return nil
	}
	var list []json.RawMessage
	for d.err == nil && d.json.More() {
		if len(list) == most {
			d.err = fmt.Errorf("the answer has more than %d events", most)
			return nil
		}
		list = append(list, d.raw())
	}
	d.delim(']')
	return list
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
	if err := d.json.Decode(into); err != nil {
		d.fail(err)
	}
}

// skip reads a value and drops it.
func (d *decoder) skip() { d.raw() }
