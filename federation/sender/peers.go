package sender

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"

	"hanse/federation"
	"hanse/federation/client"
	"hanse/federation/id"
)

const (
	// maxRecords is of how many servers is remembered how sending went, those that failed the last time not counted.
	maxRecords = 10_000
	// recordedTransactions is how many of a server's last transactions are remembered, to tell when it took an event.
	recordedTransactions = 32
	// recordedRefusals is how many errors for events are remembered of a server.
	recordedRefusals = 16
	// maxWhy bounds the text of a failure, in bytes.
	maxWhy = 300
)

// record is what is remembered of a server beyond its queue, in memory alone. All fields belong to Sender.mu.
type record struct {
	taken   []taken // the last transactions, oldest first
	refused []Refused
}

// taken is a transaction that a server took, and up to which mark of the Outbox it reached.
type taken struct {
	upto int64
	at   time.Time
}

// Refused is an error that a server reported for an event, or an event that it refuses for good.
type Refused struct {
	Event   id.EventID // "" for what has no ID in its answer: a whole transaction that it refuses
	Why     string
	At      time.Time
	GivenUp bool // it isn't sent again
}

// Peer is how sending to a server goes.
type Peer struct {
	Server  id.ServerName
	Busy    bool // something is being sent, or waits for its turn
	Waiting bool // the Outbox may have something
	Typing  int  // volatile EDUs that wait
	federation.Backoff
	LastTry   time.Time // zero: none since the start
	LastTaken time.Time // of the last transaction with something durable in it; zero: none since the start
	Refused   []Refused // newest first
}

// Reachable tells whether the last try went well, as far as there was one.
func (p Peer) Reachable() bool { return p.Failures == 0 }

// Peer tells how sending to one server goes. The zero value but for the name: nothing is known of it.
func (s *Sender) Peer(server id.ServerName) Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peer(server)
}

// Peers tells how sending goes to all servers of which something is known, in order of their names.
func (s *Sender) Peers() []Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Peer
	for server := range s.queues {
		all = append(all, s.peer(server))
	}
	for server := range s.records {
		if s.queues[server] == nil {
			all = append(all, s.peer(server))
		}
	}
	slices.SortFunc(all, func(a, b Peer) int { return cmp.Compare(a.Server, b.Server) })
	return all
}

// peer is called with mu held.
func (s *Sender) peer(server id.ServerName) Peer {
	p := Peer{Server: server}
	if q := s.queues[server]; q != nil {
		p.Busy, p.Waiting, p.Typing, p.Backoff, p.LastTry = q.busy, q.waiting, len(q.volatile), q.backoff, q.lastTry
	}
	if r := s.records[server]; r != nil {
		if n := len(r.taken); n > 0 {
			p.LastTaken = r.taken[n-1].at
			p.LastTry = latest(p.LastTry, p.LastTaken)
		}
		p.Refused = slices.Clone(r.refused)
		slices.Reverse(p.Refused)
	}
	return p
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// TakenAt tells when a server took what the Outbox has at a mark; false if that is longer ago than what is remembered.
func (s *Sender) TakenAt(server id.ServerName, mark int64) (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.records[server]
	if r == nil {
		return time.Time{}, false
	}
	for i, t := range r.taken {
		if t.upto >= mark {
			// The oldest that is remembered may have been preceded by the one that had it.
			return t.at, i > 0 || len(r.taken) < recordedTransactions
		}
	}
	return time.Time{}, false
}

// recordOf finds or makes a server's record; mu is held. Where there are too many, one of another server is forgotten.
func (s *Sender) recordOf(server id.ServerName) *record {
	if r := s.records[server]; r != nil {
		return r
	}
	if len(s.records) >= maxRecords {
		for other := range s.records {
			delete(s.records, other)
			break
		}
	}
	r := &record{}
	s.records[server] = r
	return r
}

// recordTaken notes that a server took a batch.
func (s *Sender) recordTaken(server id.ServerName, batch Batch, results federation.PDUResults) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.recordOf(server)
	if !batch.Empty() && batch.Upto >= 0 {
		r.taken = append(r.taken, taken{upto: batch.Upto, at: now})
		if len(r.taken) > recordedTransactions {
			r.taken = slices.Delete(r.taken, 0, 1)
		}
	}
	for event, result := range results {
		if result.Error != "" {
			r.refuse(Refused{Event: event, Why: clip(result.Error), At: now})
		}
	}
}

// recordGivenUp notes that a server refuses something for good.
func (s *Sender) recordGivenUp(server id.ServerName, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recordOf(server).refuse(Refused{Why: clip(why.Error()), At: time.Now(), GivenUp: true})
}

func (r *record) refuse(refused Refused) {
	r.refused = append(r.refused, refused)
	if len(r.refused) > recordedRefusals {
		r.refused = slices.Delete(r.refused, 0, 1)
	}
}

// kindOf says in a word why a transaction was not taken.
func kindOf(err error) string {
	failed, ok := errors.AsType[*client.Error](err)
	switch {
	case !ok:
		return "other"
	case failed.Status == http.StatusUnauthorized:
		return "signature"
	case failed.Status != 0:
		return fmt.Sprintf("HTTP %d", failed.Status)
	case failed.Stage == client.StageResolve:
		return "DNS"
	case failed.Stage == client.StageConnect:
		return "TCP"
	case failed.Stage == client.StageTLS:
		return "TLS"
	case failed.Timeout:
		return "slow"
	}
	return "HTTP"
}

// clip bounds a text that another server may have written.
func clip(text string) string {
	if len(text) <= maxWhy {
		return text
	}
	end := maxWhy
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}
