// Package sender delivers events and EDUs to other servers: in order, in batches, a queue for each server that has
// something to get. What waits is kept by an Outbox; here is only when to try. It knows nothing of rooms.
package sender

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"hanse/federation"
	"hanse/federation/id"
)

// Transmitter delivers one transaction; federation/client's Client is one. It must be safe for concurrent use and must
// not retry. An error that has a method Refusal() *federation.Error, as client.Error has, tells what the server said
// against the transaction.
type Transmitter interface {
	SendTransaction(ctx context.Context, server id.ServerName, txnID string, txn federation.Transaction) (federation.PDUResults, error)
}

// Batch is what goes out next to one server, Backoff when a server is tried again.
type (
	Batch   = federation.Batch
	Backoff = federation.Backoff
)

// Outbox keeps what is to be sent until Done. Its methods may be called concurrently for different servers, and are
// called by one goroutine at a time for each server.
type Outbox interface {
	// Destinations lists all servers for which something waits. It is asked once, at the start.
	Destinations(ctx context.Context) ([]id.ServerName, error)
	// Next gives the oldest of what waits for a server, at most maxPDUs events and maxEDUs EDUs; one may be 0. Where
	// events and EDUs have one order, the batch ends before the first thing that is more than its bound. An empty
	// batch, where both bounds are above 0, means that nothing waits. Until Done, Next gives the same again (perhaps more): two calls with the
	// same bounds give the same batch, if it has not decided meanwhile to leave events out for a catch-up.
	Next(ctx context.Context, server id.ServerName, maxPDUs, maxEDUs int) (Batch, error)
	// Done notes that a batch went out: Next gives what follows. It may be durable a moment later only, where being sent once more after a
	// kill does no harm.
	Done(ctx context.Context, server id.ServerName, batch Batch) error
	// Backoff gives all that SaveBackoff saved, for the start.
	Backoff(ctx context.Context) (map[id.ServerName]Backoff, error)
	// SaveBackoff keeps a server's back-off over restarts; the zero Backoff removes it.
	SaveBackoff(ctx context.Context, server id.ServerName, b Backoff) error
}

// Config is what a Sender needs.
type Config struct {
	Origin id.ServerName // who we are
	Client Transmitter
	Outbox Outbox
	Limits Limits       // zero values: the defaults
	Log    *slog.Logger // nil: silent
	// Taken, if set, is told of what a server took, and how it answered. It must be quick and may be called concurrently.
	Taken func(server id.ServerName, pdus []json.RawMessage, results federation.PDUResults)
}

// Sender delivers. It is safe for concurrent use; Wake, Retry and EDU never block and may be called before Run.
type Sender struct {
	origin id.ServerName
	client Transmitter
	outbox Outbox
	limits Limits
	log    *slog.Logger
	taken  func(id.ServerName, []json.RawMessage, federation.PDUResults) // may be nil
	nonce  string                                                        // makes the IDs of transactions that hold nothing durable unique over restarts

	mu        sync.Mutex
	ctx       context.Context // set by Run
	queues    map[id.ServerName]*queue
	lines     []*line // guarded by mu: for servers that took the last transaction, and for those that didn't; the next turn's is first
	computing int     // guarded by mu: turns that are taken
	records   map[id.ServerName]*record
	loose     int   // volatile EDUs in all queues
	counter   int64 // of transactions without anything durable
	stats     Stats

	workers sync.WaitGroup
}

// New makes a sender; Run starts it.
func New(cfg Config) *Sender {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	var nonce [9]byte
	_, _ = rand.Read(nonce[:]) // never fails, says its documentation
	limits := cfg.Limits.withDefaults()
	return &Sender{
		origin: cfg.Origin, client: cfg.Client, outbox: cfg.Outbox, limits: limits, taken: cfg.Taken,
		log:     cfg.Log.With("part", "federation/sender"),
		nonce:   base64.RawURLEncoding.EncodeToString(nonce[:]),
		lines:   []*line{{most: limits.Parallel}, {most: max(limits.Parallel/4, 1), doubtful: true}},
		queues:  make(map[id.ServerName]*queue),
		records: make(map[id.ServerName]*record),
	}
}

