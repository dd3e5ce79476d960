package server

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"strconv"

	"hanse/federation"
	"hanse/federation/places"
)

// streamed is an answer that may be too large to be made in memory.
type streamed interface{ EncodeJSON(to io.Writer) error }

// pair is an answer in the form of the v1 endpoints: [200, answer].
type pair struct{ answer any }

// answer writes an endpoint's answer.
func (a *api) answer(w http.ResponseWriter, r *http.Request, name string, answer any) {
	if content, isMedia := answer.(MediaContent); isMedia {
		a.sendMedia(w, r, name, content)
		return
	}
	inner, old := answer, false
	if p, isPair := answer.(pair); isPair {
		inner, old = p.answer, true
	}
	if large, isLarge := inner.(streamed); isLarge {
		a.stream(w, name, large, old)
		return
	}
	encoded, err := encode(inner)
	if err != nil {
		a.log.Error("an answer can't be encoded", "endpoint", name, "error", err)
		a.answerError(w, r, name, federation.Unknown())
		return
	}
	if old {
		encoded = federation.EncodePair(encoded)
	}
	a.write(w, name, http.StatusOK, encoded)
}

// encode makes the JSON of an answer; what is raw already stays as it is.
func encode(answer any) ([]byte, error) {
	switch answer := answer.(type) {
	case json.RawMessage:
		return answer, nil
	case json.Marshaler: // not through encoding/json, which would look at every byte again
		return answer.MarshalJSON()
	}
	return json.Marshal(answer)
}

// stream writes a large answer piece by piece. When it breaks off half-way, the connection is cut, so that the peer
// sees that it has not all.
func (a *api) stream(w http.ResponseWriter, name string, answer streamed, old bool) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	a.observe(name, http.StatusOK)
	read := paced(w)
	defer read.End()
	to := bufio.NewWriterSize(read, 64<<10)
	if old {
		_, _ = to.WriteString("[200,") // the writer keeps the error
	}
	err := answer.EncodeJSON(to)
	if old && err == nil {
		_, err = to.WriteString("]")
	}
	if err == nil {
		err = to.Flush()
	}
	if err != nil {
		a.log.Debug("an answer broke off", "endpoint", name, "reason", err)
		panic(http.ErrAbortHandler)
	}
}

// paced is the writer of an answer that cuts a peer off which doesn't read it, or too slowly.
func paced(w http.ResponseWriter) *places.Writer {
	if holding, ok := w.(*places.Writer); ok {
		return holding
	}
	return places.Paced(w, pace)
}

// answerError writes the standard error.
func (a *api) answerError(w http.ResponseWriter, r *http.Request, name string, e *federation.Error) {
	if e.RetryAfterMS > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt((e.RetryAfterMS+999)/1000, 10))
	}
	if places.LeavesUnread(r) {
		w.Header().Set("Connection", "close")
	}
	encoded, err := json.Marshal(e)
	if err != nil { // texts and numbers: it can't be
		encoded = []byte(`{"errcode":"M_UNKNOWN","error":"internal server error"}`)
	}
	status := e.Status
	if status < 400 || status > 599 { // a handler forgot it
		status = http.StatusInternalServerError
	}
	a.write(w, name, status, encoded)
}

func (a *api) write(w http.ResponseWriter, name string, status int, body []byte) {
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if len(body) > largeAnswer {
		read := paced(w)
		defer read.End()
		w = read
	}
	_, _ = w.Write(body) // the peer is gone: nothing to do
	a.observe(name, status)
}

func (a *api) observe(name string, status int) {
	if a.Observe != nil {
		a.Observe(name, status)
	}
}
