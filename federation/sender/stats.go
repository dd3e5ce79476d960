package sender

// Stats counts what the sender does, for metrics.
type Stats struct {
	// Now.
	Busy       int // servers being sent to, or waiting for a slot
	BackingOff int // servers that failed the last time
	Volatile   int // volatile EDUs waiting

	// Since the start.
	Transactions int64 // delivered
	PDUs         int64 // delivered
	EDUs         int64 // delivered
	Refused      int64 // events that the receiving server reported an error for
	Failures     int64 // transactions that were not taken
	GivenUp      int64 // events and durable EDUs that were not delivered, as the server refuses them
	Dropped      int64 // volatile EDUs that were not delivered
}

// Stats gives the numbers of this moment.
func (s *Sender) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	stats.Volatile = s.loose
	for _, q := range s.queues {
		if q.busy {
			stats.Busy++
		}
		if q.backoff.Failures > 0 {
			stats.BackingOff++
		}
	}
	return stats
}
