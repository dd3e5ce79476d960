package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"hanse/federation/id"
	"hanse/resolver"
)

// How far an attempt has come.
const (
	connecting int32 = iota // no connection yet
	connected               // from here on it is the server that counts
	wrote                   // the request is out
	answered                // the answer's header is there
)

// attempt watches over one call's way: it knows the targets to dial, how far the call has come, and ends it when the
// server lets its time pass.
type attempt struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	server  id.ServerName
	targets []resolver.Target

	phase  atomic.Int32
	timer  *time.Timer // runs while something is expected to happen
	queue  time.Duration
	header time.Duration
	stall  time.Duration
}

// attemptKey is the context key under which the transport finds the attempt.
type attemptKey struct{}

// errSlow is why an attempt was ended: the server has let its time pass.
type errSlow struct {
	what string
	time time.Duration
}

func (e errSlow) Error() string { return fmt.Sprintf("%s for %v", e.what, e.time) }

// newAttempt begins an attempt. Connecting has time-outs of its own (dialTLS); queue bounds the wait for a connection
// where a server has so many that no more are made.
func newAttempt(ctx context.Context, server id.ServerName, targets []resolver.Target, queue, header, stall time.Duration) *attempt {
	a := &attempt{server: server, targets: targets, queue: queue, header: header, stall: stall}
	ctx, a.cancel = context.WithCancelCause(context.WithValue(ctx, attemptKey{}, a))
	a.timer = time.AfterFunc(queue, func() { a.cancel(a.slow()) })
	a.ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) {
			a.phase.Store(connected)
			a.timer.Reset(a.header)
		},
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				a.phase.CompareAndSwap(connected, wrote)
			}
		},
	})
	return a
}

func (a *attempt) slow() error {
	switch a.phase.Load() {
	case answered:
		return errSlow{"the answer stood still, or nearly,", a.stall}
	case wrote:
		return errSlow{"no answer", a.header}
	case connected:
		return errSlow{"it did not take the request", a.header}
	}
	return errSlow{"no free connection", a.queue}
}

// gotHeader notes that the answer began.
func (a *attempt) gotHeader() {
	a.timer.Stop()
	a.phase.Store(answered)
}

// end frees what the attempt holds.
func (a *attempt) end() {
	a.timer.Stop()
	a.cancel(nil)
}

// failed says where and why a call got no answer, or not all of it. body is the answer's, nil if there was none.
func (a *attempt) failed(e *Error, err error, body *answerBody) {
	var dial *dialError
	var slow errSlow
	e.Temporary = true
	switch {
	case errors.As(err, &dial):
		e.Stage, e.Err, e.Timeout = dial.stage, dial, dial.timeout
		return
	case errors.As(context.Cause(a.ctx), &slow):
		e.Stage, e.Err, e.Timeout = StageResponse, slow, true
		if a.phase.Load() == connecting {
			e.Stage = StageConnect
		}
		return
	}
	e.Err, e.Timeout = plain(err), isTimeout(err)
	switch phase := a.phase.Load(); {
	case body != nil: // what came whole and can't be used won't be better next time
		e.Stage, e.Temporary = StageResponse, body.broken
	case phase >= wrote:
		e.Stage = StageResponse
	case phase == connected:
		e.Stage = StageRequest
	case a.ctx.Err() != nil: // the caller gave up
		e.Stage = StageConnect
	default: // it can't be sent, whatever the server does
		e.Stage, e.Temporary = StageRequest, false
	}
}

// plain takes off net/http's "Put "https://…":", which repeats what Error says.
func plain(err error) error {
	var outer *url.Error
	if errors.As(err, &outer) {
		return outer.Err
	}
	return err
}

// answerBody reads an answer's body: it ends the attempt when the body stands still or only trickles, and says so when there
// are more than left bytes.
type answerBody struct {
	attempt *attempt
	from    io.ReadCloser
	left    int64
	limit   int64
	window  time.Duration // what is left of the time for the next minProgress bytes; the reader's own work doesn't count
	came    int64         // of these bytes
	budget  *budget       // nil: its bytes are not counted
	counted int64         // bytes of budget
	broken  bool          // reading failed, so what was read is not all
}

func (a *attempt) body(response *http.Response, limit int64) *answerBody {
	return &answerBody{attempt: a, from: response.Body, left: limit, limit: limit, window: a.stall}
}

// errTooLarge is the error of an answer that is larger than the endpoint's limit.
type errTooLarge struct{ limit int64 }

func (e errTooLarge) Error() string {
	return fmt.Sprintf("the answer is larger than %d bytes", e.limit)
}

// Read implements io.Reader.
func (b *answerBody) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	began := time.Now()
	b.attempt.timer.Reset(b.window)
	n, err := b.from.Read(p)
	b.attempt.timer.Stop()
	b.window -= time.Since(began)
	if b.came += int64(n); b.came >= minProgress {
		b.window, b.came = b.attempt.stall, 0
	}
	if err != nil && err != io.EOF {
		b.broken = true
	}
	if int64(n) > b.left {
		return int(b.left), errTooLarge{b.limit}
	}
	b.left -= int64(n)
	if b.budget != nil {
		b.counted += int64(n)
		if over := b.budget.take(int64(n)); over != nil {
			b.broken = true
			return n, over
		}
	}
	return n, err
}

// finish makes the connection usable for the next call if the answer is at its end, or nearly.
func (b *answerBody) finish() {
	b.left, b.budget = max(b.left, maxDrain), nil
	_, _ = io.CopyN(io.Discard, b, maxDrain) // an error only costs the connection
	_ = b.from.Close()
}
