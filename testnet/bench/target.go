package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ed25519"

	"hanse/federation/id"
	"hanse/keys"
	"hanse/testnet/adapter"
	"hanse/testnet/user"
)

// candidate is a homeserver to be measured: how it is started.
type candidate struct {
	name    string // a column of the table
	program string
	args    []string
}

// target is a running server under test, as its clients and peers see it.
type target struct {
	candidate candidate
	name      id.ServerName
	orders    adapter.Orders
	command   adapter.Command
	process   *adapter.Process
	keys      map[id.KeyID]ed25519.PublicKey
	wire      *wire // for clients
	txns      atomic.Int64
}

const sharedSecret = "bench" // of a server on loopback that lives for a minute

// start starts the server (again) and tells how long it took to be ready.
func (t *target) start(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	process, err := adapter.Start(ctx, t.command)
	if err != nil {
		return 0, err
	}
	t.process = process
	return time.Since(began), nil
}

// stop ends the server in order; kill ends it at once.
func (t *target) stop() error {
	t.wire.close()
	return t.process.Stop()
}

func (t *target) kill() {
	if t.process != nil {
		t.process.Kill()
		t.wire.close()
	}
}

// fetchKeys reads the server's signing keys by way of one of the bench's servers.
func (t *target) fetchKeys(ctx context.Context, by *server) error {
	var raw []byte
	if err := by.ask(ctx, t.name, http.MethodGet, "/_matrix/key/v2/server", nil, &raw); err != nil {
		return err
	}
	document, err := keys.ParseServerKeys(raw)
	if err != nil {
		return fmt.Errorf("the server's keys: %w", err)
	}
	t.keys = document.VerifyKeys
	return nil
}

// session is a client of the server under test: lean, for the hot paths.
type session struct {
	target *target
	id     id.UserID
	token  string
	user   *user.User // the same user, for everything else
}

// newSession makes an account.
func (t *target) newSession(ctx context.Context, name string) (*session, error) {
	u := user.New(t.orders.ClientURL())
	if err := u.Register(ctx, name, "a long password of the bench", sharedSecret); err != nil {
		return nil, err
	}
	return &session{target: t, id: id.UserID(u.ID), token: u.Token, user: u}, nil
}

// newSessions makes accounts, two at a time: the server hashes a password for each.
func (t *target) newSessions(ctx context.Context, prefix string, n int) ([]*session, error) {
	sessions := make([]*session, n)
	err := parallel(n, 2, func(i int) (err error) {
		sessions[i], err = t.newSession(ctx, prefix+strconv.Itoa(i))
		return err
	})
	return sessions, err
}

// call makes a request of the client-server API; a *refusal if the answer is not 200.
func (s *session) call(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	r, err := s.target.wire.ask(ctx, method, path, s.token, body)
	if err != nil {
		return nil, err
	}
	return accepted(r.status, r.retryAfter, r.body)
}

// get makes a request and decodes the answer.
func (s *session) get(ctx context.Context, path string, answer any) error {
	body, err := s.call(ctx, http.MethodGet, path, nil)
	if err == nil {
		err = json.Unmarshal(body, answer)
	}
	if err != nil {
		path, _, _ = strings.Cut(path, "?")
		return fmt.Errorf("GET %s: %w", path, err)
	}
	return nil
}

func roomPath(roomID, rest string) string {
	return "/_matrix/client/v3/rooms/" + url.PathEscape(roomID) + "/" + rest
}

// message is the content of a message.
type message struct {
	Type string `json:"msgtype"`
	Body string `json:"body"`
}

// say sends a message. txn 0 takes a new transaction ID; the same one again sends the same message again.
func (s *session) say(ctx context.Context, roomID, text string, txn int64) (sent, error) {
	if txn == 0 {
		txn = s.target.txns.Add(1)
	}
	body := encode(message{"m.text", text})
	said := sent{text: text, user: s.id, at: time.Now()}
	raw, err := s.call(ctx, http.MethodPut, roomPath(roomID, "send/m.room.message/b"+strconv.FormatInt(txn, 10)), body)
	said.ack = time.Now()
	if err != nil {
		return said, err
	}
	var answer struct {
		EventID id.EventID `json:"event_id"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil || answer.EventID == "" {
		return said, fmt.Errorf("the answer to a send is no event ID: %.200s", raw)
	}
	said.id = answer.EventID
	return said, nil
}

// history reads a room's messages, the oldest first, back to the first of the room or until enough says so.
func (s *session) history(ctx context.Context, roomID string, enough func(e user.Event) bool) ([]user.Event, error) {
	var events []user.Event
	from := ""
	for range maxPages {
		query := url.Values{"dir": {"b"}, "limit": {strconv.Itoa(pageSize)}}
		if from != "" {
			query.Set("from", from)
		}
		var page struct {
			Chunk []user.Event `json:"chunk"`
			End   string       `json:"end"`
		}
		if err := s.get(ctx, roomPath(roomID, "messages?"+query.Encode()), &page); err != nil {
			return nil, err
		}
		events = append(events, page.Chunk...)
		done := page.End == "" || page.End == from
		for _, e := range page.Chunk {
			done = done || enough != nil && enough(e)
		}
		if done {
			reverse(events)
			return events, nil
		}
		from = page.End
	}
	return nil, fmt.Errorf("the history of %s has more than %d pages", roomID, maxPages)
}

func reverse(events []user.Event) {
	for i, j := 0, len(events)-1; i < j; i, j = i+1, j-1 {
		events[i], events[j] = events[j], events[i]
	}
}

// visible waits until a user sees an event.
func (s *session) visible(ctx context.Context, roomID string, eventID id.EventID) error {
	deadline := time.Now().Add(settleTimeout)
	for {
		_, err := s.call(ctx, http.MethodGet, roomPath(roomID, "event/"+url.PathEscape(string(eventID))), nil)
		if err == nil {
			return nil
		}
		if refused, ok := asRefusal(err); !ok || refused.status == http.StatusUnauthorized || ctx.Err() != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the event %s is not there after %s: %w", eventID, settleTimeout, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// newTarget prepares a server under test in a folder of its own; nothing runs yet.
func newTarget(c candidate, name id.ServerName, orders adapter.Orders) (*target, error) {
	command, err := orders.Command(c.program, c.args...)
	if err != nil {
		return nil, err
	}
	command.Name = c.name
	command.Env = append(command.Env, "HANSE_LOG=info") // as servers run; a testnet's nodes say each request. To others it means nothing
	return &target{
		candidate: c, name: name, orders: orders, command: command,
		wire: &wire{address: strings.TrimPrefix(orders.ClientURL(), "http://")},
	}, nil
}

// parallel does n things, at most limit at once, and returns the first error.
func parallel(n, limit int, do func(i int) error) error {
	var wait sync.WaitGroup
	var next atomic.Int64
	errs := make([]error, min(limit, n))
	for w := range errs {
		wait.Go(func() {
			for i := int(next.Add(1) - 1); i < n && errs[w] == nil; i = int(next.Add(1) - 1) {
				errs[w] = do(i)
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}
