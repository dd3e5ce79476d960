package server

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"

	"hanse/federation"
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
	paced := &pacedWriter{ResponseWriter: w, control: http.NewResponseController(w), until: time.Now().Add(answerPatience)}
	to := bufio.NewWriterSize(paced, 64<<10)
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

// pacedWriter cuts a peer off that doesn't read, or too slowly, an answer of which the size isn't known.
type pacedWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	until   time.Time // when what was written so far must be read
}

func (p *pacedWriter) Write(data []byte) (int, error) {
	p.until = p.until.Add(time.Duration(len(data)) * time.Second / streamPace)
	deadline := time.Now().Add(answerPatience)
	if p.until.Before(deadline) {
		deadline = p.until
	}
	_ = p.control.SetWriteDeadline(deadline) // as in within
	return p.ResponseWriter.Write(data)
}

// answerError writes the standard error.
func (a *api) answerError(w http.ResponseWriter, r *http.Request, name string, e *federation.Error) {
	if e.RetryAfterMS > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt((e.RetryAfterMS+999)/1000, 10))
	}
	if e.Status == http.StatusRequestEntityTooLarge || e.Status == http.StatusRequestTimeout {
		w.Header().Set("Connection", "close") // the rest of the body is still to come
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
		within(w, answerTime(int64(len(body))))
	}
	_, _ = w.Write(body) // the peer is gone: nothing to do
	a.observe(name, status)
}

// within cuts a peer off that doesn't read its answer in time. It ends with the answer: the connection's next one has no limit, and over HTTP/2
// the others at the same time haven't.
func within(w http.ResponseWriter, limit time.Duration) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(limit)) // not every ResponseWriter can, in tests
}

func (a *api) observe(name string, status int) {
	if a.Observe != nil {
		a.Observe(name, status)
	}
}

// answerTime is how long a peer may take to read an answer of so many bytes.
func answerTime(size int64) time.Duration {
	return answerPatience + time.Duration(size/answerPace)*time.Second
}
