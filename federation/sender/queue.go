package sender

import (
	"time"

	"hanse/federation"
	"hanse/federation/id"
)

// queue is what is known of a server that has something to get, or failed the last time. Others have none. All fields
// belong to Sender.mu; a goroutine works on the queue while it is busy.
type queue struct {
	server   id.ServerName
	busy     bool             // it is in a line, or a goroutine works on it
	behind   bool             // events gather for it: the last transaction had many
	waiting  bool             // the Outbox may have something
	volatile []federation.EDU // goes with the next transaction
	backoff  Backoff
	lastTry  time.Time
	told     time.Time   // the server has too much to do until then, as it said
	spoke    bool        // the server spoke to us since the last try began
	timer    *time.Timer // runs until backoff.Until
	// next bounds the next batch. After a failure it is the size of the batch that failed, so that the same is tried
	// again under the same ID; after a refusal it is smaller, to find what is refused.
	next     bounds
	refusals int // in a row, of a batch of one
	// tried is the ID of the last transaction with something durable in it, and triedAt its origin_server_ts: one that is
	// sent again under its ID is the same to the byte, but for volatile EDUs of its first try.
	tried   string
	triedAt int64 // milliseconds since 1970
	// again is how many of the next batches may have been sent under their IDs before, by the process before this one or without its being
	// noted: a server that took one then reads nothing of it now, so volatile EDUs don't go with it.
	again int
}

// bounds are the arguments of Outbox.Next.
type bounds struct{ pdus, edus int }

func (q *queue) stopTimer() {
	if q.timer != nil {
		q.timer.Stop()
		q.timer = nil
	}
}

// queue finds or makes a server's queue. The caller holds mu.
func (s *Sender) queue(server id.ServerName) *queue {
	q, known := s.queues[server]
	if !known {
		q = &queue{server: server, next: full()}
		s.queues[server] = q
	}
	return q
}

func full() bounds {
	return bounds{federation.MaxTransactionPDUs, federation.MaxTransactionEDUs}
}

// discard forgets a queue that holds nothing. The caller holds mu.
func (s *Sender) discard(q *queue) {
	if !q.busy && !q.waiting && len(q.volatile) == 0 && q.backoff.Failures == 0 {
		delete(s.queues, q.server)
	}
}

// start puts a queue in line, now or when its back-off ends. The caller holds mu.
func (s *Sender) start(q *queue) {
	if s.ctx == nil || s.ctx.Err() != nil || q.busy {
		return
	}
	q.stopTimer()
	if wait := time.Until(q.backoff.Until); wait > 0 {
		q.timer = time.AfterFunc(wait, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.start(q)
		})
		return
	}
	q.busy = true
	s.enqueue(q)
	s.dispatch()
}

// take begins a try: how much to ask of the Outbox.
func (s *Sender) take(q *queue) bounds {
	s.mu.Lock()
	defer s.mu.Unlock()
	q.waiting, q.spoke = false, false
	q.lastTry = time.Now()
	return q.next
}

// takeVolatile takes volatile EDUs off a queue that go with a batch.
func (s *Sender) takeVolatile(q *queue, batch Batch) []federation.EDU {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.again > 0 && !batch.Empty() {
		return nil
	}
	n := min(len(q.volatile), max(federation.MaxTransactionEDUs-len(batch.EDUs), 0))
	taken := q.volatile[:n:n]
	q.volatile = q.volatile[n:]
	if len(q.volatile) == 0 {
		q.volatile = nil
	}
	s.loose -= n
	return taken
}

// stamp gives the time that a transaction says it started at: that of its first try.
func (s *Sender) stamp(q *queue, txnID string, now time.Time) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.tried != txnID {
		q.tried, q.triedAt = txnID, now.UnixMilli()
	}
	return q.triedAt
}

// rest ends the work on a queue if nothing came meanwhile. The caller holds mu.
func (s *Sender) rest(q *queue) bool {
	if q.waiting || len(q.volatile) > 0 {
		return false
	}
	q.busy = false
	s.discard(q)
	return true
}

// pause ends the work on a queue until its back-off is over. The caller holds mu.
func (s *Sender) pause(q *queue) {
	s.loose -= len(q.volatile)
	s.stats.Dropped += int64(len(q.volatile))
	q.volatile = nil
	q.busy = false
	q.waiting = true
	s.start(q)
}
