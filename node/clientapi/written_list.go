package clientapi

import (
	"net/http"
	"strconv"
	"time"

	"hanse/federation/canonicaljson"
	"hanse/federation/event"
)

// writtenList is an answer with a list of events that is written while they are read: the members of a large room are never in memory at
// once, and the client reads the first ones while the server reads the next. Who stops reading is cut off.
type writtenList struct {
	w       http.ResponseWriter
	now     time.Time
	text    []byte // not written yet
	written bool   // the answer has begun
	some    bool   // an event was added
}

// listPart is about how many bytes of a list are written at a time. What fits in is written as a whole.
const listPart = largeAnswer

func newWrittenList(w http.ResponseWriter) *writtenList {
	return &writtenList{w: w, now: time.Now(), text: []byte(`{"chunk":[`)}
}

// add adds an event. The error is that of writing, after which nobody waits for the rest.
func (l *writtenList) add(e *event.Event) error {
	if l.some {
		l.text = append(l.text, ',')
	}
	l.some = true
	var err error
	if l.text, err = appendPlain(l.text, e, l.now); err != nil || len(l.text) < listPart {
		return err
	}
	return l.write()
}

func (l *writtenList) write() error {
	if !l.written {
		l.written = true
		l.w.Header()["Content-Type"] = jsonType
		l.w.WriteHeader(http.StatusOK)
	}
	control := http.NewResponseController(l.w)
	_ = control.SetWriteDeadline(time.Now().Add(fileStall)) // not every connection has them, in tests
	_, err := l.w.Write(l.text)
	_ = control.SetWriteDeadline(time.Time{}) // as above
	l.text = l.text[:0]
	return err
}

// end ends the answer, with what a handler returns. An error that comes once the answer has begun breaks it off: the client must not take
// it for a whole one.
func (l *writtenList) end(err error) (any, error) {
	if err != nil && l.written {
		panic(http.ErrAbortHandler)
	}
	if err != nil {
		return nil, err
	}
	l.text = append(l.text, "]}"...)
	if !l.written {
		l.w.Header().Set("Content-Length", strconv.Itoa(len(l.text)))
	}
	_ = l.write() // the client is gone: nothing to do
	return served{http.StatusOK}, nil
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
