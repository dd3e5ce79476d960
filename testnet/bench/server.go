package bench

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ed25519"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/federation/signedjson"
	"hanse/testnet/fabric"
)

// server is another homeserver, played by the bench: it listens, has a key, and is resident in the bench's rooms. It
// is lean, since it shares the machine with the server under test: what comes in is written down, and judged after the
// clock has stopped.
type server struct {
	name   id.ServerName
	key    signedjson.Key
	keys   []byte // its key document
	index  int
	world  *world
	client *http.Client // to servers under test
	config *tls.Config

	mu       sync.Mutex
	listener *http.Server // guarded by mu; nil while it is away
}

// world is what all servers of the bench have in common.
type world struct {
	pool *tls.Config // what is trusted

	mu    sync.Mutex
	rooms map[id.RoomID]*room // guarded by mu
	inbox *inbox              // guarded by mu; where transactions are written down
	joins func(r *room, at time.Time)
	whole bool // guarded by mu: nobody is left out of the answer to send_join
}

func (w *world) room(roomID id.RoomID) *room {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rooms[roomID]
}

// reset forgets the rooms of the last scenario and begins a new inbox.
func (w *world) reset() *inbox {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rooms, w.inbox, w.joins, w.whole = map[id.RoomID]*room{}, newInbox(), nil, false
	return w.inbox
}

// leaveOut tells whether members are left out of answers to send_join, where that is asked for.
func (w *world) leaveOut(yes bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.whole = !yes
}

func (w *world) add(rooms ...*room) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range rooms {
		w.rooms[r.id] = r
	}
}

func (w *world) box() *inbox {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.inbox
}

// onJoin is called when a send_join answer is out.
func (w *world) onJoin(f func(r *room, at time.Time)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.joins = f
}

// newServer makes a server that listens at place, and starts it. seed makes its key.
func newServer(w *world, ca *fabric.CA, place fabric.Place, index int, seed [ed25519.SeedSize]byte) (*server, error) {
	certPEM, keyPEM, err := ca.Issue(place.IP.String())
	if err != nil {
		return nil, err
	}
	certificate, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	s := &server{
		name: id.ServerName(place.Federation()), index: index, world: w,
		key:    signedjson.Key{ID: "ed25519:bench", Private: ed25519.NewKeyFromSeed(seed[:])},
		config: &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}},
	}
	s.client = &http.Client{
		Transport: &http.Transport{TLSClientConfig: w.pool.Clone(), MaxIdleConnsPerHost: 4, DisableCompression: true},
		Timeout:   requestTimeout,
	}
	document := encode(map[string]any{
		"server_name": string(s.name), "valid_until_ts": time.Now().Add(24 * time.Hour).UnixMilli(), "old_verify_keys": map[string]any{},
		"verify_keys": map[string]any{string(s.key.ID): map[string]any{"key": signedjson.EncodeBase64(s.key.Public())}},
	})
	if s.keys, err = signedjson.Sign(document, string(s.name), s.key); err != nil {
		return nil, err
	}
	return s, s.up()
}

// up begins to listen.
func (s *server) up() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		return nil
	}
	listener, err := net.Listen("tcp", string(s.name))
	if err != nil {
		return fmt.Errorf("the bench's server %s: %w", s.name, err)
	}
	s.listener = &http.Server{
		Handler: s.handler(), TLSConfig: s.config.Clone(), ReadHeaderTimeout: requestTimeout, ErrorLog: log.New(io.Discard, "", 0),
	}
	go func(server *http.Server) { _ = server.ServeTLS(listener, "", "") }(s.listener) // ends when down closes it
	return nil
}

// down ends to listen and cuts every connection, like a machine without power.
func (s *server) down() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		_ = s.listener.Close() // nobody is left who could act on it
		s.listener = nil
	}
	s.client.CloseIdleConnections()
}

func (s *server) user(localpart string) id.UserID {
	return id.UserID("@" + localpart + ":" + string(s.name))
}

// call is a signed request, encoded before any clock starts.
type call struct {
	method, uri, authorization string
	body                       []byte
}

