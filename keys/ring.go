package keys

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"hanse/federation/event"
	"hanse/federation/id"
)

// RingConfig is what a Ring needs.
type RingConfig struct {
	Self     id.ServerName   // our name: our own signatures are checked without asking anyone
	Own      *KeyFile        // our keys
	Store    Store           // nil: nothing is kept over restarts
	Fetcher  Fetcher         // how to ask other servers
	Notaries []id.ServerName // asked, in this order, for keys of servers that don't answer themselves
	Log      *slog.Logger    // nil: silent
}

// Ring finds keys and checks signatures. It is safe for concurrent use.
type Ring struct {
	cfg RingConfig
}

// NewRing makes a ring; it starts nothing.
func NewRing(cfg RingConfig) *Ring { return &Ring{cfg: cfg} }

// Request asks for one signature check: has Server signed Message?
type Request struct {
	Server     id.ServerName
	Message    []byte              // the signed bytes
	Signatures map[id.KeyID][]byte // the signatures by Server that the message carries
	At         time.Time           // the event's origin_server_ts; zero means now, and that old keys won't do
	// EnforceValidity asks for a key valid at At (room versions 5 and later, and requests).
	EnforceValidity bool
}

// Verify checks all requests and gives one error a request, nil where at least one signature of the server is good.
func (r *Ring) Verify(ctx context.Context, reqs []Request) []error {
	errs := make([]error, len(reqs))
	for i := range errs {
		errs[i] = errors.New("keys: not built yet")
	}
	return errs
}

// VerifyEvents checks the signatures of all required signers of each event; one error an event, nil when all are good.
func (r *Ring) VerifyEvents(ctx context.Context, events []*event.Event) []error {
	errs := make([]error, len(events))
	for i := range errs {
		errs[i] = errors.New("keys: not built yet")
	}
	return errs
}

// Answer answers a notary request: documents of the servers asked for, each signed by us too.
func (r *Ring) Answer(ctx context.Context, q NotaryRequest) ([]json.RawMessage, error) {
	return nil, errors.New("keys: not built yet")
}
