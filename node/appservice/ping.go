package appservice

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"hanse/federation"
)

// BadStatus says that a service answered a ping, but not with success.
type BadStatus struct {
	Status int
	Body   string // the beginning of it
}

func (e *BadStatus) Error() string {
	return fmt.Sprintf("the application service answered with HTTP %d", e.Status)
}

// Ping asks the service whether it is there, and tells how long the answer took. txn is passed on; nil: there is none. Whatever waits
// for it is sent at once if it is. Errors: M_URL_NOT_SET, M_CONNECTION_FAILED, M_CONNECTION_TIMEOUT, and [*BadStatus].
//
// spec:application-service-api#post_matrixappv1ping
func (s *Service) Ping(ctx context.Context, txn *string) (time.Duration, error) {
	if s.URL == "" {
		return 0, federation.NewError(http.StatusBadRequest, "M_URL_NOT_SET", "the registration of this application service has no url")
	}
	body := []byte(`{}`)
	if txn != nil {
		var err error
		if body, err = json.Marshal(map[string]string{"transaction_id": *txn}); err != nil {
			return 0, err
		}
	}
	within, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	start := time.Now()
	a, err := s.ask(within, call{method: http.MethodPost, path: "/ping", body: body, most: maxAnswerBytes})
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case err != nil && timedOut(err):
		return 0, federation.NewError(http.StatusGatewayTimeout, "M_CONNECTION_TIMEOUT", "the application service did not answer in time")
	case err != nil:
		return 0, federation.NewError(http.StatusBadGateway, "M_CONNECTION_FAILED", "the application service can't be reached: "+err.Error())
	case !a.good():
		return 0, &BadStatus{Status: a.status, Body: a.shown(shownBytes)}
	}
	if s.away() {
		s.rouse()
	}
	return time.Since(start), nil
}
