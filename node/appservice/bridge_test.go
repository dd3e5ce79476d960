package appservice_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

const (
	asToken = "as-token-of-the-test"
	hsToken = "hs-token-of-the-test"
)

// bridge is an application service of a test.
type bridge struct {
	address string
	extra   string // lines of the registration
	server  *http.Server

	mu           sync.Mutex
	refuse       func(path string) int      // guarded by mu: a status to refuse with, after the body is read; 0: none; -1: breaks off
	answer       func(r *http.Request) any  // guarded by mu: of questions; nil: 404
	tokenInQuery bool                       // guarded by mu: it doesn't look at the header
	legacy       bool                       // guarded by mu: it knows the paths of the drafts only
	transactions []transaction              // guarded by mu: all that came, in order
	asked        []string                   // guarded by mu: paths of questions
	answeredTo   map[string]json.RawMessage // guarded by mu: bodies of transactions, by their IDs
}

// transaction is one that came.
type transaction struct {
	id    string
	taken bool
	body  json.RawMessage
}

func newBridge() *bridge {
	GinkgoHelper()
	b := &bridge{address: freeAddress(), answeredTo: map[string]json.RawMessage{}}
	DeferCleanup(func() { b.stop() })
	return b
}

// registration writes the bridge's file.
func (b *bridge) registration(folder string) string {
	return write(folder, "registration.yaml", `
id: test bridge
url: http://`+b.address+`/
as_token: `+asToken+`
hs_token: `+hsToken+`
sender_localpart: bridgebot
rate_limited: false
protocols: [irc]
namespaces:
  users:
    - {exclusive: true, regex: '@_irc_.*'}
    - {exclusive: false, regex: '@shared_.*:hanse\.test'}
  aliases:
    - {exclusive: true, regex: '#_irc_.*'}
  rooms: []
`+b.extra)
}

// start has it answer.
func (b *bridge) start() {
	GinkgoHelper()
	listener, err := net.Listen("tcp", b.address)
	Expect(err).NotTo(HaveOccurred())
	b.server = &http.Server{Handler: b}
	go b.server.Serve(listener) //nolint:errcheck // it ends by stop
}

// stop has it be away.
func (b *bridge) stop() {
	if b.server != nil {
		_ = b.server.Close() // whoever is connected isn't any more
		b.server = nil
	}
}

func (b *bridge) set(change func(*bridge)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(b)
}

func (b *bridge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	path, known := strings.CutPrefix(r.URL.Path, "/_matrix/app/v1")
	if b.legacy {
		known = !known
		path = strings.TrimPrefix(path, "/_matrix/app/unstable")
	}
	answer := func(status int, body any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body) // who asked has gone
	}
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if b.tokenInQuery {
		token = r.URL.Query().Get("access_token")
	}
	txn, isTransaction := strings.CutPrefix(path, "/transactions/")
	switch status := b.status(path); {
	case !known && b.legacy:
		w.WriteHeader(404) // of before there were codes for it
		return
	case !known:
		answer(404, map[string]string{"errcode": "M_UNRECOGNIZED"})
		return
	case token != hsToken:
		answer(403, map[string]string{"errcode": "M_FORBIDDEN"})
		return
	case status != 0:
		if isTransaction {
			b.transactions = append(b.transactions, transaction{txn, false, body})
		}
		if status < 0 {
			panic(http.ErrAbortHandler)
		}
		answer(status, map[string]string{"errcode": "COM.EXAMPLE.NOT_NOW"})
		return
	}
	switch {
	case isTransaction:
		b.transactions = append(b.transactions, transaction{txn, true, body})
	case path != "/ping":
		b.asked = append(b.asked, path+"?"+r.URL.RawQuery)
		var said any
		if b.answer != nil {
			reply := b.answer
			b.mu.Unlock() // it may ask the node, which may ask us
			said = reply(r)
			b.mu.Lock()
		}
		if said == nil {
			answer(404, map[string]string{}) // as mautrix has it
			return
		}
		answer(200, said)
		return
	}
	answer(200, map[string]string{})
}

func (b *bridge) status(path string) int {
	if b.refuse == nil {
		return 0
	}
	return b.refuse(path)
}

// all are the transactions that came.
func (b *bridge) all() []transaction {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]transaction{}, b.transactions...)
}

// questions are the paths that were asked.
func (b *bridge) questions() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string{}, b.asked...)
}

// events are what was taken, of each transaction once.
func (b *bridge) events() (events []map[string]any) {
	seen := map[string]bool{}
	for _, t := range b.all() {
		if !t.taken || seen[t.id] {
			continue
		}
		seen[t.id] = true
		events = append(events, t.list("events")...)
	}
	return events
}

func (t transaction) list(key string) (events []map[string]any) {
	var body map[string]json.RawMessage
	Expect(json.Unmarshal(t.body, &body)).To(Succeed(), string(t.body))
	if body[key] != nil {
		Expect(json.Unmarshal(body[key], &events)).To(Succeed(), string(t.body))
	}
	return events
}

// said are the texts of the messages that were taken.
func (b *bridge) said() (texts []string) {
	for _, e := range b.events() {
		if e["type"] == "m.room.message" {
			texts = append(texts, e["content"].(map[string]any)["body"].(string))
		}
	}
	return texts
}

// ephemeral are the ephemeral events of a type that were taken.
func (b *bridge) ephemeral(key, typ string) (events []map[string]any) {
	for _, t := range b.all() {
		if !t.taken {
			continue
		}
		for _, e := range t.list(key) {
			if e["type"] == typ {
				events = append(events, e)
			}
		}
	}
	return events
}
