package keys

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/places"
)

// RingConfig is what a Ring needs.
type RingConfig struct {
	Self     id.ServerName   // our name: our own signatures are checked without asking anyone
	Own      *KeyFile        // our keys
	Store    Store           // nil: nothing is kept over restarts
	Fetcher  Fetcher         // how to ask other servers; nil: nobody is asked
	Notaries []id.ServerName // asked, in this order, for keys of servers that don't answer themselves
	Log      *slog.Logger    // nil: silent
}

// Ring finds keys and checks signatures with them. It looks in memory, in the store, asks the server itself, and
// asks the notaries and who gave us the events (GivenBy), in this order, and for many servers at once. It is safe for
// concurrent use.
type Ring struct {
	cfg RingConfig
	log *slog.Logger
	// Fetches of keys under way: of servers that send us a request of their own; and of those that events and notaries' questions name, by who
	// gave us the events. One server could name hundreds that exist to be slow, and nobody's keys could be had for minutes.
	asking, given *places.Places[id.ServerName]
	ready         *prepared // keys that are used often

	mu       sync.Mutex
	servers  map[id.ServerName]*entry // guarded by mu
	unlisted time.Time                // guarded by mu; see noteUnlisted
}

// NewRing makes a ring; it starts nothing.
func NewRing(cfg RingConfig) *Ring {
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Ring{
		cfg: cfg, log: log, ready: newPrepared(), servers: map[id.ServerName]*entry{},
		asking: places.New[id.ServerName](maxFetches, maxFetches), given: places.New[id.ServerName](maxFetches, maxFetchesForOthers),
	}
}

// Request asks for one signature check: has Server signed Message?
type Request struct {
	Server     id.ServerName
	Message    []byte              // the signed bytes
	Signatures map[id.KeyID][]byte // the signatures by Server that came with the message
	// At is the event's origin_server_ts. Zero is for requests: the key has to be in use now.
	At time.Time
	// EnforceValidity asks for a key that is valid at At (room versions 5 and later, and requests). Without, any key
	// that the server has ever published will do.
	//
	// spec:rooms/v5#signing-key-validity-period
	EnforceValidity bool
}

// Verify checks all requests and gives one error a request: nil where the server has signed with a key that it may use for that, and
// each such signature of it is good, an *Error otherwise. Keys of all servers concerned are looked up together, coalesced with other
// callers' lookups, and signatures are checked on all cores.
//
// spec:server-server-api#validating-hashes-and-signatures-on-received-events
func (r *Ring) Verify(ctx context.Context, reqs []Request) []error {
	now := time.Now()
	found := r.lookup(ctx, wantsOf(reqs, now), now)
	trials := make([]trial, 0, len(reqs))
	ends := make([]int, len(reqs)) // of each request's trials
	for i := range reqs {
		trials = reqs[i].appendTrials(trials, found[reqs[i].Server].docs, now)
		ends[i] = len(trials)
	}
	r.ready.judge(trials)
	errs := make([]error, len(reqs))
	begin := 0
	for i := range reqs {
		errs[i] = verdict(&reqs[i], trials[begin:ends[i]], found[reqs[i].Server], now)
		begin = ends[i]
		if errs[i] != nil && reqs[i].Server == r.cfg.Self && !reqs[i].At.IsZero() {
			r.noteUnlisted(errs[i])
		}
	}
	return errs
}

// noteUnlisted warns, now and then, of events in our own name that are signed with a key which our file doesn't list: the server may have
// been set up anew after all was lost, and can't join rooms of before. Anybody can make up such events, so no more is done.
func (r *Ring) noteUnlisted(err error) {
	failure, ok := errors.AsType[*Error](err)
	if !ok || failure.Kind != NoSuchKey || failure.KeyID == "" {
		return
	}
	now := time.Now()
	r.mu.Lock()
	again := now.Sub(r.unlisted) > unlistedPause
	if again {
		r.unlisted = now
	}
	r.mu.Unlock()
	if again {
		r.log.Warn("another server gives events of this server's own users, signed with a key that the signing key file doesn't list. If the server was "+
			"set up anew after its key was lost, its users can't join rooms of before until the file lists the public half of the old key; "+
			"see \"Everything is lost\" in doc/operating.md", "key", failure.KeyID)
	}
}

// VerifyEvents checks that each event carries a good signature of every server that has to sign it, by the rules of
// its room version. It gives one error an event, nil or an *Error.
//
// spec:server-server-api#validating-hashes-and-signatures-on-received-events
func (r *Ring) VerifyEvents(ctx context.Context, events []*event.Event) []error {
	perEvent := make([][]Request, len(events))
	parallel(len(events), func(i int) { perEvent[i] = requestsOf(events[i]) })
	var all []Request
	for _, reqs := range perEvent {
		all = append(all, reqs...)
	}
	results := r.Verify(ctx, all)
	errs := make([]error, len(events))
	for i, reqs := range perEvent {
		for _, err := range results[:len(reqs)] {
			if err != nil && errs[i] == nil {
				errs[i] = err
			}
		}
		results = results[len(reqs):]
	}
	return errs
}

// requestsOf are the checks that an event needs, one for each required signer.
func requestsOf(e *event.Event) []Request {
	signers := e.RequiredSigners()
	reqs := make([]Request, len(signers))
	message := e.SignedBytes()
	for i, server := range signers {
		reqs[i] = eventRequest(e, message, server)
	}
	return reqs
}

// EventRequest is the check whether a server has signed an event, by the rules of the event's room version.
func EventRequest(e *event.Event, server id.ServerName) Request {
	return eventRequest(e, e.SignedBytes(), server)
}

func eventRequest(e *event.Event, message []byte, server id.ServerName) Request {
	// All times before 1970 are alike, as no key has expired by then; one of them is Go's zero time, which would make the event a request.
	at := time.UnixMilli(max(e.OriginServerTS(), 0))
	return Request{Server: server, Message: message, Signatures: e.SignaturesOf(server), At: at, EnforceValidity: e.Rules().EnforceKeyValidity}
}
