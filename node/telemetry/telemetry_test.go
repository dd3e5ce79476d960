package telemetry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func get(t *testing.T, handler http.Handler, path string) (int, string) {
	t.Helper()
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest("GET", path, nil))
	body, err := io.ReadAll(recorder.Body)
	if err != nil {
		t.Fatal(err)
	}
	return recorder.Code, string(body)
}

func TestReadinessFollowsTheNode(t *testing.T) {
	node := New("test")
	var broken error
	node.Check = func(context.Context) error { return broken }
	for _, c := range []struct {
		running bool
		broken  error
		status  int
		text    string
	}{
		{false, nil, http.StatusServiceUnavailable, "not ready: the server starts or stops\n"},
		{true, nil, http.StatusOK, "ready\n"},
		{true, errors.New("the disk is full"), http.StatusServiceUnavailable, "not ready: the disk is full\n"},
		{true, nil, http.StatusOK, "ready\n"},
		{false, nil, http.StatusServiceUnavailable, "not ready: the server starts or stops\n"},
	} {
		node.SetReady(c.running)
		broken = c.broken
		if status, text := get(t, node.Handler(), "/ready"); status != c.status || text != c.text {
			t.Errorf("running=%v, %v: %d %q", c.running, c.broken, status, text)
		}
		if _, metrics := get(t, node.Handler(), "/metrics"); strings.Contains(metrics, "\nhanse_ready 1\n") != (c.status == http.StatusOK) {
			t.Errorf("running=%v, %v, but the metric hanse_ready says something else", c.running, c.broken)
		}
		if status, _ := get(t, node.Handler(), "/health"); status != http.StatusOK {
			t.Errorf("alive, but /health says %d", status)
		}
	}
}

func TestRequestsAreCountedInClosedSets(t *testing.T) {
	node := New("test")
	handler := node.Measure("client", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	for _, m := range []string{"GET", "BREW"} {
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(m, "/", nil))
	}
	_, metrics := get(t, node.Handler(), "/metrics")
	for _, want := range []string{
		`hanse_http_request_seconds_count{api="client",method="GET",status="4xx"} 1`,
		`hanse_http_request_seconds_count{api="client",method="other",status="4xx"} 1`,
		`hanse_build_info{version="test"} 1`, "go_goroutines",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}