// Run delivers until ctx ends, then waits for the sends under way to stop. It begins once the Outbox can be read, and returns no
// error. Call it once.
func (s *Sender) Run(ctx context.Context) error {
	backoffs, servers, err := s.left(ctx)
	for ; err != nil; backoffs, servers, err = s.left(ctx) {
		if ctx.Err() == nil {
			s.log.Error("what waits for other servers can't be read; nothing is sent until it can", "error", err)
		}
		select {
		case <-time.After(outboxPause):
		case <-ctx.Done():
			return nil
		}
	}
	s.begin(ctx, backoffs, servers)
	<-ctx.Done()
	s.mu.Lock()
	for _, q := range s.queues {
		q.stopTimer()
	}
	s.mu.Unlock()
	s.workers.Wait()
	return nil
}

// left reads what the process before has left.
func (s *Sender) left(ctx context.Context) (map[id.ServerName]Backoff, []id.ServerName, error) {
	backoffs, err := s.outbox.Backoff(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the back-off of servers: %w", err)
	}
	servers, err := s.outbox.Destinations(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("reading which servers have something waiting: %w", err)
	}
	return backoffs, servers, nil
}

func (s *Sender) begin(ctx context.Context, backoffs map[id.ServerName]Backoff, servers []id.ServerName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ctx = ctx
	latest := time.Now().Add(s.limits.MaxBackoff) // however the clock was set when it was saved
	for server, backoff := range backoffs {
		if backoff.Until.After(latest) {
			backoff.Until = latest
		}
		s.queue(server).backoff = backoff
	}
	for _, server := range servers {
		q := s.queue(server)
		q.waiting, q.again = true, maxAgain
	}
	for _, q := range s.queues {
		if q.waiting || len(q.volatile) > 0 {
			s.start(q)
		}
	}
}

// Wake says that the Outbox has something new for these servers; the list isn't changed any more. Servers in back-off get it when their time
// comes. Many servers get it a moment later: work for them would hold up the answer to who said it, and more may be said meanwhile.
func (s *Sender) Wake(servers ...id.ServerName) {
	if len(servers) > manyServers {
		time.AfterFunc(moment, func() { s.wake(servers) })
		return
	}
	s.wake(servers)
}

func (s *Sender) wake(servers []id.ServerName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, server := range servers {
		q := s.queue(server)
		q.waiting = true
		s.start(q)
	}
}

// Retry says that a server spoke to us, so it is up: if something waits for it, it is tried now, or as soon as
// Limits.RetryGap has passed since the last try, or when it said if that had come too soon for it (429).
func (s *Sender) Retry(server id.ServerName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, known := s.queues[server]
	if !known {
		return
	}
	q.spoke = true
	if q.busy || q.backoff.Failures == 0 {
		return
	}
	soon := q.lastTry.Add(s.limits.RetryGap)
	if q.told.After(soon) {
		soon = q.told
	}
	if soon.Before(q.backoff.Until) {
		q.backoff.Until = soon
		if q.waiting {
			s.start(q)
		}
	}
}

// EDU sends something that is worth nothing later (typing) to servers, with the next transaction or in one of its own.
// It is dropped for servers in back-off, and the oldest are dropped where too many gather.
func (s *Sender) EDU(edu federation.EDU, servers ...id.ServerName) {
	s.EDUs([]federation.EDU{edu}, servers...)
}

// EDUs is EDU for several at once: as many of them as a transaction holds go out together.
func (s *Sender) EDUs(edus []federation.EDU, servers ...id.ServerName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, server := range servers {
		q := s.queue(server)
		for _, edu := range edus {
			s.addVolatile(q, edu)
		}
		if len(q.volatile) > 0 {
			s.start(q)
		}
		s.discard(q)
	}
}

// addVolatile puts an EDU into a queue, or drops it. The caller holds mu.
func (s *Sender) addVolatile(q *queue, edu federation.EDU) {
	if q.backoff.Failures > 0 || s.loose >= s.limits.Volatile {
		s.stats.Dropped++
		return
	}
	if len(q.volatile) >= s.limits.VolatilePerServer {
		q.volatile = q.volatile[1:]
		s.loose--
		s.stats.Dropped++
	}
	q.volatile = append(q.volatile, edu)
	s.loose++
}
