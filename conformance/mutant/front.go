// Package mutant tests the conformance suite: a proxy in front of a right server breaks one thing at a time, and the test
// that is meant to notice must fail. It knows where this repository's hanse keeps its signing key; the suite does not.
package mutant

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"hanse/conformance/literal"
	"hanse/federation/signedjson"
	"hanse/keys"
	"hanse/testnet/adapter"
	"hanse/testnet/fabric"
)

// Mutant is one thing that a server may get wrong.
type Mutant struct {
	Name string // what is wrong
	Test string // the whole text of the test that must notice
	// Answer changes what the server answered to a client or to another server.
	Answer func(x *Exchange)
	// Sends changes what the server asks another server.
	Sends func(x *Exchange)
}

// Front is the proxy. It implements suite.Front.
type Front struct {
	mutants map[string]Mutant // by test; immutable

	mu      sync.Mutex
	name    string         // guarded by mu: of the server
	key     signedjson.Key // guarded by mu: the server's
	active  Mutant         // guarded by mu: that of the running test
	version int            // guarded by mu: of the rooms that the running test is about
	seen    []string       // guarded by mu: events that peers sent in the running test
	typist  string         // guarded by mu: who typed, as a peer says
	notes   map[string]int // guarded by mu: what a mutant counts in the running test
}

// NewFront is a proxy that breaks one thing for each of some tests.
func NewFront(mutants []Mutant) *Front {
	f := &Front{mutants: map[string]Mutant{}, notes: map[string]int{}}
	for _, m := range mutants {
		f.mutants[m.Test] = m
	}
	return f
}

var (
	typing    = regexp.MustCompile(`"user_id":"([^"]+)"`)
	inVersion = regexp.MustCompile(`in room version (\d+)`)
)

// Begin takes the mutant that is for a test.
func (f *Front) Begin(test string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active, f.seen, f.version, f.notes = f.mutants[test], nil, 10, map[string]int{}
	if match := inVersion.FindStringSubmatch(test); match != nil {
		f.version, _ = strconv.Atoi(match[1]) // it is digits
	}
}

// Stand takes the server's place: its client-server API and its server-server API.
func (f *Front) Stand(server adapter.Orders, public, behind netip.Addr, ca *fabric.CA) (stop func(), err error) {
	file, err := keys.LoadFile(filepath.Join(server.DataDir, "signing.key"))
	if err != nil {
		return nil, err
	}
	host, _, _ := strings.Cut(server.ServerName, ":")
	certificate, key, err := ca.Issue(host, public.String())
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	f.name, f.key = server.ServerName, signedjson.Key(file.Current)
	f.mu.Unlock()
	clients, err := net.Listen("tcp", netip.AddrPortFrom(public, adapter.ClientPort).String())
	if err != nil {
		return nil, err
	}
	servers, err := net.Listen("tcp", netip.AddrPortFrom(public, adapter.FederationPort).String())
	if err != nil {
		return nil, errors.Join(err, clients.Close())
	}
	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true}, // the server behind is ours
		MaxIdleConnsPerHost: 32,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, netip.AddrPortFrom(behind, adapter.ClientPort).String())
		},
		DialTLSContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, ServerName: host}}
			return dialer.DialContext(ctx, network, netip.AddrPortFrom(behind, adapter.FederationPort).String())
		},
	}
	quiet := log.New(io.Discard, "", 0) // clients that go away are no news
	fronts := []*http.Server{
		{Handler: f.proxy(transport, "http"), ErrorLog: quiet},
		{Handler: f.proxy(transport, "https"), ErrorLog: quiet, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}},
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = fronts[0].Serve(clients) })
	serving.Go(func() { _ = fronts[1].ServeTLS(servers, "", "") })
	return func() {
		for _, front := range fronts {
			_ = front.Close() // the run is over
		}
		serving.Wait()
		transport.CloseIdleConnections()
	}, nil
}

// proxy passes requests on as they are, and answers as the mutant has them.
func (f *Front) proxy(transport http.RoundTripper, scheme string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client went away
		}
		ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, r.Method, scheme+"://behind"+r.RequestURI, bytes.NewReader(body))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		request.Header, request.Host = r.Header, r.Host
		response, err := transport.RoundTrip(request)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer response.Body.Close()
		answer, err := io.ReadAll(response.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		x := &Exchange{front: f, Method: r.Method, URI: r.RequestURI, Header: r.Header, Body: body, Status: response.StatusCode, AnswerHeader: response.Header, Answer: answer}
		f.watch(x)
		if active := f.current(); active.Answer != nil {
			active.Answer(x)
		}
		for name, values := range x.AnswerHeader {
			w.Header()[name] = values
		}
		w.Header().Del("Content-Length")
		w.WriteHeader(x.Status)
		_, _ = w.Write(x.Answer) // who went away misses it
	})
}

func (f *Front) current() Mutant {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.active
}

// watch notes the events that peers send.
func (f *Front) watch(x *Exchange) {
	if !x.is(http.MethodPut, "/_matrix/federation/v1/send/") {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if match := typing.FindSubmatch(x.Body); match != nil {
		f.typist = string(match[1])
	}
	for _, pdu := range x.pdus() {
		if e, err := literal.Read(f.version, pdu); err == nil && !slices.Contains(f.seen, e.ID) {
			f.seen = append(f.seen, e.ID)
		}
	}
}

// Intercept wraps a peer: what the server asks it is as the mutant has it.
func (f *Front) Intercept(peer http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		active := f.current()
		if active.Sends == nil {
			peer.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // it went away
		}
		x := &Exchange{front: f, Method: r.Method, URI: r.RequestURI, Header: r.Header.Clone(), Body: body, Host: r.Host, SNI: r.TLS.ServerName}
		active.Sends(x)
		if x.Dropped {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{}`)
			return
		}
		state := *r.TLS
		state.ServerName = x.SNI
		pass := func(w http.ResponseWriter, method, uri string, header http.Header, body []byte) {
			changed := httptest.NewRequest(method, uri, bytes.NewReader(body)).WithContext(r.Context())
			changed.Header, changed.Host, changed.TLS, changed.RemoteAddr, changed.RequestURI = header, x.Host, &state, r.RemoteAddr, uri
			peer.ServeHTTP(w, changed)
		}
		for _, further := range x.Further {
			y := &Exchange{front: f, Method: further.Method, URI: further.URI, Header: x.Header.Clone(), Body: further.Body}
			y.signRequest()
			pass(httptest.NewRecorder(), y.Method, y.URI, y.Header, y.Body)
		}
		pass(w, x.Method, x.URI, x.Header, x.Body) // last: the test goes on with its answer
	})
}

// String names a mutant.
func (m Mutant) String() string { return fmt.Sprintf("%s (to be noticed by: %s)", m.Name, m.Test) }
