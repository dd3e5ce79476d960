// Package client calls other servers: a method an endpoint. It finds the server, signs the request, tries the server's
// addresses in turn, bounds what it reads and says in its errors how far it got. It repeats nothing and queues
// nothing: that is federation/sender's and node/rooms's business.
package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"github.com/go-resty/resty/v2" // the house's HTTP client: requests, headers and contexts in one place

	"hanse/federation/id"
	"hanse/federation/signedjson"
	"hanse/resolver"
)

// Resolver finds the targets of a server. It caches, and may be called concurrently; an error means that the server
// can't be found now.
type Resolver interface {
	Resolve(ctx context.Context, server id.ServerName) ([]resolver.Target, error)
	// Forget is called when no target of the server could be reached: what is cached may be outdated.
	Forget(server id.ServerName)
}

// DialFunc opens a TCP connection to "ip:port". It must refuse addresses that other servers must not make us call.
type DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// Config is what a Client needs.
type Config struct {
	Origin    id.ServerName  // who we are
	Key       signedjson.Key // signs our requests
	Resolver  Resolver
	Dial      DialFunc     // nil: Resolver's method DialContext; without one every call fails
	TLS       *tls.Config  // trusted roots and the like; nil: the system's roots. It is cloned
	Timeouts  Timeouts     // zero values: the defaults
	Limits    Limits       // zero values: the defaults
	UserAgent string       // "": "Hanse"
	Log       *slog.Logger // nil: silent
}

// Client calls other servers. It is safe for concurrent use; connections are kept and reused, a pool a destination.
type Client struct {
	origin    id.ServerName
	key       signedjson.Key
	resolver  Resolver
	transport *transport
	http      *resty.Client
	web       *http.Client // for where other servers say that media is
	timeouts  Timeouts
	limits    Limits
	large     budget
	log       *slog.Logger
}

// New makes a client; it connects to nobody yet. Close it in the end.
func New(cfg Config) *Client {
	if cfg.UserAgent == "" {
		cfg.UserAgent = "Hanse"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	timeouts := cfg.Timeouts.withDefaults()
	t := newTransport(dialer(cfg), cfg.TLS, timeouts)
	plain := &http.Client{
		Transport: t,
		// A redirect would go to a server that nobody verified, with a signature made for another.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	log := cfg.Log.With("part", "federation/client")
	requests := resty.NewWithClient(plain).
		SetLogger(restyLogger{log}).
		SetDoNotParseResponse(true). // bodies are bounded and streamed here
		SetHeader("User-Agent", cfg.UserAgent).
		SetHeader("Accept", "application/json").
		SetPreRequestHook(repeatable)
	limits := cfg.Limits.withDefaults()
	return &Client{
		origin: cfg.Origin, key: cfg.Key, resolver: cfg.Resolver, transport: t, http: requests, web: newWeb(t),
		timeouts: timeouts, limits: limits, large: budget{most: limits.Held}, log: log,
	}
}

// repeatable marks a request as one that net/http may send again when a kept connection turns out dead: all of this
// API's requests are idempotent, by their transaction or event IDs. With a nil value the header is not sent.
func repeatable(_ *resty.Client, r *http.Request) error {
	r.Header["Idempotency-Key"] = nil
	return nil
}

// Close closes the idle connections. Calls under way go on.
func (c *Client) Close() {
	c.transport.close()
	c.web.CloseIdleConnections()
}

// dialer is the configured dialer, the resolver's guarded one, or one that refuses: never an unguarded one by accident.
func dialer(cfg Config) DialFunc {
	if cfg.Dial != nil {
		return cfg.Dial
	}
	if guard, ok := cfg.Resolver.(interface {
		DialContext(ctx context.Context, network, addr string) (net.Conn, error)
	}); ok {
		return guard.DialContext
	}
	return func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no dialer is configured")
	}
}

// restyLogger hands what resty has to say to our log. None of it concerns an operator.
type restyLogger struct{ log *slog.Logger }

func (l restyLogger) Errorf(format string, v ...any) { l.debug(format, v) }
func (l restyLogger) Warnf(format string, v ...any)  { l.debug(format, v) }
func (l restyLogger) Debugf(format string, v ...any) { l.debug(format, v) }

func (l restyLogger) debug(format string, v []any) { l.log.Debug(fmt.Sprintf(format, v...)) }
