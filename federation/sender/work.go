package sender

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"hanse/federation"
)

// step is how a round ended.
type step int

const (
	sent   step = iota // there may be more
	done               // nothing waits
	failed             // try again later
)

// round sends one batch.
func (s *Sender) round(ctx context.Context, q *queue) step {
	sending, endTurn := s.turn(ctx)
	defer endTurn()
	most := s.take(q)
	batch, err := s.outbox.Next(ctx, q.server, most.pdus, most.edus)
	if err != nil {
		return s.outboxFailed(ctx, q, "reading what waits for a server failed", err)
	}
	volatile := s.takeVolatile(q, batch)
	if batch.Empty() && len(volatile) == 0 {
		return s.lookFurther(q, most)
	}
	txnID := s.txnID(q, batch)
	txn := federation.Transaction{Origin: s.origin, OriginServerTS: s.stamp(q, txnID, time.Now()), PDUs: batch.PDUs}
	txn.EDUs = append(append(make([]federation.EDU, 0, len(batch.EDUs)+len(volatile)), batch.EDUs...), volatile...)
	results, err := s.client.SendTransaction(sending, q.server, txnID, txn)
	if err != nil {
		s.note(func(stats *Stats) { stats.Failures++; stats.Dropped += int64(len(volatile)) })
		if ctx.Err() != nil {
			return failed
		}
		return s.failure(ctx, q, batch, err)
	}
	return s.success(ctx, q, most, batch, txn, results)
}

// lookFurther is called when there is nothing within the bounds of the next batch.
func (s *Sender) lookFurther(q *queue, most bounds) step {
	switch most {
	case full():
		return done
	case bounds{pdus: 1}: // looking for what is refused: the oldest is not an event
		s.resize(q, bounds{edus: 1})
	default: // what failed is gone meanwhile, for a catch-up
		s.resize(q, full())
	}
	return sent
}

// success notes that a batch went out.
func (s *Sender) success(ctx context.Context, q *queue, most bounds, batch Batch, txn federation.Transaction, results federation.PDUResults) step {
	refused := 0
	for event, result := range results {
		if result.Error != "" {
			refused++
			s.log.Debug("a server reports an error for an event", "server", q.server, "event", event, "reason", result.Error)
		}
	}
	s.note(func(stats *Stats) {
		stats.Transactions++
		stats.PDUs += int64(len(txn.PDUs))
		stats.EDUs += int64(len(txn.EDUs))
		stats.Refused += int64(refused)
	})
	s.recordTaken(q.server, batch, results)
	if s.taken != nil {
		s.taken(q.server, txn.PDUs, results)
	}
	if !batch.Empty() {
		if err := s.finish(ctx, q, batch); err != nil {
			s.mu.Lock()
			q.again = max(q.again, 1)
			s.mu.Unlock()
			return s.outboxFailed(ctx, q, "noting that a batch went out failed; it is sent again", err)
		}
	}
	s.mu.Lock()
	recovered := q.backoff.Failures > 0
	q.backoff, q.next, q.refusals = Backoff{}, full(), 0
	q.behind = len(batch.PDUs) >= manyEvents
	switch {
	case batch.Empty() || q.again == 0:
	case batch.Upto >= 0 && len(batch.PDUs) < most.pdus && len(batch.EDUs) < most.edus:
		q.again = 0 // it had all that waited
	default:
		q.again--
	}
	s.mu.Unlock()
	if recovered {
		s.log.Debug("a server takes what is sent again", "server", q.server)
		s.save(ctx, q, Backoff{})
	}
	return sent
}

// finish tells the Outbox that a batch is done with; also when the sender is being stopped, since the batch went out.
func (s *Sender) finish(ctx context.Context, q *queue, batch Batch) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), doneTimeout)
	defer cancel()
	return s.outbox.Done(ctx, q.server, batch)
}

// failure decides what follows when a transaction was not taken.
func (s *Sender) failure(ctx context.Context, q *queue, batch Batch, err error) step {
	refusal := refusalOf(err)
	if refusal == nil || !final(refusal.Status) || batch.Empty() {
		var wait time.Duration
		if refusal != nil {
			wait = refusal.RetryAfter()
		}
		s.resize(q, sizeOf(batch))
		s.backOff(ctx, q, wait, err)
		return failed
	}
	if len(batch.PDUs)+len(batch.EDUs) > 1 {
		s.log.Warn("a server refuses a transaction; looking for the event it refuses",
			"server", q.server, "events", len(batch.PDUs), "edus", len(batch.EDUs), "reason", err)
		s.resize(q, half(batch))
		s.later(q, s.limits.MinBackoff)
		return failed
	}
	s.mu.Lock()
	q.refusals++
	again := q.refusals < maxRefusals
	s.mu.Unlock()
	if again {
		s.resize(q, sizeOf(batch))
		s.backOff(ctx, q, 0, err)
		return failed
	}
	s.log.Warn("an event is not delivered: the server refuses it", "server", q.server, "reason", err)
	s.note(func(stats *Stats) { stats.GivenUp++ })
	s.recordGivenUp(q.server, err)
	if err := s.finish(ctx, q, batch); err != nil {
		return s.outboxFailed(ctx, q, "giving up an event failed", err)
	}
	s.mu.Lock()
	q.refusals, q.next = 0, full()
	s.mu.Unlock()
	return sent
}

