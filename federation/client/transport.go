package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"hanse/federation/id"
	"hanse/resolver"
)

// transport connects to servers and keeps the connections, a pool for each Host header: that names one server, however
// many addresses it has.
type transport struct {
	*http.Transport
	dial     DialFunc
	tls      *tls.Config
	timeouts Timeouts
}

func newTransport(dial DialFunc, config *tls.Config, timeouts Timeouts) *transport {
	t := &transport{dial: dial, timeouts: timeouts}
	if config == nil {
		config = &tls.Config{}
	}
	t.tls = config.Clone()
	t.tls.NextProtos = []string{"h2", "http/1.1"}
	t.tls.MinVersion = max(t.tls.MinVersion, tls.VersionTLS12)
	if t.tls.ClientSessionCache == nil {
		t.tls.ClientSessionCache = tls.NewLRUClientSessionCache(maxSessions)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	t.Transport = &http.Transport{
		DialTLSContext: t.dialTLS,
		DialContext:    func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("only HTTPS") },
		Protocols:      protocols,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout: pingAfter, PingTimeout: pingTimeout, MaxEncoderHeaderTableSize: noHeaderTable,
		},
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxIdlePerServer,
		MaxConnsPerHost:        maxPerServer,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeader,
	}
	return t
}

func (t *transport) close() { t.CloseIdleConnections() }

// poolKey is the authority that net/http files a server's connections under. A Host header without a port gets port 0,
// which no server has: "example.org" and "example.org:443" (what net/http would make of it) are different servers.
func poolKey(host string) string {
	if _, hasPort := id.ServerName(host).Port(); hasPort {
		return host
	}
	return host + ":0"
}

// dialError says that no target could be connected to.
type dialError struct {
	stage   Stage
	timeout bool
	errs    []error // one a target tried
}

func (e *dialError) Error() string {
	texts := make([]string, len(e.errs))
	for i, err := range e.errs {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (e *dialError) Unwrap() []error { return e.errs }

// dialTLS is http.Transport's DialTLSContext. The address it is given is only the pool's name; where to connect stands
// in the attempt that the context carries. Targets are tried in turn.
func (t *transport) dialTLS(ctx context.Context, network, _ string) (net.Conn, error) {
	attempt, ok := ctx.Value(attemptKey{}).(*attempt)
	if !ok {
		return nil, errors.New("a request that is no call")
	}
	ctx, cancel := context.WithTimeout(ctx, t.timeouts.Connecting)
	defer cancel()
	fail := &dialError{stage: StageConnect}
	targets := attempt.targets[:min(len(attempt.targets), maxTargets)]
	end, _ := ctx.Deadline()
	for i, target := range targets {
		if ctx.Err() != nil {
			break
		}
		// The first ones, of a host that is down, must not take the time of the one that stands in for it.
		share := time.Until(end) / time.Duration(len(targets)-i)
		conn, stage, err := t.dialTarget(ctx, network, target, min(t.timeouts.Connect, share))
		if err == nil {
			return conn, nil
		}
		if stage == StageTLS {
			fail.stage = StageTLS
		}
		fail.timeout = isTimeout(err)
		fail.errs = append(fail.errs, fmt.Errorf("%v (%s): %w", target.Addr, target.Via, err))
	}
	return nil, fail
}

// dialTarget connects to one address within a time, and checks its certificate.
func (t *transport) dialTarget(ctx context.Context, network string, target resolver.Target, within time.Duration) (net.Conn, Stage, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, within, errConnect{within.Round(100 * time.Millisecond)})
	defer cancel()
	conn, err := t.dial(ctx, network, target.Addr.String())
	if err != nil {
		return nil, StageConnect, causeOf(ctx, err)
	}
	config := t.tls.Clone()
	config.ServerName = target.TLSName
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // the handshake failed, nothing is lost
		return nil, StageTLS, causeOf(ctx, err)
	}
	return secure, "", nil
}

// errConnect is the time-out of connecting to one address.
type errConnect struct{ time time.Duration }

func (e errConnect) Error() string { return fmt.Sprintf("no connection within %v", e.time) }
func (e errConnect) Timeout() bool { return true }

// causeOf gives the reason of a time-out of ours instead of "deadline exceeded".
func causeOf(ctx context.Context, err error) error {
	if cause, ours := context.Cause(ctx).(errConnect); ours {
		return cause
	}
	return err
}

// isTimeout tells whether an error is one of time.
func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}
