package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"hanse/federation"
	"hanse/federation/authrules"
	"hanse/federation/client"
	"hanse/federation/places"
	"hanse/node/clientsync"
	"hanse/node/rooms"
)

// badRequest and its sisters make the errors that handlers return. What they say goes to the client.
func badRequest(code, format string, args ...any) *federation.Error {
	return &federation.Error{Status: http.StatusBadRequest, Code: code, Message: fmt.Sprintf(format, args...)}
}

func badJSON(format string, args ...any) *federation.Error {
	return badRequest("M_BAD_JSON", format, args...)
}

func invalidParam(format string, args ...any) *federation.Error {
	return badRequest("M_INVALID_PARAM", format, args...)
}

func missingParam(name string) *federation.Error {
	return badRequest("M_MISSING_PARAM", "%s is missing", name)
}

func forbidden(format string, args ...any) *federation.Error {
	return &federation.Error{Status: http.StatusForbidden, Code: "M_FORBIDDEN", Message: fmt.Sprintf(format, args...)}
}

func notFound(format string, args ...any) *federation.Error {
	return &federation.Error{Status: http.StatusNotFound, Code: "M_NOT_FOUND", Message: fmt.Sprintf(format, args...)}
}

func unrecognized(status int, format string, args ...any) *federation.Error {
	return &federation.Error{Status: status, Code: "M_UNRECOGNIZED", Message: fmt.Sprintf(format, args...)}
}

// limitedError is a refusal for going too fast.
type limitedError struct{ after time.Duration }

func (e *limitedError) Error() string { return "too many requests, retry after " + e.after.String() }

// statusGivenUp is the status of requests whose client has gone: nobody reads it, but it is counted, and it is not the
// server's fault. 499 is what proxies use for that.
const statusGivenUp = 499

// answer is a response whose status is not 200, or whose body is not made from a Go value.
type answer struct {
	status int
	body   any
}

// wireError finds what the client is told about an error; the second value says whether the error itself is worth an
// operator's attention.
func wireError(err error) (wire *federation.Error, ours bool) {
	var (
		matrix    *federation.Error
		rejection *authrules.Rejection
		remote    *client.Error
		tooLarge  *http.MaxBytesError
	)
	switch {
	case errors.As(err, &matrix):
		wire := *matrix
		if wire.Status == 0 {
			wire.Status = http.StatusInternalServerError
		}
		return &wire, false
	case errors.As(err, &rejection):
		return forbidden("%s", rejection.Reason), false
	case errors.As(err, &tooLarge):
		return &federation.Error{Status: http.StatusRequestEntityTooLarge, Code: "M_TOO_LARGE",
			Message: fmt.Sprintf("the request body is larger than %d bytes", tooLarge.Limit)}, false
	case errors.Is(err, clientsync.ErrLoggedOut):
		return &federation.Error{Status: http.StatusUnauthorized, Code: "M_UNKNOWN_TOKEN", Message: "the device was logged out"}, false
	case errors.Is(err, rooms.ErrStopped):
		return &federation.Error{Status: http.StatusServiceUnavailable, Code: "M_UNKNOWN", Message: "this server is shutting down"}, false
	case errors.As(err, &remote):
		return remoteError(remote), false
	case errors.Is(err, context.DeadlineExceeded):
		return &federation.Error{Status: http.StatusGatewayTimeout, Code: "M_UNKNOWN", Message: "this took too long"}, false
	case errors.Is(err, context.Canceled):
		return &federation.Error{Status: statusGivenUp, Code: "M_UNKNOWN", Message: "the request was given up"}, false
	}
	return &federation.Error{Status: http.StatusInternalServerError, Code: "M_UNKNOWN", Message: "internal server error"}, true
}

// isNotFound tells whether an error is M_NOT_FOUND, of ours or another server's.
func isNotFound(err error) bool {
	var matrix *federation.Error
	if errors.As(err, &matrix) {
		return matrix.Code == federation.CodeNotFound
	}
	var remote *client.Error
	return errors.As(err, &remote) && remote.Matrix != nil && remote.Matrix.Code == federation.CodeNotFound
}

// isRemote tells whether another server could not be asked, or refused.
func isRemote(err error) bool {
	var remote *client.Error
	return errors.As(err, &remote)
}

