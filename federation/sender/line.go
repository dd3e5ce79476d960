package sender

import "slices"

// line is where queues wait until they may send, in the order in which they came. All fields belong to Sender.mu.
type line struct {
	doubtful bool // it is of servers that failed the last time: however many are down, they don't keep the others waiting
	queues   []*queue
	underWay int // sends
	most     int // that may be under way
}

// enqueue puts a queue at the end of its line. The caller holds mu.
func (s *Sender) enqueue(q *queue) {
	for _, l := range s.lines {
		if l.doubtful == (q.backoff.Failures > 0) {
			l.queues = append(l.queues, q)
		}
	}
}

// dispatch starts a goroutine for each queue that may send now: never more of them than turns, so that what goes to a thousand servers puts
// no thousand goroutines in front of those of a client. The caller holds mu.
func (s *Sender) dispatch() {
	for l, q := s.next(); q != nil; l, q = s.next() {
		s.workers.Add(1)
		go s.work(l, q)
	}
}

// next takes the first queue of a line in which one may send, and a turn for it; nil if none may. The caller holds mu.
func (s *Sender) next() (*line, *queue) {
	if s.ctx.Err() != nil {
		return nil, nil
	}
	for i, l := range s.lines {
		if len(l.queues) == 0 || l.underWay >= l.most {
			continue
		}
		if s.computing >= s.turnsFor(l.queues[0]) {
			break // nor may the other line go on: while events gather for its servers, there are never so few turns taken that this one may
		}
		q := l.queues[0]
		l.queues[0], l.queues = nil, l.queues[1:]
		l.underWay++
		s.computing++
		s.lines = append(slices.Delete(s.lines, i, i+1), l) // the other line is next
		return l, q
	}
	return nil, nil
}

func (s *Sender) turnsFor(q *queue) int {
	if q.behind {
		return s.limits.Behind
	}
	return s.limits.Computing
}

// work sends a batch to one server, then perhaps to others: a goroutine whose stack has grown is better than a new one. While a batch is
// under way, more gathers for the next.
func (s *Sender) work(l *line, q *queue) {
	defer s.workers.Done()
	for q != nil {
		l, q = s.worked(l, q, s.round(s.ctx, q))
	}
}

// worked says what becomes of a queue after a round, and gives the next one.
func (s *Sender) worked(l *line, q *queue, step step) (*line, *queue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.underWay--
	switch {
	case step == failed:
		s.pause(q)
	case step == done && s.rest(q):
	default:
		s.enqueue(q)
	}
	l, q = s.next()
	s.dispatch()
	return l, q
}
