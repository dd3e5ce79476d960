package appservice

import (
	"context"
	"time"
)

// maxCounted bounds the events that are counted for an operator.
const maxCounted = 10_000

// Status is how it stands with a service, for an operator.
type Status struct {
	ID        string     `json:"id"`
	File      string     `json:"file"`
	URL       string     `json:"url,omitempty"` // absent: it gets nothing
	Sender    string     `json:"sender"`
	Away      *time.Time `json:"away_since,omitempty"`
	Why       string     `json:"why,omitempty"`
	Failures  int        `json:"failures,omitempty"` // in a row
	NextTry   *time.Time `json:"next_try,omitempty"`
	LastTaken *time.Time `json:"last_taken,omitempty"`
	// Waiting is since when something waits for it, and Unseen how many events came since the place where it is: those that don't
	// interest it too, and 10,000 at most.
	Waiting *time.Time `json:"waiting_since,omitempty"`
	Unseen  int        `json:"events_not_looked_at"`
}

// Status tells of all services, in the order of the configuration.
func (d *Delivery) Status(ctx context.Context) ([]Status, error) {
	list := []Status{}
	for _, service := range d.services.all {
		service.mu.Lock()
		h := service.health
		service.mu.Unlock()
		one := Status{
			ID: service.ID, File: service.File, URL: service.URL, Sender: string(service.Sender), Why: h.why, Failures: h.failures,
			Away: timeOf(h.away), NextTry: timeOf(h.nextTry), LastTaken: timeOf(h.lastTaken), Waiting: timeOf(h.behind),
		}
		if service.URL != "" {
			var err error
			if one.Unseen, err = d.config.Store.CountLiveEvents(ctx, h.upto, maxCounted); err != nil {
				return nil, err
			}
		}
		list = append(list, one)
	}
	return list, nil
}

func timeOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// Stats are what is counted of one service since the start.
type Stats struct {
	Transactions, Events, Ephemeral, Messages, Failures int64
	// Oldest is for how long something has been waiting for it; of what was there at the start, since then.
	Oldest time.Duration
	Away   bool
}

// Stats gives, by the services' ids, what reads their numbers.
func (s *Services) Stats() map[string]func() Stats {
	all := map[string]func() Stats{}
	for _, service := range s.all {
		all[service.ID] = service.stats
	}
	return all
}

func (s *Service) stats() Stats {
	s.mu.Lock()
	h := s.health
	s.mu.Unlock()
	stats := Stats{
		Transactions: s.counts.transactions.Load(), Events: s.counts.events.Load(), Ephemeral: s.counts.ephemeral.Load(),
		Messages: s.counts.messages.Load(), Failures: s.counts.failures.Load(), Away: h.failures > 0,
	}
	if !h.behind.IsZero() {
		stats.Oldest = time.Since(h.behind)
	}
	return stats
}
