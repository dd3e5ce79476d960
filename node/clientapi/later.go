package clientapi

import (
	"bytes"
	"crypto/rand"
	"net/http"
	"strconv"
	"time"

	"hanse/federation/canonicaljson"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/node/clientsync"
)

// later is a list or an object in an answer that is written while what is in it is read: the state of a large room is never in memory at
// once, and the client reads the first events while the server reads the next. Made by request.later.
type later struct {
	mark       string // stands for it in the encoded answer
	begin, end byte
	count      int
	each       func(add addLater) error
}

// addLater adds to an answer what encode appends: an element of a list, or a member of an object. The error is that of encode, or of
// writing, after which nobody waits for the rest.
type addLater func(encode func(dst []byte) ([]byte, error)) error

// MarshalJSON puts the mark into the answer.
func (l *later) MarshalJSON() ([]byte, error) { return strconv.AppendQuote(nil, l.mark), nil }

// later takes a part of the answer that each adds to when everything else of the answer is there: a list, or, with begin '{', an object. count
// is about how much that is.
func (r *request) later(begin byte, count int, each func(add addLater) error) *later {
	if r.laterMark == "" {
		r.laterMark = "later:" + rand.Text() + ":" // nobody else's text has it in it
	}
	l := &later{mark: r.laterMark + strconv.Itoa(len(r.laters)), begin: begin, end: begin + 2, count: count, each: each} // ']' and '}' are two further in ASCII
	r.laters = append(r.laters, l)
	return l
}

// laterEvents is a list of events of a room, about so many, without what is told beside them. Their IDs are asked for once the answer has its place.
func (r *request) laterEvents(room id.RoomID, count int, ids func() ([]id.EventID, error)) *later {
	now := time.Now()
	return r.later('[', count, func(add addLater) error {
		listed, err := ids()
		if err != nil {
			return err
		}
		return r.api.config.Rooms.EachEvent(r.Context(), room, listed, func(row clientsync.EventRow) error {
			return add(func(dst []byte) ([]byte, error) { return appendPlain(dst, row.Event, now) })
		})
	})
}

// stateSize is about how many events there are in a room's state that the user may see; 0 if none are, which what asks for them says.
func (r *request) stateSize(room id.RoomID) int {
	state, err := r.api.config.Rooms.StateMap(r.Context(), r.user, room)
	if err != nil {
		return 0
	}
	return state.Len()
}

// laterState is laterEvents of a whole state.
func (r *request) laterState(room id.RoomID, state roomstate.Map) *later {
	return r.laterEvents(room, state.Len(), func() ([]id.EventID, error) {
		ids := make([]id.EventID, 0, state.Len())
		for e, err := range state.Entries() {
			if err != nil {
				return nil, err
			}
			ids = append(ids, e.Event)
		}
		return ids, nil
	})
}

// writeLater writes an answer with what comes later, in the turn that its request has or, where much does, in one among the large ones. An error that comes once the answer has begun breaks it off: the client must not take it
// for a whole one.
func (a *API) writeLater(w http.ResponseWriter, r *request, body any, t *turn) int {
	encoded, err := marshal(body)
	if err != nil {
		return a.writeError(w, r, err)
	}
	large, all := 0, 0
	for _, l := range r.laters {
		large, all = max(large, l.count), all+l.count
	}
	if large > largeState && t.lane != a.lanes.large {
		t.leave()
		if t, err = a.lanes.large.take(r.Context(), a.sharer(r)); err != nil {
			return a.writeError(w, r, err)
		}
		defer t.leave()
	}
	read := a.writer(w, r, t, heldPerByte*int64(len(encoded))+heldByLater+heldPerEvent*int64(all))
	defer read.End()
	out := &laterWriter{w: read}
	for more := true; more && err == nil; {
		var text []byte
		text, encoded, more = bytes.Cut(encoded, []byte(`"`+r.laterMark))
		if err = out.add(text); err != nil || !more {
			break
		}
		var number []byte
		number, encoded, _ = bytes.Cut(encoded, []byte(`"`))
		n, _ := strconv.Atoi(string(number)) // as later wrote it
		err = out.list(r.laters[n])
	}
	if err != nil && !out.written {
		return a.writeError(w, r, err)
	}
	if err != nil {
		if !out.lost && r.Context().Err() == nil {
			a.log.Error("a client's request failed in the middle of its answer, which was broken off", "method", r.Method, "route", r.route, "error", err)
		}
		panic(http.ErrAbortHandler)
	}
	if !out.written {
		w.Header().Set("Content-Length", strconv.Itoa(len(out.text)))
	}
	_ = out.write() // the client is gone: nothing to do
	return http.StatusOK
}

// laterWriter writes an answer by and by.
type laterWriter struct {
	w       http.ResponseWriter
	text    []byte // not written yet
	written bool   // the answer has begun
	lost    bool   // the client doesn't read it any more
}

// laterPart is about how many bytes are written at a time. An answer that fits in is written as a whole.
const laterPart = 64 << 10

func (o *laterWriter) add(text []byte) error {
	o.text = append(o.text, text...)
	if len(o.text) < laterPart {
		return nil
	}
	return o.write()
}

func (o *laterWriter) list(l *later) error {
	o.text = append(o.text, l.begin)
	some := false
	err := l.each(func(encode func(dst []byte) ([]byte, error)) error {
		if some {
			o.text = append(o.text, ',')
		}
		some = true
		var err error
		if o.text, err = encode(o.text); err != nil || len(o.text) < laterPart {
			return err
		}
		return o.write()
	})
	o.text = append(o.text, l.end)
	return err
}

func (o *laterWriter) write() error {
	if !o.written {
		o.written = true
		o.w.Header()["Content-Type"] = jsonType
		o.w.WriteHeader(http.StatusOK)
	}
	_, err := o.w.Write(o.text)
	o.lost = o.lost || err != nil
	o.text = o.text[:0]
	return err
}

// appendPlain encodes plainEvent.
func appendPlain(dst []byte, e *event.Event, now time.Time) ([]byte, error) {
	if _, redacts := e.Redacts(); redacts {
		raw, err := marshal(plainEvent(e, now))
		return append(dst, raw...), err
	}
	text := func(name, value string) {
		dst = canonicaljson.AppendString(append(dst, name...), value)
	}
	dst = append(append(dst, `{"content":`...), e.Content()...)
	text(`,"event_id":`, string(e.ID()))
	dst = strconv.AppendInt(append(dst, `,"origin_server_ts":`...), e.OriginServerTS(), 10)
	text(`,"room_id":`, string(e.RoomID()))
	text(`,"sender":`, string(e.Sender()))
	if stateKey, isState := e.StateKey(); isState {
		text(`,"state_key":`, stateKey)
	}
	text(`,"type":`, e.Type())
	dst = strconv.AppendInt(append(dst, `,"unsigned":{"age":`...), now.UnixMilli()-e.OriginServerTS(), 10)
	return append(dst, "}}"...), nil
}
