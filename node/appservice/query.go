package appservice

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"hanse/federation"
	"hanse/federation/id"
)

// HasUser asks the services in whose namespaces a user of this server would be whether there is one: then it has made the account
// by the time of the answer. 408 if a service did not answer.
//
// spec:application-service-api#get_matrixappv1usersuserid
func (s *Services) HasUser(ctx context.Context, user id.UserID) (bool, error) {
	return s.query(ctx, "/users/"+url.PathEscape(string(user)), func(service *Service) bool {
		return service.Sender != user && service.Users.Match(string(user))
	})
}

// HasAlias asks the services in whose namespaces an alias of this server would be whether there is one: then it has made the room and
// its alias by the time of the answer. 408 if a service did not answer.
//
// spec:application-service-api#get_matrixappv1roomsroomalias
func (s *Services) HasAlias(ctx context.Context, alias id.RoomAlias) (bool, error) {
	return s.query(ctx, "/rooms/"+url.PathEscape(string(alias)), func(service *Service) bool { return service.Aliases.Match(string(alias)) })
}

// query asks those services whom it concerns, until one says yes. What several ask about at a time is asked once. M_LIMIT_EXCEEDED if
// too many wait already.
func (s *Services) query(ctx context.Context, path string, concerns func(*Service) bool) (bool, error) {
	var concerned []*Service
	for _, service := range s.all {
		if service.URL != "" && concerns(service) {
			concerned = append(concerned, service)
		}
	}
	if len(concerned) == 0 {
		return false, nil
	}
	select {
	case s.askers <- struct{}{}:
		defer func() { <-s.askers }()
	default:
		return false, federation.LimitExceeded(queryPause)
	}
	for _, service := range concerned {
		select {
		case result := <-service.flights.DoChan(path, func() (any, error) {
			within, cancel := context.WithTimeout(context.WithoutCancel(ctx), queryTimeout)
			defer cancel()
			return service.exists(within, path)
		}):
			if result.Err != nil || result.Val.(bool) {
				return result.Err == nil, result.Err
			}
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	return false, nil
}

// exists asks one service, several times if it doesn't answer; once if it did not answer the last time either.
//
// spec:application-service-api#querying
func (s *Service) exists(ctx context.Context, path string) (bool, error) {
	if !s.enter(ctx) {
		return false, federation.LimitExceeded(queryPause)
	}
	defer s.leave()
	tries := queryTries
	if s.away() {
		tries = 1
	}
	for try := 1; ; try++ {
		a, err := s.ask(ctx, call{method: http.MethodGet, path: path, legacy: path, most: maxAnswerBytes})
		if err == nil {
			if !a.good() && a.status != http.StatusNotFound {
				s.log.Debug("an application service was asked in vain", "path", path, "error", a.refused())
			}
			return a.good(), nil
		}
		s.log.Debug("an application service does not answer a question", "path", path, "error", err)
		if try == tries || ctx.Err() != nil {
			return false, federation.NewError(http.StatusRequestTimeout, federation.CodeUnknown,
				"the application service that this belongs to does not answer")
		}
		select {
		case <-time.After(queryPause):
		case <-ctx.Done():
		}
	}
}

// enter takes a place among the questions that are with the service; false: they are too many, for too long.
func (s *Service) enter(ctx context.Context) bool {
	select {
	case s.queries <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *Service) leave() { <-s.queries }
