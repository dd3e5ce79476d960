package appservice

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight" // what many ask about at a time is asked once

	"hanse/federation/id"
	"hanse/node/store"
)

// Service is one application service. Safe for concurrent use.
type Service struct {
	Registration
	services *Services
	log      *slog.Logger
	client   *http.Client
	// queryToken is whether it wants the hs_token in the query too, as before Matrix 1.4.
	queryToken atomic.Bool
	queries    chan struct{} // holds a value for each question that is with it
	flights    singleflight.Group
	wake       chan struct{} // has a value when it is to be tried at once
	reads      sync.Once     // it was said that its devices find no messages by /sync
	protocols  protocolCache
	counts     counts

	cursor store.ServiceCursor // set by Delivery.Open, then owned by its worker

	mu     sync.Mutex
	health health // guarded by mu
}

// counts are for metrics.
type counts struct{ transactions, events, ephemeral, messages, failures atomic.Int64 }

// health is how it stands with a service.
type health struct {
	behind    time.Time // since when something waits for it; zero: nothing does
	upto      store.Position
	away      time.Time // since when it takes nothing; zero: it does
	failures  int       // in a row
	why       string
	tried     time.Time
	nextTry   time.Time
	lastTaken time.Time
}

func newService(s *Services, r Registration, client *http.Client) *Service {
	return &Service{
		Registration: r, services: s, log: s.log.With("service", r.ID), client: client,
		queries: make(chan struct{}, maxQueries), wake: make(chan struct{}, 1),
	}
}

// Covers tells whether a service may act as a user: its sender, and users of this server in its namespaces.
//
// spec:application-service-api#identity-assertion
func (s *Service) Covers(user id.UserID) bool {
	return user.Server() == s.services.config.Self && (user == s.Sender || s.Users.Match(string(user)))
}

// takesMessages tells whether messages to the devices that it makes go to it in transactions.
func (s *Service) takesMessages() bool { return s.Encryption && s.URL != "" }

// Limited tells whether a user whom the service acts as is held to the limits of requests.
func (s *Service) Limited(user id.UserID) bool { return s.RateLimited && user != s.Sender }

// Heard notes that the service is there, as it asks for something: if it took nothing the last time, it is tried again now.
func (s *Service) Heard() {
	s.mu.Lock()
	retry := s.health.failures > 0 && time.Since(s.health.tried) >= firstRetry
	s.mu.Unlock()
	if retry {
		s.rouse()
	}
}

// rouse has it be tried at once.
func (s *Service) rouse() {
	select {
	case s.wake <- struct{}{}:
	default: // it is about to be
	}
}

func (s *Service) open(c store.ServiceCursor) {
	s.cursor = c
	s.mu.Lock()
	defer s.mu.Unlock()
	s.health.upto = c.Upto
}

// away tells whether it took nothing the last time.
func (s *Service) away() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.health.failures > 0
}

// taken notes that it took something.
func (s *Service) taken() {
	s.counts.transactions.Add(1)
	s.mu.Lock()
	before, now := s.health, time.Now()
	s.health.failures, s.health.why, s.health.away, s.health.nextTry = 0, "", time.Time{}, time.Time{}
	s.health.tried, s.health.lastTaken = now, now
	s.mu.Unlock()
	if before.failures > 0 {
		s.log.Info("an application service is back", "after", now.Sub(before.away).Round(time.Second))
	}
}

// failed notes that it did not, and says how long to wait before the next try.
func (s *Service) failed(ctx context.Context, err error) (wait time.Duration) {
	if ctx.Err() != nil {
		return 0
	}
	s.counts.failures.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	wait = lastRetry
	if s.health.failures < 30 { // beyond, the shift would overflow
		wait = min(firstRetry<<s.health.failures, lastRetry)
	}
	wait = wait/2 + rand.N(wait/2+1)
	if s.health.failures++; s.health.failures == 1 {
		s.health.away = now
		s.log.Warn("an application service does not take what it is sent; what waits for it is sent when it does", "url", s.URL, "error", err)
	}
	s.health.why, s.health.tried, s.health.nextTry = err.Error(), now, now.Add(wait)
	return wait
}

// at notes how far it is, and whether something waits for it.
func (s *Service) at(upto store.Position, waiting bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.health.upto = upto
	switch {
	case !waiting:
		s.health.behind = time.Time{}
	case s.health.behind.IsZero():
		s.health.behind = time.Now()
	}
}
