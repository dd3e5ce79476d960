package bench

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ed25519"

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

// arrival is a transaction that came to a server of the bench, as it came.
type arrival struct {
	server             int // the index of whom it came to
	at                 time.Time
	txn                string
	uri, authorization string
	body               []byte
}

// inbox is where all servers write down what comes. Safe for concurrent use.
type inbox struct {
	mu       sync.Mutex
	arrivals []arrival      // guarded by mu
	counts   map[int]int    // guarded by mu; events by server, roughly: it tells when to look
	seen     map[string]int // guarded by mu; transactions, by server and ID: one that is sent again counts once
}

func newInbox() *inbox { return &inbox{counts: map[int]int{}, seen: map[string]int{}} }

func (b *inbox) add(a arrival) {
	events := bytes.Count(a.body, []byte(`"prev_events":`))
	b.mu.Lock()
	defer b.mu.Unlock()
	key := fmt.Sprint(a.server, " ", a.txn)
	if _, again := b.seen[key]; again {
		return
	}
	b.seen[key] = events
	b.arrivals = append(b.arrivals, a)
	b.counts[a.server] += events
}

// fewest is the count of the server that got the fewest events, of those asked for.
func (b *inbox) fewest(servers []*server) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	fewest := -1
	for _, s := range servers {
		if count := b.counts[s.index]; fewest < 0 || count < fewest {
			fewest = count
		}
	}
	return fewest
}

func (b *inbox) all() []arrival {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.arrivals)
}

// sent is what a client of the server under test said, and when.
type sent struct {
	id   id.EventID
	text string
	user id.UserID
	at   time.Time // when the request began
	ack  time.Time // when the answer was there
}

// delivery is one event at one server.
type delivery struct {
	event  id.EventID
	server int
	at     time.Time
}

// judge checks what came to the servers against what was said: every event once at every server, whole, signed by the
// server under test, after the events it is on top of. The error says what is wrong first.
func (b *inbox) judge(origin id.ServerName, keys map[id.KeyID]ed25519.PublicKey, servers []*server, said []sent) (deliveries []delivery, transactions int, err error) {
	j := judgement{
		origin: origin, keys: keys, wanted: make(map[id.EventID]sent, len(said)), parsed: map[[sha256.Size]byte]*event.Event{},
		got: map[int]map[id.EventID]bool{}, names: map[int]id.ServerName{},
	}
	for _, s := range said {
		j.wanted[s.id] = s
	}
	for _, s := range servers {
		j.got[s.index], j.names[s.index] = map[id.EventID]bool{}, s.name
	}
	for _, a := range b.all() {
		if _, ours := j.names[a.server]; !ours {
			continue
		}
		before := len(j.deliveries)
		if err := j.arrival(a); err != nil {
			return j.deliveries, j.transactions, fmt.Errorf("at %s: %w", j.names[a.server], err)
		}
		if len(j.deliveries) > before {
			j.transactions++
		}
	}
	for index, got := range j.got {
		if missing := len(j.wanted) - len(got); missing > 0 {
			return j.deliveries, j.transactions, fmt.Errorf("%s lacks %d of %d events", j.names[index], missing, len(j.wanted))
		}
	}
	return j.deliveries, j.transactions, nil
}

type judgement struct {
	origin       id.ServerName
	keys         map[id.KeyID]ed25519.PublicKey
	wanted       map[id.EventID]sent
	parsed       map[[sha256.Size]byte]*event.Event // events that were found good, by the hash of their bytes
	got          map[int]map[id.EventID]bool
	names        map[int]id.ServerName
	deliveries   []delivery
	transactions int
}

func (j *judgement) arrival(a arrival) error {
	var body struct {
		PDUs []json.RawMessage `json:"pdus"`
	}
	if err := json.Unmarshal(a.body, &body); err != nil {
		return fmt.Errorf("a transaction is no JSON: %w", err)
	}
	if len(body.PDUs) == 0 {
		return nil // EDUs alone
	}
	if err := j.request(a); err != nil {
		return err
	}
	for _, raw := range body.PDUs {
		e, err := j.event(raw)
		if err != nil {
			return err
		}
		if e == nil {
			continue
		}
		if j.got[a.server][e.ID()] {
			return fmt.Errorf("the event %s came twice", e.ID())
		}
		for _, prev := range e.PrevEvents() {
			if _, wanted := j.wanted[prev]; wanted && !j.got[a.server][prev] {
				return fmt.Errorf("the event %s came before %s, which it is on top of", e.ID(), prev)
			}
		}
		j.got[a.server][e.ID()] = true
		j.deliveries = append(j.deliveries, delivery{e.ID(), a.server, a.at})
	}
	return nil
}

// request checks who sent a transaction.
func (j *judgement) request(a arrival) error {
	authorization, err := federation.ParseAuthorization(a.authorization)
	if err != nil {
		return err
	}
	signed, err := federation.RequestBytes("PUT", a.uri, j.origin, j.names[a.server], a.body)
	if err != nil {
		return err
	}
	if authorization.Origin != j.origin || !verified(j.keys, authorization.Key, signed, authorization.Signature) {
		return fmt.Errorf("a transaction is not signed by %s", j.origin)
	}
	return nil
}

func verified(keys map[id.KeyID]ed25519.PublicKey, keyID id.KeyID, signed, signature []byte) bool {
	public, ok := keys[keyID]
	return ok && ed25519.Verify(public, signed, signature)
}

// event checks an event once for all servers: the same bytes are the same event. nil is one that nobody waits for and
// that may come: somebody joined.
func (j *judgement) event(raw json.RawMessage) (*event.Event, error) {
	key := sha256.Sum256(raw)
	if e, ok := j.parsed[key]; ok {
		return e, nil
	}
	e, err := checkedEvent(raw, j.origin, j.keys)
	if err != nil {
		return nil, err
	}
	want, ok := j.wanted[e.ID()]
	switch {
	case !ok && e.IsState():
		e = nil
	case !ok:
		return nil, fmt.Errorf("the event %s came, which nobody sent", e.ID())
	case textOf(e.Content()) != want.text || e.Sender() != want.user:
		return nil, fmt.Errorf("the event %s is not what was sent", e.ID())
	}
	j.parsed[key] = e
	return e, nil
}

// checkedEvent reads an event and checks its hash and its sender's server's signature.
func checkedEvent(raw []byte, origin id.ServerName, keys map[id.KeyID]ed25519.PublicKey) (*event.Event, error) {
	rules, _ := roomversion.Lookup(roomVersion)
	e, err := event.Parse(rules, raw)
	if err != nil {
		return nil, err
	}
	if !e.ContentHashMatches() {
		return nil, fmt.Errorf("the event %s is not what its hash says", e.ID())
	}
	if e.Sender().Server() != origin {
		return e, nil // passed on for another server; the bench made it, and knows it by its ID
	}
	signed := e.SignedBytes()
	for keyID, signature := range e.SignaturesOf(origin) {
		if verified(keys, keyID, signed, signature) {
			return e, nil
		}
	}
	return nil, fmt.Errorf("the event %s is not signed by %s", e.ID(), origin)
}

func textOf(content []byte) string {
	var message struct {
		Body string `json:"body"`
	}
	_ = json.Unmarshal(content, &message) // no message has no text
	return message.Body
}
