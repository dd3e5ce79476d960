package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"hanse/federation"
	"hanse/federation/exactjson"
	"hanse/federation/id"
)

// call is one request: what is special about an endpoint.
type call struct {
	endpoint string // its name, for errors and logs
	method   string
	path     string     // escaped
	query    url.Values // may be nil
	body     []byte     // a JSON object; nil for GET
	unsigned bool       // no X-Matrix: the key endpoints and version
	timeout  time.Duration
	limit    int64
	large    bool              // the answer counts against Limits.Held
	accept   string            // the Accept header; "": application/json
	header   func(http.Header) // gets the answer's header, if the status is 2xx, before read; may be nil
}

// uri is the request's target as it is sent and signed.
func (q *call) uri() string {
	if len(q.query) == 0 {
		return q.path
	}
	return q.path + "?" + q.query.Encode()
}

// do makes a call. read gets the answer's body if the status is 2xx. Whatever goes wrong is an *Error.
func (c *Client) do(ctx context.Context, server id.ServerName, q call, read func(io.Reader) error) error {
	fail := &Error{Server: server, Endpoint: q.endpoint}
	targets, err := c.resolver.Resolve(ctx, server)
	if err == nil && len(targets) == 0 {
		err = errors.New("the server has no address")
	}
	if err != nil {
		fail.Stage, fail.Err, fail.Temporary = StageResolve, err, true
		fail.Timeout = isTimeout(err)
		return fail
	}
	attempt := newAttempt(ctx, server, targets, 2*c.timeouts.Connecting, q.timeout, c.timeouts.Stall)
	defer attempt.end()
	response, err := c.send(attempt, targets[0].Host, server, q)
	if err != nil {
		attempt.failed(fail, err, nil)
		if fail.Unreachable() && ctx.Err() == nil {
			c.resolver.Forget(server)
		}
		return fail
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		body := attempt.body(response, maxErrorBody)
		defer body.finish()
		fail.refused(response, body)
		return fail
	}
	if q.header != nil {
		q.header(response.Header)
	}
	body := attempt.body(response, q.limit)
	defer body.finish()
	if q.large {
		defer c.count(ctx, body)()
	}
	if err := read(body); err != nil {
		fail.Status = response.StatusCode
		attempt.failed(fail, err, body)
		return fail
	}
	return nil
}

// send signs and sends the request and waits for the answer's header.
func (c *Client) send(attempt *attempt, host string, server id.ServerName, q call) (*http.Response, error) {
	uri := q.uri()
	request := c.http.R().SetContext(attempt.ctx).SetHeader("Host", host)
	if !q.unsigned {
		authorization, err := federation.SignRequest(c.key, q.method, uri, c.origin, server, q.body)
		if err != nil {
			return nil, fmt.Errorf("the request's body is not good: %w", err)
		}
		request.SetHeader("Authorization", authorization.String())
	}
	if q.accept != "" {
		request.SetHeader("Accept", q.accept)
	}
	if q.body != nil {
		request.SetHeader("Content-Type", "application/json").SetBody(bytes.NewReader(q.body))
	}
	response, err := request.Execute(q.method, "https://"+poolKey(host)+uri)
	if err != nil {
		return nil, err
	}
	attempt.gotHeader()
	return response.RawResponse, nil
}

// refused fills in what an answer says that is an error.
func (e *Error) refused(response *http.Response, from io.Reader) {
	body, _ := io.ReadAll(from) // what came counts, all of it or not
	e.Stage = StageResponse
	e.Status = response.StatusCode
	e.Temporary = temporary(e.Status)
	e.Matrix = federation.DecodeError(e.Status, body)
	if e.Matrix.RetryAfterMS == 0 && e.Temporary {
		if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
			e.Matrix.RetryAfterMS = min(int64(seconds), 1<<31) * 1000
		}
	}
}

// into reads an answer of a bounded size as a whole.
func into(value any) func(io.Reader) error {
	return func(body io.Reader) error {
		data, err := io.ReadAll(body)
		if err != nil {
			return err
		}
		return exactjson.Unmarshal(data, value)
	}
}

// intoPair reads the [200, answer] of a v1 endpoint.
func intoPair(value any) func(io.Reader) error {
	return func(body io.Reader) error {
		data, err := io.ReadAll(body)
		if err != nil {
			return err
		}
		answer, err := federation.DecodePair(data)
		if err != nil {
			return err
		}
		return exactjson.Unmarshal(answer, value)
	}
}
