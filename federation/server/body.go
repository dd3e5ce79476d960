package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
	"unicode/utf8"

	"hanse/federation"
	"hanse/federation/exactjson"
)

// readBody reads a body of at most limit bytes that begins like a JSON object; whether it is one shows when it is decoded. Its
// bytes count against Limits.BodyMemory as they come, until release is called: a peer that announces much and sends little
// takes little.
func (a *api) readBody(w http.ResponseWriter, r *http.Request, limit int64) (body []byte, release func(), err error) {
	tooLarge := federation.TooLarge(fmt.Sprintf("the body is larger than %d bytes", limit))
	if r.ContentLength > limit {
		return nil, nil, tooLarge
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(a.limit.BodyTime)) // not every ResponseWriter can, in tests
	held, sender := int64(0), a.sender(r)
	give := func() { a.bodies.add(sender, -held) }
	from := http.MaxBytesReader(w, r.Body, limit)
	// With room for one more reading, without which the buffer would be made anew, twice as large, to find that nothing follows.
	buffer := bytes.NewBuffer(make([]byte, 0, min(max(r.ContentLength, 0), 64<<10)+bytes.MinRead))
	for {
		n, err := io.CopyN(buffer, from, 64<<10)
		held += n
		if !a.bodies.add(sender, n) {
			give()
			return nil, nil, federation.LimitExceeded(a.limit.RetryAfter)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			give()
			var much *http.MaxBytesError
			if errors.As(err, &much) {
				return nil, nil, tooLarge
			}
			return nil, nil, federation.NewError(http.StatusRequestTimeout, federation.CodeUnknown, "the body did not come in time, or not whole")
		}
	}
	_ = control.SetReadDeadline(time.Time{}) // as above
	r.Body = http.NoBody                     // it is read
	body = bytes.TrimSpace(buffer.Bytes())
	if len(body) == 0 || body[0] != '{' {
		give()
		return nil, nil, wrongBody(body, "it is not a JSON object")
	}
	return body, give, nil
}

// sender is where a request comes from, whoever it says to be of.
func (a *api) sender(r *http.Request) string {
	if a.From != nil {
		return a.From(r)
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// wrongBody tells a body that is no JSON at all from one that is not as it should be.
func wrongBody(body []byte, reason string) *federation.Error {
	if !utf8.Valid(body) || !json.Valid(body) {
		return federation.NotJSON("the body is not JSON")
	}
	return federation.BadJSON("the body has not the expected form: " + reason)
}

// decode reads a request's body into a value of the wire.
func decode(q *request, into any) error {
	if err := exactjson.Unmarshal(q.body, into); err != nil {
		return wrongBody(q.body, inWords(err))
	}
	return nil
}

// inWords says what is wrong with JSON without the names that things have here.
func inWords(err error) string {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
		return fmt.Sprintf("%s must not be a JSON %s", wrong.Field, wrong.Value)
	}
	return err.Error()
}