// refusalOf is what a server said against a transaction; nil when it didn't answer.
func refusalOf(err error) *federation.Error {
	var refused interface{ Refusal() *federation.Error }
	if errors.As(err, &refused) {
		return refused.Refusal()
	}
	return nil
}

// final tells whether a status means that the same transaction will be refused again. Those about who we are (401,
// 403), about the endpoint (404, 405: something else answers there) and about time are no verdict on what was sent.
func final(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed,
		http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false
	}
	return status >= 400 && status < 500
}

// sizeOf is what to ask of the Outbox to get the same batch again.
func sizeOf(batch Batch) bounds {
	if batch.Empty() {
		return full()
	}
	return bounds{len(batch.PDUs), len(batch.EDUs)}
}

// half is a smaller batch than one that was refused: half of each kind, or one thing alone where one of each is left:
// the event, or if an Outbox of one order has the EDU before it, that (lookFurther).
func half(batch Batch) bounds {
	b := bounds{len(batch.PDUs), len(batch.EDUs)}
	if b.pdus <= 1 && b.edus <= 1 {
		return bounds{pdus: 1}
	}
	return bounds{(b.pdus + 1) / 2, (b.edus + 1) / 2}
}

func (s *Sender) resize(q *queue, to bounds) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q.next = to
}

// backOff counts a failure and sets when to try again: after the exponential time with jitter, or after atLeast if the
// server asked for more.
func (s *Sender) backOff(ctx context.Context, q *queue, atLeast time.Duration, err error) {
	s.mu.Lock()
	if q.backoff.Failures++; q.backoff.Since.IsZero() {
		q.backoff.Since = time.Now()
	}
	q.backoff.Why, q.backoff.Kind = clip(err.Error()), kindOf(err)
	atLeast = min(atLeast, s.limits.MaxBackoff)
	if refusal := refusalOf(err); refusal != nil && refusal.Status == http.StatusTooManyRequests {
		q.told = time.Now().Add(atLeast)
	}
	wait := max(delay(s.limits, q.backoff.Failures), atLeast)
	switch {
	case atLeast > 0: // it is there and says when to come again
		wait = min(wait, max(atLeast, toldWait))
	case q.spoke:
		wait = min(wait, s.limits.RetryGap)
	}
	q.backoff.Until = time.Now().Add(wait)
	backoff := q.backoff
	s.mu.Unlock()
	s.log.Debug("a server did not take what was sent", "server", q.server,
		"failures", backoff.Failures, "again_in", wait.Round(time.Millisecond), "reason", err)
	s.save(ctx, q, backoff)
}

// delay is the wait after a number of failures: doubled each time up to the cap, and of that a random part between a
// half and all, so that servers that failed together are not tried together.
func delay(limits Limits, failures int) time.Duration {
	whole := limits.MaxBackoff
	if shift := failures - 1; shift < 40 && limits.MinBackoff < limits.MaxBackoff>>shift {
		whole = limits.MinBackoff << shift
	}
	return whole/2 + rand.N(whole/2+1)
}

// later sets when to try again without counting a failure.
func (s *Sender) later(q *queue, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q.backoff.Until = time.Now().Add(wait)
}

// save keeps a back-off over restarts. That it fails costs one early try after the next start.
func (s *Sender) save(ctx context.Context, q *queue, backoff Backoff) {
	if err := s.outbox.SaveBackoff(ctx, q.server, backoff); err != nil && ctx.Err() == nil {
		s.log.Warn("when a server is to be tried again can't be saved; after a restart it is tried at once", "server", q.server, "error", err)
	}
}

func (s *Sender) outboxFailed(ctx context.Context, q *queue, what string, err error) step {
	if ctx.Err() == nil {
		s.log.Error(what, "server", q.server, "error", err)
		s.later(q, outboxPause)
	}
	return failed
}

func (s *Sender) note(count func(*Stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	count(&s.stats)
}

// txnID is the transaction's ID. It follows from what is durable in it, so the same batch has the same ID after any
// number of failures and restarts, and another batch has another. Volatile EDUs, which are dropped when a try fails,
// don't count; a transaction of nothing else gets an ID that is never used again.
//
// spec:server-server-api#transactions
func (s *Sender) txnID(q *queue, batch Batch) string {
	if batch.Empty() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.counter++
		return s.nonce + "-" + strconv.FormatInt(s.counter, 36)
	}
	hash := sha256.New()
	write := func(part []byte) {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		hash.Write(length[:])
		hash.Write(part)
	}
	write([]byte(q.server))
	write(strconv.AppendInt(nil, batch.Upto, 10))
	for _, pdu := range batch.PDUs {
		write(pdu)
	}
	write(nil)
	for _, edu := range batch.EDUs {
		write([]byte(edu.Type))
		write(edu.Content)
	}
	return base64.RawURLEncoding.EncodeToString(hash.Sum(nil)[:18])
}
