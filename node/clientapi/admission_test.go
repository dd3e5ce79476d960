package clientapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hanse/node/rooms"
)

// A lane works on so many at once; the next wait, for a bounded time, and those after them not at all.
func TestLanesBoundWhatIsWorkedOnAndWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLane(1, 1)
		if err := l.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		waited := make(chan error, 1)
		go func() { waited <- l.enter(t.Context()) }()
		synctest.Wait()
		var limited *limitedError
		if err := l.enter(t.Context()); !errors.As(err, &limited) || limited.after != busyRetry {
			t.Errorf("a second one may wait: %v", err)
		}
		started := time.Now()
		if err := <-waited; !errors.As(err, &limited) || time.Since(started) != maxQueueWait {
			t.Errorf("after %v: %v", time.Since(started), err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { waited <- l.enter(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-waited; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		go func() { waited <- l.enter(t.Context()) }()
		synctest.Wait()
		l.leave()
		if err := <-waited; err != nil {
			t.Error(err)
		}
	})
}

// What is sent away is told when to come again, and its body isn't read first.
func TestRefusalsAreCheap(t *testing.T) {
	a := &API{lanes: newLanes(), bodies: newHeldBodies(), limiter: newLimiter(RateLimits{Off: true}), log: slog.New(slog.DiscardHandler)}
	a.lanes.sends = newLane(0, 0)
	ask := func(class limitClass, serve func(*request) (any, error)) (answer *httptest.ResponseRecorder, left int) {
		answer = httptest.NewRecorder()
		body := strings.NewReader("{}")
		r := &request{Request: httptest.NewRequest("PUT", "/", body), writer: answer, api: a}
		a.serve(answer, r, methods{"PUT": route{auth: withoutUser, class: class, serve: serve}})
		return answer, body.Len()
	}
	told := func(answer *httptest.ResponseRecorder, status int) {
		t.Helper()
		if answer.Code != status || answer.Header().Get("Retry-After") != "2" || !strings.Contains(answer.Body.String(), `"retry_after_ms":2000`) {
			t.Error(answer.Code, answer.Header(), answer.Body)
		}
	}
	answer, left := ask(sendsEvent, nil)
	told(answer, http.StatusTooManyRequests)
	if left != 2 {
		t.Error("the body was read")
	}
	answer, _ = ask(ordinary, func(*request) (any, error) { return nil, rooms.ErrStopped })
	told(answer, http.StatusServiceUnavailable)
	answer, left = ask(ordinary, func(*request) (any, error) { return nil, nil })
	if answer.Code != http.StatusOK || left != 0 {
		t.Error("others are served:", answer.Code, left)
	}
}

// A sync that reads whole states is large, however the query words it.
func TestSyncsAreToldApart(t *testing.T) {
	a := &API{lanes: newLanes()}
	for query, want := range map[string]*lane{
		"": a.lanes.large, "since=s1": a.lanes.ordinary, "since=s1&timeout=0": a.lanes.ordinary, "since=s1&timeout=9": a.lanes.waiting,
		"since=s1&timeout=9&full_state=true": a.lanes.large, "since=s1&timeout=9&full_state=1": a.lanes.large, "since=s1&timeout=9&full_state=False": a.lanes.waiting,
	} {
		r := &request{Request: httptest.NewRequest("GET", "/sync?"+query, nil), api: a}
		if a.lane(r, route{path: "/sync"}) != want {
			t.Errorf("%q is in another lane", query)
		}
	}
}

// Who listens to /events takes no place of those who are answered at once, and first syncs of the old form are large as those of the new.
func TestOldSyncsAreToldApart(t *testing.T) {
	a := &API{lanes: newLanes()}
	for path, want := range map[string]*lane{
		"/events": a.lanes.waiting, "/events?timeout=9&from=s1": a.lanes.waiting, "/events?timeout=0&from=s1": a.lanes.ordinary,
		"/initialSync": a.lanes.large, "/rooms/{roomId}/initialSync": a.lanes.large,
	} {
		r := &request{Request: httptest.NewRequest("GET", path, nil), api: a}
		pattern, _, _ := strings.Cut(path, "?")
		if a.lane(r, route{path: pattern}) != want {
			t.Errorf("%s is in another lane", path)
		}
	}
}

// Requests without a body go on while the bodies of others take all that bodies may take.
func TestBodiesAreBoundedTogether(t *testing.T) {
	a := &API{bodies: newHeldBodies()}
	for i := range maxBodyMemory / maxBodiesEach {
		a.bodies.add(strconv.Itoa(i), maxBodiesEach)
	}
	read := func(body string) error {
		r := &request{Request: httptest.NewRequest("PUT", "/", strings.NewReader(body)), writer: httptest.NewRecorder(), api: a}
		r.Request.Body = http.MaxBytesReader(nil, r.Request.Body, maxBodyBytes)
		release, err := a.readAhead(r)
		if err == nil {
			release()
		}
		return err
	}
	if err := read(""); err != nil {
		t.Error(err)
	}
	var limited *limitedError
	if err := read("{}"); !errors.As(err, &limited) {
		t.Error(err)
	}
	if held := a.bodies.total(); held != maxBodyMemory {
		t.Errorf("%d bytes are still held", held-maxBodyMemory)
	}
	a.bodies = newHeldBodies()
	if err := read("{}"); err != nil || a.bodies.total() != 0 || len(a.bodies.each) != 0 {
		t.Error(err, a.bodies)
	}
	a.bodies.add("192.0.2.1", maxBodiesEach) // those of httptest
	if err := read("{}"); !errors.As(err, &limited) {
		t.Error("from an address that has its part already:", err)
	}
	a.bodies.add("192.0.2.1", -1)
	a.bodies.add("192.0.2.1", -1)
	if err := read("{}"); err != nil {
		t.Error(err)
	}
}

// Whoever asks for as much at once as they like, of what takes as long as others like, keeps nobody else out: neither from that nor from the rest.
func TestNobodyTakesAllPlaces(t *testing.T) {
	type question struct {
		path, query string
		class       limitClass
		count       int
	}
	for _, slow := range []question{
		{"/keys/query", "", ordinary, 1000}, {"/profile/{userId}", "", ordinary, 1000}, {"/rooms/{roomId}/event/{eventId}", "", ordinary, 1000},
		{"/rooms/{roomId}/state", "", ordinary, 1000}, {"/join/{roomIdOrAlias}", "", joins, 1000}, {"/rooms/{roomId}/send/{eventType}/{txnId}", "", sendsEvent, 1000},
		{"/sync", "?since=s1&timeout=30000", ordinary, maxSyncs},
	} {
		t.Run(slow.path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &API{lanes: newLanes(), bodies: newHeldBodies(), limiter: newLimiter(RateLimits{Off: true}), log: slog.New(slog.DiscardHandler)}
				answers := make(chan struct{})
				ask := func(from string, q question, serve func(*request) (any, error)) int {
					answer := httptest.NewRecorder()
					r := &request{Request: httptest.NewRequestWithContext(t.Context(), "GET", "/"+q.query, nil), writer: answer, api: a}
					r.RemoteAddr = from
					return a.serve(answer, r, methods{"GET": route{path: q.path, auth: withoutUser, class: q.class, serve: serve}})
				}
				for range slow.count {
					go ask("192.0.2.1:1", slow, func(*request) (any, error) { <-answers; return nil, nil })
				}
				synctest.Wait()
				quick := func(*request) (any, error) { return nil, nil }
				for _, q := range []question{slow, {path: "/account/whoami"}} {
					if status := ask("192.0.2.2:1", q, quick); status != http.StatusOK {
						t.Errorf("another one's %s is answered with %d", q.path, status)
					}
				}
				close(answers)
				synctest.Wait()
				if status := ask("192.0.2.1:1", slow, quick); status != http.StatusOK {
					t.Errorf("once it has answers, its next is answered with %d", status)
				}
			})
		})
	}
}

