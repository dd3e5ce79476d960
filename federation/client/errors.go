package client

import (
	"fmt"
	"net/http"
	"strings"

	"hanse/federation"
	"hanse/federation/id"
)

// Stage says how far a call got.
type Stage = string

// The stages of a call, in their order.
const (
	StageResolve  Stage = "resolve"  // finding the server's addresses
	StageConnect  Stage = "connect"  // TCP, to any of them
	StageTLS      Stage = "tls"      // TCP worked, the certificate or the handshake did not
	StageRequest  Stage = "request"  // making and sending the request
	StageResponse Stage = "response" // the server has the request: it is slow, broke off, or answered something wrong
)

// Error is the failure of a call. Errors of this package's calls are all of this type.
type Error struct {
	Server id.ServerName
	// Endpoint is the endpoint's name, for people: "send_join".
	Endpoint string
	// Status is the answer's HTTP status; 0 when there was none.
	Status int
	// Matrix is what the server said, when Status is an error's; it never holds more than a bounded text.
	Matrix *federation.Error
	// Temporary: the same call may work later. It is true when there was no answer, and for the statuses 408, 429
	// and from 500 on.
	Temporary bool
	// Timeout: the server had the time it gets for this stage and let it pass. In StageConnect it can't be reached,
	// in StageResponse it is slow.
	Timeout bool
	Stage   Stage
	// Err is what happened, when the server did not answer or the answer was not understood.
	Err error
}

// Error says who failed, where and why.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s to %s: ", e.Endpoint, e.Server)
	switch {
	case e.Matrix != nil:
		fmt.Fprintf(&b, "refused: %v", e.Matrix)
	case e.Timeout && e.Stage == StageResponse:
		fmt.Fprintf(&b, "the server is slow: %v", e.Err)
	default:
		fmt.Fprintf(&b, "failed (%s): %v", e.Stage, e.Err)
	}
	return b.String()
}

// Unwrap is Err. What the server said (Matrix) is no part of the chain, so that nobody takes a peer's words for ours.
func (e *Error) Unwrap() error { return e.Err }

// Unreachable tells that no request reached the server.
func (e *Error) Unreachable() bool {
	return e.Stage == StageResolve || e.Stage == StageConnect || e.Stage == StageTLS
}

// Refusal is what the server said against the request; nil when it did not answer, or its answer can't be read. A
// request that can't even be made, whatever the server is, counts as refused with 400.
func (e *Error) Refusal() *federation.Error {
	if e.Matrix == nil && e.Stage == StageRequest && !e.Temporary {
		return federation.BadJSON(e.Error())
	}
	return e.Matrix
}

// unknownEndpoint tells whether the answer means that the server doesn't have the endpoint, rather than that the thing
// asked for does not exist. Old servers say so with a 404 or 400 that may have no JSON.
//
// spec:server-server-api#unsupported-endpoints
func (e *Error) unknownEndpoint() bool {
	if e.Matrix == nil {
		return false
	}
	switch e.Status {
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return e.Matrix.Code == federation.CodeUnrecognized || e.Matrix.Code == federation.CodeUnknown
	case http.StatusBadRequest:
		return e.Matrix.Code == federation.CodeUnrecognized
	}
	return false
}

func temporary(status int) bool {
	return status == http.StatusRequestTimeout || status == http.StatusTooManyRequests || status >= 500
}
