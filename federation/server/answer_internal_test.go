package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pieces is an answer of so many pieces of 64 KiB.
type pieces int

func (n pieces) EncodeJSON(to io.Writer) error {
	piece := []byte(strings.Repeat(" ", 64<<10))
	for range n {
		if _, err := to.Write(piece); err != nil {
			return err
		}
	}
	return nil
}

// pipes are connections in memory, without buffers, whose deadlines go by the clock of a bubble.
type pipes struct {
	made   chan net.Conn
	closed chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.made:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error   { close(p.closed); return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// answering serves /large and /small to a client. Both speak HTTP/2 if it says so.
func answering(t *testing.T, large pieces, http2 bool) (get func(path string) *http.Response, connections *int) {
	a := &api{log: slog.New(slog.DiscardHandler)}
	mux := http.NewServeMux()
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) { a.stream(w, "large", large, false) })
	mux.HandleFunc("/small", func(w http.ResponseWriter, _ *http.Request) { a.stream(w, "small", pieces(1), false) })
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!http2)
	protocols.SetUnencryptedHTTP2(http2)
	listener := pipes{make(chan net.Conn), make(chan struct{})}
	server := &http.Server{Handler: mux, Protocols: protocols}
	go func() { _ = server.Serve(listener) }() // until it is closed
	connections = new(int)
	transport := &http.Transport{Protocols: protocols, MaxConnsPerHost: 1, DialContext: func(context.Context, string, string) (net.Conn, error) {
		*connections++
		ours, theirs := net.Pipe()
		listener.made <- theirs
		return ours, nil
	}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = server.Close()
		synctest.Wait()
	})
	return func(path string) *http.Response {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://x"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := transport.RoundTrip(q)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}, connections
}

// A peer that stops to read is cut off; over HTTP/2 that ends its answer alone, not the others on the connection.
func TestWhoDoesNotReadIsCutOff(t *testing.T) {
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				get, connections := answering(t, 1000, http2) // more than HTTP/2 lets be under way, 4 MiB
				stalled := get("/large")
				time.Sleep(pace.Patience / 2)
				if http2 {
					small := get("/small")
					if n, err := io.Copy(io.Discard, small.Body); n != 64<<10 || err != nil {
						t.Errorf("beside it: %d bytes, %v", n, err)
					}
				}
				time.Sleep(pace.Patience)
				if n, err := io.Copy(io.Discard, stalled.Body); err == nil || n > 8<<20 {
					t.Errorf("%d bytes, %v", n, err)
				}
				_ = stalled.Body.Close() // it was only read
				if http2 && *connections != 1 {
					t.Errorf("%d connections", *connections)
				}
			})
		})
	}
}

// Who reads slowly, but goes on reading, gets all: some need longer than others would wait.
func TestWhoReadsSlowlyGetsAll(t *testing.T) {
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const size = 900
				get, _ := answering(t, size, http2)
				started := time.Now()
				answer := get("/large")
				for n := range size {
					if _, err := io.CopyN(io.Discard, answer.Body, 64<<10); err != nil {
						t.Fatalf("piece %d after %s: %v", n, time.Since(started), err)
					}
					time.Sleep(900 * time.Millisecond)
				}
				if _, err := answer.Body.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
					t.Error(err)
				}
			})
		})
	}
}

// The time of an answer is not that of the connection.
func TestTheNextAnswerHasItsOwnTime(t *testing.T) {
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				get, connections := answering(t, 1, http2)
				for range 3 {
					if n, err := io.Copy(io.Discard, get("/large").Body); n != 64<<10 || err != nil || *connections != 1 {
						t.Errorf("%d bytes, %v, %d connections", n, err, *connections)
					}
					time.Sleep(2 * pace.Patience)
				}
			})
		})
	}
}

// Who reads a few bytes now and then doesn't keep a place for hours.
func TestWhoTricklesIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		get, _ := answering(t, 1000, false)
		answer := get("/large")
		var err error
		pieces := 0
		for ; err == nil && pieces < 1000; pieces++ {
			_, err = io.CopyN(io.Discard, answer.Body, 64<<10)
			time.Sleep(10 * time.Second)
		}
		if pieces > 20 {
			t.Errorf("%d pieces were read", pieces)
		}
	})
}