// Some of those that wait for others of the same user wait long, as a user's clients ask at once what takes seconds; of a flood the rest
// are told soon, as anybody is whose turn doesn't come, and what is more than may wait at once.
func TestWhoFloodsIsToldSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := sharedLane(8, 100, 2)
		for range 2 {
			leave, err := l.enterFor(t.Context(), "@alice:a")
			if err != nil {
				t.Fatal(err)
			}
			defer leave()
		}
		started := time.Now()
		after := map[time.Duration]int{}
		told := make(chan time.Duration)
		for range 2 + patientEach + 100 {
			go func() {
				_, err := l.enterFor(t.Context(), "@alice:a")
				var limited *limitedError
				if !errors.As(err, &limited) {
					t.Error(err)
				}
				told <- time.Since(started)
			}()
			synctest.Wait()
		}
		for range 2 + patientEach + 100 {
			after[<-told]++
		}
		if after[ownPatience] != patientEach || after[maxQueueWait] != 100 || after[0] != 2 {
			t.Errorf("how many were told to come again, and when: %v", after)
		}
		if leave, err := l.enterFor(t.Context(), "@bob:a"); err != nil {
			t.Error("another user:", err)
		} else {
			leave()
		}
	})
}

// Those who find all slots taken wait in the lane's queue alone, for as long as it has them.
func TestPartsDoNotQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := sharedLane(1, 1, 1)
		for i := range 3 { // one more than work and wait
			if _, err := l.enterFor(t.Context(), strconv.Itoa(i)); err != nil {
				t.Fatal(err)
			}
		}
	})
}
