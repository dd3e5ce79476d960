package clientapi

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hanse/federation/id"
)

// asks serves requests of users by a handler each, in virtual time.
func asks(t *testing.T) (*API, func(w http.ResponseWriter, user, path string, class limitClass, serve func(*request) (any, error)) int) {
	a := &API{lanes: newLanes(), bodies: newHeldBodies(), limiter: newLimiter(RateLimits{Off: true}), log: slog.New(slog.DiscardHandler)}
	return a, func(w http.ResponseWriter, user, path string, class limitClass, serve func(*request) (any, error)) int {
		defer func() { _ = recover() }() // an answer was broken off
		r := &request{Request: httptest.NewRequestWithContext(t.Context(), "GET", "/", nil), writer: w, api: a, user: id.UserID(user)}
		return a.serve(w, r, methods{"GET": route{path: path, auth: withoutUser, class: class, serve: serve}})
	}
}

func quick(*request) (any, error) { return nil, nil }

// Who reads some large answers slowly, as on a bad line, is answered what else they ask.
func TestSlowReadersKeepNoPlaceFromThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, ask := asks(t)
		for range cap(a.lanes.large.slots) {
			go ask(&stuckWriter{ResponseRecorder: httptest.NewRecorder()}, "@alice:a", "/search", ordinary, func(r *request) (any, error) {
				return r.later('[', 0, func(add addLater) error {
					return add(func(dst []byte) ([]byte, error) { return append(dst, `"`+strings.Repeat("x", 3*laterPart)+`"`...), nil })
				}), nil
			})
		}
		synctest.Wait()
		answer := httptest.NewRecorder()
		if ask(answer, "@alice:a", "/search", ordinary, quick); answer.Code != http.StatusOK {
			t.Error(answer.Code, answer.Body)
		}
		time.Sleep(time.Hour)
		if n := a.lanes.large.each.Owners(); n != 0 || len(a.lanes.large.slots) != 0 {
			t.Errorf("%d users and %d places are counted at the end", n, len(a.lanes.large.slots))
		}
	})
}

// Whatever was asked for, of the places of large answers one user has a part; and no other place meanwhile.
func TestLargeAnswersHaveOnePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, ask := asks(t)
		done := make(chan struct{})
		large := func(r *request) (any, error) {
			return r.later('[', largeState+1, func(addLater) error { <-done; return nil }), nil
		}
		for range 2 * cap(a.lanes.large.slots) {
			go ask(httptest.NewRecorder(), "@alice:a", "/room_keys/keys", ordinary, large)
		}
		synctest.Wait()
		answer := httptest.NewRecorder()
		if ask(answer, "@bob:a", "/search", ordinary, quick); answer.Code != http.StatusOK {
			t.Error("another's large request is answered with", answer.Code, answer.Body)
		}
		if n := len(a.lanes.ordinary.slots); n != 0 {
			t.Errorf("they have %d other places", n)
		}
		close(done)
	})
}

// stuckFlusher is a connection that takes nothing any more.
type stuckFlusher struct {
	*httptest.ResponseRecorder
	done chan struct{}
}

func (s stuckFlusher) Flush() { <-s.done }

// Clients that don't read which events they made keep nobody from sending.
func TestUnreadEventIDsHaveNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, ask := asks(t)
		done := make(chan struct{})
		for range cap(a.lanes.sends.slots) + 1 {
			go ask(stuckFlusher{httptest.NewRecorder(), done}, "@alice:a", "/rooms/{roomId}/send/{eventType}/{txnId}", sendsEvent, func(r *request) (any, error) {
				r.answered = func() {}
				return nil, nil
			})
		}
		synctest.Wait()
		answer := httptest.NewRecorder()
		if ask(answer, "@bob:a", "/rooms/{roomId}/send/{eventType}/{txnId}", sendsEvent, quick); answer.Code != http.StatusOK {
			t.Error(answer.Code, answer.Body)
		}
		close(done)
	})
}
