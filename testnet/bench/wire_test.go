package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestReplies(t *testing.T) {
	lines := func(lines ...string) string { return strings.Join(lines, "\r\n") }
	for name, c := range map[string]struct {
		raw  string
		want string // the status, the body and what else is known; "": an error
	}{
		"a length":                {lines("HTTP/1.1 200 OK", "content-length: 2", "", "{}"), "200 {} keep"},
		"lines without a return":  {"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}", "200 {} keep"},
		"chunks":                  {lines("HTTP/1.1 200 OK", "Transfer-Encoding: Chunked", "", "1", "{", "1;x=y", "}", "0", "", ""), "200 {} keep"},
		"chunks and a trailer":    {lines("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "", "2", "{}", "0", "Digest: x", "", ""), "200 {} keep"},
		"chunks beside a length":  {lines("HTTP/1.1 200 OK", "Content-Length: 1", "Transfer-Encoding: chunked", "", "2", "{}", "0", "", ""), "200 {} keep"},
		"until it is closed":      {lines("HTTP/1.1 200 OK", "", "{}"), "200 {}"},
		"said to be the last":     {lines("HTTP/1.1 200 OK", "Connection: Close", "Content-Length: 2", "", "{}"), "200 {}"},
		"an old version":          {lines("HTTP/1.0 200 OK", "Content-Length: 2", "", "{}"), "200 {}"},
		"a hint first":            {lines("HTTP/1.1 100 Continue", "", "HTTP/1.1 200 OK", "Content-Length: 2", "", "{}"), "200 {} keep"},
		"no reason":               {lines("HTTP/1.1 204", "", ""), "204  keep"},
		"a refusal":               {lines("HTTP/1.1 429 Too Many Requests", "Retry-After: 3", "Content-Length: 0", "", ""), "429  keep retry 3"},
		"nothing":                 {"", ""},
		"another protocol":        {lines("SSH-2.0-x", "", ""), ""},
		"no status":               {lines("HTTP/1.1 OK", "", ""), ""},
		"a status of no kind":     {lines("HTTP/1.1 20", "", ""), ""},
		"a length below zero":     {lines("HTTP/1.1 200 OK", "Content-Length: -1", "", "{}"), ""},
		"a length beyond bounds":  {lines("HTTP/1.1 200 OK", "Content-Length: 999999999999", "", "{}"), ""},
		"another encoding":        {lines("HTTP/1.1 200 OK", "Transfer-Encoding: gzip", "", "{}"), ""},
		"an end in the head":      {lines("HTTP/1.1 200 OK", "Content-Length: 2"), ""},
		"an end in the body":      {lines("HTTP/1.1 200 OK", "Content-Length: 3", "", "{}"), ""},
		"an end among the chunks": {lines("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "", "2", "{}", ""), ""},
		"a line without an end":   {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxHeadLine), ""},
		"lines without an end":    {"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", maxHeadLines+1) + "\r\n", ""},
	} {
		in := bufio.NewReaderSize(strings.NewReader(c.raw), maxHeadLine)
		r, err := readReply(in)
		got := fmt.Sprintf("%d %s", r.status, r.body)
		if r.keep {
			got += " keep"
		}
		if r.retryAfter != "" {
			got += " retry " + r.retryAfter
		}
		switch {
		case c.want == "" && err == nil:
			t.Errorf("%s: %s, and should be an error", name, got)
		case c.want != "" && (err != nil || got != c.want):
			t.Errorf("%s: %s, %v, and should be %s", name, got, err, c.want)
		case c.want != "" && in.Buffered() > 0:
			t.Errorf("%s: %d bytes are left", name, in.Buffered())
		}
	}
}

func FuzzReply(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
	f.Fuzz(func(t *testing.T, raw string) {
		r, err := readReply(bufio.NewReaderSize(strings.NewReader(raw), maxHeadLine))
		if err == nil && (r.status < 200 || len(r.body) > len(raw)) {
			t.Fatalf("%d and %d bytes of %d", r.status, len(r.body), len(raw))
		}
	})
}

func TestConnectionsAreKept(t *testing.T) {
	opened := make(chan struct{}, 100)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, "%s %s %s %s %s", r.Method, r.URL, r.Host, r.Header.Get("Authorization"), body)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened <- struct{}{}
		}
	}
	server.Start()
	defer server.Close()
	w := &wire{address: server.Listener.Addr().String()}
	defer w.close()
	ask := func(method, token, body, want string) {
		t.Helper()
		r, err := w.ask(t.Context(), method, "/a%20b?c", token, []byte(body))
		if want = fmt.Sprintf(want, w.address); err != nil || r.status != http.StatusOK || string(r.body) != want {
			t.Fatalf("%d %s, %v, and should be %s", r.status, r.body, err, want)
		}
	}
	ask("GET", "", "", "GET /a%%20b?c %s  ")
	ask("PUT", "secret", "{}", "PUT /a%%20b?c %s Bearer secret {}")
	ask("POST", "", "", "POST /a%%20b?c %s  ")
	if len(opened) != 1 {
		t.Errorf("%d connections for one request after the other", len(opened))
	}
	// Those that the server has closed are no failure.
	server.CloseClientConnections()
	ask("PUT", "secret", "{}", "PUT /a%%20b?c %s Bearer secret {}")
	if len(opened) != 2 {
		t.Errorf("%d connections with one that was closed", len(opened))
	}
	w.close()
	ask("GET", "", "", "GET /a%%20b?c %s  ")
}

// A server that never answers is not asked again, and nobody waits for it who has given up.
func TestWhoGivesUpWaitsNoLonger(t *testing.T) {
	asked, gone := make(chan struct{}, 10), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		select {
		case <-r.Context().Done():
		case <-gone:
			panic(http.ErrAbortHandler)
		}
	}))
	defer server.Close()
	w := &wire{address: server.Listener.Addr().String()}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if _, err := w.ask(ctx, "GET", "/", "", nil); err != context.Canceled {
		t.Errorf("who gave up: %v", err)
	}
	close(gone)
	if r, err := w.ask(t.Context(), "GET", "/", "", nil); err == nil {
		t.Errorf("a connection that was closed without an answer: %d", r.status)
	}
	if len(asked) != 1 || len(w.idle) != 0 {
		t.Errorf("asked %d times more, %d connections are kept", len(asked), len(w.idle))
	}
}
