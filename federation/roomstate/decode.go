package roomstate

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strings"

	"hanse/federation/id"
)

// ErrCorrupt is what errors about the content of nodes wrap: what was stored is not what was written.
var ErrCorrupt = errors.New("room state is corrupt")

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...)
}

// decode reads the encoding of one node; the children of a branch are stubs. What is accepted is exactly what encode writes
// for a node that is alone; how nodes fit together is seen where they meet.
func decode(data []byte) (*node, error) {
	if len(data) < 2 {
		return nil, corrupt("a node of %d bytes", len(data))
	}
	if data[0] != version {
		return nil, corrupt("a node of the unknown version %d", data[0])
	}
	switch data[1] {
	case kindLeaf:
		return decodeLeaf(data[2:])
	case kindBranch:
		return decodeBranch(data[2:])
	}
	return nil, corrupt("a node of the unknown kind %d", data[1])
}

func decodeBranch(data []byte) (*node, error) {
	if len(data) < 4 {
		return nil, corrupt("a branch is cut short")
	}
	c := content{depth: data[0], bitmap: binary.BigEndian.Uint16(data[1:])}
	r := reader{data: data[3:]}
	size := r.number()
	count := bits.OnesCount16(c.bitmap)
	switch {
	case r.bad:
		return nil, corrupt("a branch is cut short")
	case c.depth >= pathNibbles:
		return nil, corrupt("a branch at depth %d", c.depth)
	case size <= leafSize || size > maxEntries:
		return nil, corrupt("a branch of %d entries", size)
	case count < 2 || len(r.data) != count*len(Hash{}):
		return nil, corrupt("a branch with %d children and %d bytes of hashes", count, len(r.data))
	}
	c.size = int(size)
	c.children = make([]*node, count)
	stubs := make([]node, count)
	for i := range stubs {
		copy(stubs[i].hash[:], r.data[i*len(Hash{}):])
		c.children[i] = &stubs[i]
	}
	return newContent(c), nil
}

func decodeLeaf(data []byte) (*node, error) {
	r := reader{data: data}
	count := r.number()
	if r.bad || count == 0 || count > uint64(len(r.data))/3 { // an entry has three bytes at least
		return nil, corrupt("a leaf claims %d entries in %d bytes", count, len(data))
	}
	n := newContent(content{entries: make([]entry, count), size: int(count)})
	r.texts.Grow(len(data) + int(count)*(hashedIDLength-32))
	spans := make([][3]int, count) // where the texts of each entry end
	for i := range spans {
		spans[i] = r.entry(i > 0)
	}
	if r.bad || len(r.data) != 0 {
		return nil, corrupt("a leaf is not as it is written")
	}
	texts, start := r.texts.String(), 0 // one allocation for all texts of the leaf
	for i := range n.entries {
		e, ends := &n.entries[i], spans[i]
		e.key.Type = texts[start:ends[0]]
		if i > 0 && start == ends[0] && !r.named[i] {
			e.key.Type = n.entries[i-1].key.Type
		} else if i > 0 && e.key.Type == n.entries[i-1].key.Type {
			return nil, corrupt("a leaf repeats a type")
		}
		e.key.StateKey = texts[ends[0]:ends[1]]
		e.event = id.EventID(texts[ends[1]:ends[2]])
		e.path = pathOf(e.key.Type, e.key.StateKey)
		if i > 0 && n.entries[i-1].path.compare(n.entries[i-1].key, e) >= 0 {
			return nil, corrupt("the entries of a leaf are not in order")
		}
		start = ends[2]
	}
	if count > leafSize && n.entries[0].path != n.entries[count-1].path {
		return nil, corrupt("a leaf of %d entries", count)
	}
	return n, nil
}

// reader takes numbers and texts from an encoding. After a fault bad is set and nothing else counts.
type reader struct {
	data  []byte
	texts strings.Builder // all texts read
	named []bool          // per entry: its type is spelt out
	bad   bool
}

// entry reads one entry and returns where its type, state key and event ID end in texts.
func (r *reader) entry(mayRepeat bool) (ends [3]int) {
	length := r.number()
	if length == 0 {
		r.bad = r.bad || !mayRepeat
	} else {
		r.text(length - 1)
	}
	r.named = append(r.named, length != 0)
	ends[0] = r.texts.Len()
	r.text(r.number())
	ends[1] = r.texts.Len()
	r.eventID()
	ends[2] = r.texts.Len()
	return ends
}

// number reads a varint in its shortest form.
func (r *reader) number() uint64 {
	value, n := binary.Uvarint(r.data)
	if n <= 0 || (n > 1 && r.data[n-1] == 0) {
		r.bad = true
		return 0
	}
	r.data = r.data[n:]
	return value
}

// text reads a text of that many bytes.
func (r *reader) text(length uint64) {
	if r.bad || length > maxText || length > uint64(len(r.data)) {
		r.bad = true
		return
	}
	r.texts.Write(r.data[:length])
	r.data = r.data[length:]
}

// eventID reads an event ID in the form that appendEventID chooses for it.
func (r *reader) eventID() {
	if length := r.number(); length != 0 {
		start := r.texts.Len()
		r.text(length - 1)
		if length-1 == hashedIDLength && !r.bad { // must not be one that has the short form
			text := id.EventID(r.texts.String()[start:])
			r.bad = len(appendEventID(nil, text)) == 33
		}
		return
	}
	if r.bad || len(r.data) < 32 {
		r.bad = true
		return
	}
	var text [hashedIDLength]byte
	text[0] = '$'
	base64.RawURLEncoding.Encode(text[1:], r.data[:32])
	r.texts.Write(text[:])
	r.data = r.data[32:]
}