// remoteError tells a client what another server answered, or that it did not.
func remoteError(e *client.Error) *federation.Error {
	if e.Matrix != nil && e.Status >= 400 && e.Status < 500 && e.Status != http.StatusUnauthorized {
		wire := *e.Matrix
		wire.Status = e.Status
		if e.Status == http.StatusTooManyRequests { // it limits us, not this client
			wire.Status, wire.Code = http.StatusBadGateway, "M_UNKNOWN"
		}
		return &wire
	}
	message := "%s can't be reached"
	switch {
	case e.Timeout && e.Stage == client.StageResponse:
		message = "%s did not answer in time"
	case e.Status == http.StatusOK:
		message = "the answer of %s can't be used, or broke off"
	case e.Status != 0:
		message = fmt.Sprintf("%%s answered with an error (HTTP %d)", e.Status)
	}
	return &federation.Error{Status: http.StatusBadGateway, Code: "M_UNKNOWN", Message: fmt.Sprintf(message, e.Server)}
}

// writeError writes the standard error response and returns its status.
//
// spec:client-server-api#standard-error-response
func (a *API) writeError(w http.ResponseWriter, r *request, err error) int {
	if isPage(r.route) {
		return a.writeErrorPage(r, err)
	}
	var limited *limitedError
	if errors.As(err, &limited) {
		return writeLimited(w, limited.after)
	}
	wire, ours := wireError(err)
	if wire.Status == http.StatusTooManyRequests {
		return writeLimited(w, wire.RetryAfter())
	}
	if ours {
		a.log.Error("a client's request failed", "method", r.Method, "route", r.route, "error", err)
	} else {
		a.log.Debug("a client's request was refused", "method", r.Method, "route", r.route, "status", wire.Status, "error", err)
	}
	if wire.Status == http.StatusServiceUnavailable && wire.RetryAfterMS == 0 {
		wire.RetryAfterMS = busyRetry.Milliseconds()
	}
	if wire.RetryAfterMS > 0 {
		w.Header().Set("Retry-After", retryAfter(wire.RetryAfterMS))
	}
	if wire.Message == "" {
		wire.Message = http.StatusText(wire.Status)
	}
	return writeJSON(w, wire.Status, wire)
}

// writeLimited answers 429.
//
// spec:client-server-api#rate-limiting
func writeLimited(w http.ResponseWriter, after time.Duration) int {
	ms := max(after.Milliseconds(), 1)
	w.Header().Set("Retry-After", retryAfter(ms))
	return writeJSON(w, http.StatusTooManyRequests, map[string]any{
		"errcode": "M_LIMIT_EXCEEDED", "error": "Too many requests, wait a moment", "retry_after_ms": ms,
	})
}

// retryAfter is the header's value: whole seconds.
func retryAfter(ms int64) string { return strconv.FormatInt((ms+999)/1000, 10) }

// jsonType is the Content-Type of all such answers, which share it.
var jsonType = []string{"application/json"}

// writeJSON writes a body, and is what every answer goes through that isn't written by and by.
func writeJSON(w http.ResponseWriter, status int, body any) int {
	return writeEncoded(w, status, body, func(int) *places.Writer { return places.Paced(w, reading) })
}

// write writes the answer to a request that has a turn.
func (a *API) write(w http.ResponseWriter, r *request, t *turn, status int, body any) int {
	return writeEncoded(w, status, body, func(size int) *places.Writer { return a.writer(w, r, t, heldPerByte*int64(size)) })
}

// writeEncoded writes a body, by writer if it doesn't fit into what net/http keeps: who doesn't read it would keep a place in a lane.
func writeEncoded(w http.ResponseWriter, status int, body any, writer func(size int) *places.Writer) int {
	var encoded []byte
	switch b := body.(type) {
	case nil:
		encoded = []byte("{}")
	case json.RawMessage:
		encoded = b
	default:
		var err error
		if encoded, err = marshal(b); err != nil {
			status, encoded = http.StatusInternalServerError, []byte(`{"errcode":"M_UNKNOWN","error":"internal server error"}`)
		}
	}
	h := w.Header()
	h["Content-Type"] = jsonType
	if len(encoded) <= plainAnswer && h["Connection"] == nil { // else it is sent before the request has ended
		w.WriteHeader(status)
		_, _ = w.Write(encoded) // the client is gone: nothing to do
		return status
	}
	h.Set("Content-Length", strconv.Itoa(len(encoded)))
	w.WriteHeader(status)
	read := writer(len(encoded))
	defer read.End()
	_, _ = read.Write(encoded) // as above
	return status
}