func (s *server) sign(method, uri string, to id.ServerName, body []byte) (call, error) {
	authorization, err := federation.SignRequest(s.key, method, uri, s.name, to, body)
	return call{method: method, uri: uri, authorization: authorization.String(), body: body}, err
}

// transaction is the call that sends events.
func (s *server) transaction(to id.ServerName, txnID string, pdus ...json.RawMessage) (call, error) {
	body, err := json.Marshal(map[string]any{"origin": s.name, "origin_server_ts": time.Now().UnixMilli(), "pdus": pdus})
	if err != nil {
		return call{}, err
	}
	return s.sign(http.MethodPut, "/_matrix/federation/v1/send/"+url.PathEscape(txnID), to, body)
}

// refusal is an answer that is no 200.
type refusal struct {
	status     int
	retryAfter time.Duration // 0: not said
	body       string
}

func (e *refusal) Error() string { return fmt.Sprintf("answered %d %.300s", e.status, e.body) }

// temporary says that the server has too much to do, and has said so.
func (e *refusal) temporary() bool {
	return e.status == http.StatusTooManyRequests || e.status == http.StatusServiceUnavailable
}

// do makes a call and reads its answer; a *refusal if the answer is not 200.
func (s *server) do(ctx context.Context, to id.ServerName, c call) ([]byte, error) {
	return s.doLarge(ctx, to, c, 0)
}

// doLarge is do with room for an answer of a size, so that the bench doesn't copy what it reads again and again.
func (s *server) doLarge(ctx context.Context, to id.ServerName, c call, size int) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, c.method, "https://"+string(to)+c.uri, bytes.NewReader(c.body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", c.authorization)
	if len(c.body) > 0 {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := s.client.Do(request)
	return finish(response, err, size)
}

func finish(response *http.Response, err error, size int) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var read bytes.Buffer
	read.Grow(size)
	if _, err := read.ReadFrom(io.LimitReader(response.Body, maxBody)); err != nil {
		return nil, err
	}
	return accepted(response.StatusCode, response.Header.Get("Retry-After"), read.Bytes())
}

// accepted is the body of an answer, or a *refusal if its status is not 200.
func accepted(status int, retryAfter string, body []byte) ([]byte, error) {
	if status == http.StatusOK {
		return body, nil
	}
	refused := &refusal{status: status, body: string(body[:min(len(body), 300)])}
	var said struct {
		RetryAfterMS int64 `json:"retry_after_ms"`
	}
	if json.Unmarshal(body, &said) == nil {
		refused.retryAfter = time.Duration(said.RetryAfterMS) * time.Millisecond
	}
	if seconds, err := strconv.Atoi(retryAfter); err == nil && refused.retryAfter == 0 {
		refused.retryAfter = time.Duration(seconds) * time.Second
	}
	return nil, refused
}

// send sends events in a transaction and reads what the server made of them.
func (s *server) send(ctx context.Context, to id.ServerName, c call) error {
	body, err := s.do(ctx, to, c)
	if err != nil {
		return err
	}
	var answer struct {
		PDUs federation.PDUResults `json:"pdus"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("the answer to a transaction: %w", err)
	}
	for eventID, result := range answer.PDUs {
		if result.Error != "" {
			return fmt.Errorf("the server refused the event %s: %s", eventID, result.Error)
		}
	}
	return nil
}

// ask makes an unsigned-body request and decodes the answer.
func (s *server) ask(ctx context.Context, to id.ServerName, method, uri string, body []byte, answer any) error {
	c, err := s.sign(method, uri, to, body)
	if err != nil {
		return err
	}
	raw, err := s.do(ctx, to, c)
	if err != nil {
		path, _, _ := strings.Cut(uri, "?")
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if into, ok := answer.(*[]byte); ok {
		*into = raw
		return nil
	}
	return json.Unmarshal(raw, answer)
}

// asRefusal tells whether an error is an answer.
func asRefusal(err error) (*refusal, bool) {
	var refused *refusal
	ok := errors.As(err, &refused)
	return refused, ok
}
