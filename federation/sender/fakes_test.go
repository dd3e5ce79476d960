package sender

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptrace"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hanse/federation"
	"hanse/federation/id"
)

const (
	self = id.ServerName("me.example")
	peer = id.ServerName("peer.example")
)

// box is an outbox in memory: numbered PDUs and EDUs for each server, in order.

type box struct {
	mu       sync.Mutex
	pdus     map[id.ServerName][]int
	edus     map[id.ServerName][]int
	backoff  map[id.ServerName]Backoff
	saves    int
	nextErr  error
	doneErr  error
	position map[id.ServerName]int64
}

func newBox() *box {
	return &box{pdus: map[id.ServerName][]int{}, edus: map[id.ServerName][]int{}, backoff: map[id.ServerName]Backoff{}, position: map[id.ServerName]int64{}}
}

func (b *box) put(server id.ServerName, pdus ...int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pdus[server] = append(b.pdus[server], pdus...)
}

func (b *box) putEDU(server id.ServerName, edus ...int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.edus[server] = append(b.edus[server], edus...)
}

func (b *box) Destinations(context.Context) ([]id.ServerName, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []id.ServerName
	for server, waiting := range b.pdus {
		if len(waiting) > 0 {
			list = append(list, server)
		}
	}
	return list, nil
}

func (b *box) Next(_ context.Context, server id.ServerName, maxPDUs, maxEDUs int) (Batch, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.nextErr != nil {
		return Batch{}, b.nextErr
	}
	batch := Batch{Upto: b.position[server]}
	for _, n := range b.pdus[server][:min(maxPDUs, len(b.pdus[server]))] {
		batch.PDUs = append(batch.PDUs, json.RawMessage(fmt.Sprint(n)))
	}
	for _, n := range b.edus[server][:min(maxEDUs, len(b.edus[server]))] {
		batch.EDUs = append(batch.EDUs, federation.EDU{Type: "m.durable", Content: json.RawMessage(fmt.Sprint(n))})
	}
	return batch, nil
}

func (b *box) Done(_ context.Context, server id.ServerName, batch Batch) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.doneErr != nil {
		return b.doneErr
	}
	b.pdus[server] = b.pdus[server][len(batch.PDUs):]
	b.edus[server] = b.edus[server][len(batch.EDUs):]
	b.position[server]++
	return nil
}

func (b *box) Backoff(context.Context) (map[id.ServerName]Backoff, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.backoff, nil
}

func (b *box) SaveBackoff(_ context.Context, server id.ServerName, backoff Backoff) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.saves++
	if backoff == (Backoff{}) {
		delete(b.backoff, server)
	} else {
		b.backoff[server] = backoff
	}
	return nil
}

// delivery is one transaction that arrived.

type delivery struct {
	at    time.Time
	to    id.ServerName
	txnID string
	ts    int64 // origin_server_ts
	pdus  []int
	edus  []string
	err   error
}

// wire is a Transmitter: answer decides, and every delivery is noted.

type wire struct {
	mu       sync.Mutex
	log      []delivery
	inFlight int
	most     int
	writing  int           // sends whose request is not written yet
	crowded  int           // of them at once
	writes   time.Duration // until the request is written
	takes    time.Duration // from then on
	answer   func(d delivery) error
	results  federation.PDUResults
}

func (w *wire) SendTransaction(ctx context.Context, server id.ServerName, txnID string, txn federation.Transaction) (federation.PDUResults, error) {
	d := delivery{at: time.Now(), to: server, txnID: txnID, ts: txn.OriginServerTS}
	for _, raw := range txn.PDUs {
		var n int
		_ = json.Unmarshal(raw, &n)
		d.pdus = append(d.pdus, n)
	}
	for _, edu := range txn.EDUs {
		d.edus = append(d.edus, edu.Type+" "+string(edu.Content))
	}
	w.mu.Lock()
	w.inFlight++
	w.most = max(w.most, w.inFlight)
	w.writing++
	w.crowded = max(w.crowded, w.writing)
	writes, takes := w.writes, w.takes
	w.mu.Unlock()
	time.Sleep(writes)
	w.mu.Lock()
	w.writing--
	w.mu.Unlock()
	if trace := httptrace.ContextClientTrace(ctx); trace != nil && trace.WroteRequest != nil { // as net/http does
		trace.WroteRequest(httptrace.WroteRequestInfo{})
	}
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		d.err = ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inFlight--
	if d.err == nil && w.answer != nil {
		d.err = w.answer(d)
	}
	w.log = append(w.log, d)
	return w.results, d.err
}

// takeLog gives what was delivered since the last call.

func (w *wire) takeLog() []delivery {
	w.mu.Lock()
	defer w.mu.Unlock()
	log := w.log
	w.log = nil
	return log
}

// says makes every answer an error of a kind.

func (w *wire) says(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = func(delivery) error { return err }
}

// refused is an error like client.Error.

type refused struct{ matrix *federation.Error }

func (r refused) Error() string { return "refused" }

func (r refused) Refusal() *federation.Error { return r.matrix }

var errDown = errors.New("can't be reached")

// bubble runs a test in a synctest bubble with a running sender.

func bubble(t *testing.T, limits Limits, test func(t *testing.T, s *Sender, b *box, w *wire)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b, w := newBox(), &wire{}
		s := New(Config{Origin: self, Client: w, Outbox: b, Limits: limits})
		stop := run(t, s)
		test(t, s, b, w)
		stop()
	})
}

// run runs a sender until stop, which waits for its end.

func run(t *testing.T, s *Sender) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	synctest.Wait()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

// sleep lets time pass and all that follows from it happen.

func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// numbers are from … to-1.

func numbers(from, to int) []int {
	var list []int
	for n := from; n < to; n++ {
		list = append(list, n)
	}
	return list
}

// ordered is an outbox in which events (positive) and EDUs (negative) of one server have one order.

// TestDeadServersDontStarveOthers: however many servers hang, those that work get theirs.
