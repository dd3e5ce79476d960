// Package appservice serves application services: bridges and bots that have a part of the users, aliases or rooms of this server.
// It reads their registrations, tells them what happens in the rooms they are interested in, and asks them about users and aliases
// that don't exist yet and about third-party networks.
//
// What they ask of this server goes by the client-server API, which asks here whose a token is and what its service may do.
//
// Each service has a cursor in the order of commits. While it is away nothing is kept for it but that number and, if one was
// under way, a transaction.
package appservice

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"

	"hanse/federation/id"
)

// Config is what Services are made of. Self must be set.
type Config struct {
	Self          id.ServerName
	Registrations []Registration
	// TLS verifies services with https URLs; nil: by the system's authorities.
	TLS *tls.Config
	// Dial connects; nil: the machine's network. The operator chooses the addresses, so that private ones are as good as others.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// UserAgent is what the services are told of who asks.
	UserAgent string
	// Log may be nil: silent.
	Log *slog.Logger
}

// Services are all application services of this server. The zero value has none. Safe for concurrent use.
type Services struct {
	config Config
	log    *slog.Logger
	all    []*Service                     // in the order of the configuration
	askers chan struct{}                  // holds a value for each call of query that waits for an answer
	tokens map[[sha256.Size]byte]*Service // immutable; by the as_token's hash, so that looking up tells nothing of the tokens
}

// New makes them.
func New(config Config) (*Services, error) {
	if config.Self == "" {
		return nil, errors.New("appservice: Self is needed")
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	if config.Dial == nil {
		config.Dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	transport := &http.Transport{
		DialContext: config.Dial, TLSClientConfig: config.TLS, TLSHandshakeTimeout: dialTimeout, ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: 4, IdleConnTimeout: idleTimeout, MaxResponseHeaderBytes: maxAnswerBytes,
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	s := &Services{config: config, log: config.Log, askers: make(chan struct{}, maxAskers), tokens: map[[sha256.Size]byte]*Service{}}
	for _, r := range config.Registrations {
		service := newService(s, r, client)
		s.all = append(s.all, service)
		s.tokens[sha256.Sum256([]byte(r.ASToken))] = service
	}
	return s, nil
}

// ByToken finds the service whose as_token it is.
func (s *Services) ByToken(token string) (*Service, bool) {
	service, ok := s.tokens[sha256.Sum256([]byte(token))]
	return service, ok
}

// Any tells whether there are any.
func (s *Services) Any() bool { return len(s.all) > 0 }

// Reserved tells whether a user ID is exclusively a service's.
func (s *Services) Reserved(user id.UserID) bool { return !s.MayUse(user, nil) }

// MayUse tells whether a user ID may be registered by a service, or, with nil, by anybody else: not if it is exclusively another
// one's.
func (s *Services) MayUse(user id.UserID, by *Service) bool {
	for _, service := range s.all {
		if service != by && (service.Sender == user || service.Users.Exclusive(string(user))) {
			return false
		}
	}
	return true
}

// MayTakeMessages tells whether there is a service that may get messages to a user's devices in transactions.
func (s *Services) MayTakeMessages(user id.UserID) bool {
	return slices.ContainsFunc(s.all, func(service *Service) bool { return service.takesMessages() && service.Covers(user) })
}

// TakesMessages tells whether messages to a user's device, which the service of the id maker has made, go to that in transactions
// and nowhere else.
func (s *Services) TakesMessages(maker string, user id.UserID, device string) bool {
	for _, service := range s.all {
		if service.ID == maker && service.takesMessages() && service.Covers(user) {
			service.reads.Do(func() {
				service.log.Info("a device of an application service asks /sync, which has no messages to it: they go in transactions, as "+
					"org.matrix.msc3202 in the registration says; without it they would be there", "user", user, "device", device)
			})
			return true
		}
	}
	return false
}

// MayName is MayUse for aliases.
func (s *Services) MayName(alias id.RoomAlias, by *Service) bool {
	for _, service := range s.all {
		if service != by && service.Aliases.Exclusive(string(alias)) {
			return false
		}
	}
	return true
}
