package sender

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
	takes    time.Duration
	answer   func(d delivery) error
	results  federation.PDUResults
}

func (w *wire) SendTransaction(ctx context.Context, server id.ServerName, txnID string, txn federation.Transaction) (federation.PDUResults, error) {
	d := delivery{at: time.Now(), to: server, txnID: txnID}
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
	takes := w.takes
	w.mu.Unlock()
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

func (r refused) Error() string              { return "refused" }
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

// numbers are from … to-1.
func numbers(from, to int) []int {
	var list []int
	for n := from; n < to; n++ {
		list = append(list, n)
	}
	return list
}

func TestBatchesAndOrder(t *testing.T) {
	bubble(t, Limits{}, func(t *testing.T, s *Sender, b *box, w *wire) {
		w.takes = time.Second
		b.put(peer, 0)
		s.Wake(peer)
		synctest.Wait()
		b.put(peer, numbers(1, 120)...) // gathers while the first is under way
		for range 119 {
			s.Wake(peer)
		}
		time.Sleep(10 * time.Second)
		log := w.takeLog()
		var all []int
		var sizes []int
		ids := map[string]bool{}
		for _, d := range log {
			all = append(all, d.pdus...)
			sizes = append(sizes, len(d.pdus))
			ids[d.txnID] = true
		}
		if !slices.Equal(sizes, []int{1, 50, 50, 19}) || !slices.Equal(all, numbers(0, 120)) {
			t.Errorf("batches of %v: %v", sizes, all)
		}
		if len(ids) != len(log) {
			t.Errorf("%d IDs for %d transactions", len(ids), len(log))
		}
		if w.most != 1 {
			t.Errorf("%d transactions to one server at once", w.most)
		}
		if len(s.queues) != 0 {
			t.Errorf("an idle server has a queue")
		}
		if got := s.Stats(); got.Transactions != 4 || got.PDUs != 120 || got.Busy != 0 {
			t.Errorf("stats %+v", got)
		}
	})
}

func TestDurableEDUs(t *testing.T) {
	bubble(t, Limits{}, func(t *testing.T, s *Sender, b *box, w *wire) {
		b.put(peer, 1)
		b.putEDU(peer, numbers(0, 130)...)
		s.Wake(peer)
		time.Sleep(time.Second)
		log := w.takeLog()
		if len(log) != 2 || len(log[0].edus) != 100 || len(log[1].edus) != 30 || len(log[0].pdus) != 1 {
			t.Errorf("got %+v", log)
		}
	})
}

func TestBackoffGrowsToItsCap(t *testing.T) {
	bubble(t, Limits{}, func(t *testing.T, s *Sender, b *box, w *wire) {
		w.says(errDown)
		b.put(peer, 1)
		s.Wake(peer)
		time.Sleep(12 * time.Hour)
		log := w.takeLog()
		whole := time.Second
		for i := 1; i < len(log); i++ {
			gap := log[i].at.Sub(log[i-1].at)
			if gap < whole/2 || gap > whole+time.Millisecond {
				t.Errorf("the wait after failure %d is %v, want %v to %v", i, gap, whole/2, whole)
			}
			whole = min(2*whole, time.Hour)
			if log[i].txnID != log[0].txnID {
				t.Errorf("the same batch got another ID")
			}
		}
		if len(log) < 20 || len(log) > 36 {
			t.Errorf("%d tries in 12 hours", len(log))
		}
		if got := b.backoff[peer].Failures; got != len(log) {
			t.Errorf("%d failures are saved, want %d", got, len(log))
		}
		if got := s.Stats(); got.BackingOff != 1 || got.Busy != 0 {
			t.Errorf("stats %+v", got)
		}
		w.says(nil)
		time.Sleep(2 * time.Hour)
		if log := w.takeLog(); len(log) != 1 || log[0].err != nil {
			t.Errorf("after it came back: %+v", log)
		}
		if len(b.backoff) != 0 || len(s.queues) != 0 {
			t.Errorf("something is left: %v, %v", b.backoff, s.queues)
		}
	})
}

func TestWakeDoesNotDisturbBackoff(t *testing.T) {
	bubble(t, Limits{MinBackoff: time.Minute}, func(t *testing.T, s *Sender, b *box, w *wire) {
		w.says(errDown)
		b.put(peer, 1)
		s.Wake(peer)
		synctest.Wait()
		for range 100 {
			b.put(peer, 2)
			s.Wake(peer)
			time.Sleep(100 * time.Millisecond)
		}
		if log := w.takeLog(); len(log) != 1 {
			t.Errorf("%d tries in ten seconds", len(log))
		}
	})
}

func TestRetryWhenTheServerSpeaks(t *testing.T) {
	bubble(t, Limits{MinBackoff: time.Hour}, func(t *testing.T, s *Sender, b *box, w *wire) {
		s.Retry(peer) // nothing is known of it: nothing happens
		w.says(errDown)
		b.put(peer, 1)
		s.Wake(peer)
		time.Sleep(10 * time.Second)
		w.takeLog()
		s.Retry(peer)
		synctest.Wait()
		if log := w.takeLog(); len(log) != 1 {
			t.Fatalf("%d tries at once", len(log))
		}
		for range 100 { // it speaks, but can't be reached
			s.Retry(peer)
			time.Sleep(100 * time.Millisecond)
		}
		if log := w.takeLog(); len(log) < 4 || len(log) > 6 {
			t.Errorf("%d tries in ten seconds, want one each two", len(log))
		}
		w.says(nil)
		s.Retry(peer)
		time.Sleep(3 * time.Second)
		if log := w.takeLog(); len(log) != 1 || log[0].err != nil {
			t.Errorf("got %+v", log)
		}
	})
}

func TestRetryDuringATry(t *testing.T) {
	bubble(t, Limits{MinBackoff: time.Hour}, func(t *testing.T, s *Sender, b *box, w *wire) {
		w.says(errDown)
		w.takes = 30 * time.Second // a connection that hangs
		b.put(peer, 1)
		s.Wake(peer)
		time.Sleep(10 * time.Second)
		s.Retry(peer) // it is up now
		w.mu.Lock()
		w.answer, w.takes = func(d delivery) error {
			if time.Since(d.at) > time.Second {
				return errDown
			}
			return nil
		}, 0
		w.mu.Unlock()
		time.Sleep(30 * time.Second)
		if log := w.takeLog(); len(log) != 2 || log[1].err != nil {
			t.Errorf("got %+v", log)
		}
	})
}

func TestRestartKeepsBackoffAndID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w := newBox(), &wire{}
		w.says(errDown)
		b.put(peer, 1, 2)
		b.put("quick.example", 7)
		first := New(Config{Origin: self, Client: w, Outbox: b, Limits: Limits{MinBackoff: time.Hour}})
		stop := run(t, first)
		stop()
		before := w.takeLog()
		if len(before) != 2 {
			t.Fatalf("what waits at the start was tried %d times, want once for each server", len(before))
		}
		w.says(nil)
		second := New(Config{Origin: self, Client: w, Outbox: b, Limits: Limits{MinBackoff: time.Hour}})
		stop = run(t, second)
		if log := w.takeLog(); len(log) != 0 {
			t.Fatalf("the back-off is forgotten: %+v", log)
		}
		time.Sleep(time.Hour + time.Second)
		after := w.takeLog()
		if len(after) != 2 {
			t.Fatalf("got %+v", after)
		}
		ids := map[id.ServerName]string{}
		for _, d := range before {
			ids[d.to] = d.txnID
		}
		for _, d := range after {
			if ids[d.to] != d.txnID {
				t.Errorf("the batch to %s has another ID after the restart", d.to)
			}
		}
		if ids[peer] == ids["quick.example"] {
			t.Error("different batches have one ID")
		}
		stop()
	})
}

func TestFailedBatchIsSentAgainAsItWas(t *testing.T) {
	bubble(t, Limits{}, func(t *testing.T, s *Sender, b *box, w *wire) {
		w.says(errDown)
		b.put(peer, 1, 2)
		s.Wake(peer)
		synctest.Wait()
		b.put(peer, 3, 4)
		s.Wake(peer)
		w.says(nil)
		time.Sleep(time.Minute)
		log := w.takeLog()
		if len(log) != 3 || !slices.Equal(log[1].pdus, []int{1, 2}) || log[1].txnID != log[0].txnID || !slices.Equal(log[2].pdus, []int{3, 4}) {
			t.Errorf("got %+v", log)
		}
	})
}

func TestVolatileEDUs(t *testing.T) {
	typing := func(n int) federation.EDU {
		return federation.EDU{Type: "m.typing", Content: json.RawMessage(fmt.Sprint(n))}
	}
	bubble(t, Limits{VolatilePerServer: 3}, func(t *testing.T, s *Sender, b *box, w *wire) {
		w.takes = time.Second
		s.EDU(typing(0), peer, "b.example")
		synctest.Wait()
		for n := 1; n <= 5; n++ { // gather during the first; the oldest two are dropped
			s.EDU(typing(n), peer)
		}
		b.put(peer, 1)
		s.Wake(peer)
		time.Sleep(5 * time.Second)
		log := slices.DeleteFunc(w.takeLog(), func(d delivery) bool { return d.to != peer })
		if len(log) != 2 || !slices.Equal(log[1].edus, []string{"m.typing 3", "m.typing 4", "m.typing 5"}) || !slices.Equal(log[1].pdus, []int{1}) {
			t.Errorf("got %+v", log)
		}
		s.EDU(typing(9), peer)
		time.Sleep(5 * time.Second)
		s.EDU(typing(9), peer)
		time.Sleep(5 * time.Second)
		if log := w.takeLog(); len(log) != 2 || log[0].txnID == log[1].txnID {
			t.Errorf("two that are alike must go under two IDs: %+v", log)
		}
		w.says(errDown)
		b.put(peer, 2)
		s.Wake(peer)
		s.EDU(typing(10), peer)
		time.Sleep(1100 * time.Millisecond)
		s.EDU(typing(11), peer) // in back-off: worth nothing later
		w.says(nil)
		time.Sleep(time.Minute)
		log = w.takeLog()
		if last := log[len(log)-1]; last.err != nil || len(last.edus) != 0 || !slices.Equal(last.pdus, []int{2}) {
			t.Errorf("got %+v", log)
		}
		if got := s.Stats(); got.Volatile != 0 || got.Dropped != 4 {
			t.Errorf("stats %+v", got)
		}
	})
}

func TestRefusedEventIsFoundAndGivenUp(t *testing.T) {
	bubble(t, Limits{}, func(t *testing.T, s *Sender, b *box, w *wire) {
		w.answer = func(d delivery) error {
			if slices.Contains(d.pdus, 37) {
				return refused{federation.BadJSON("I don't like 37")}
			}
			return nil
		}
		b.put(peer, numbers(0, 60)...)
		s.Wake(peer)
		time.Sleep(time.Hour)
		var got []int
		for _, d := range w.takeLog() {
			if d.err == nil {
				got = append(got, d.pdus...)
			}
		}
		want := slices.DeleteFunc(numbers(0, 60), func(n int) bool { return n == 37 })
		if !slices.Equal(got, want) {
			t.Errorf("delivered %v", got)
		}
		if got := s.Stats(); got.GivenUp != 1 {
			t.Errorf("stats %+v", got)
		}
		if len(s.queues) != 0 || len(b.backoff) != 0 {
			t.Errorf("something is left: %v %v", s.queues, b.backoff)
		}
	})
}

func TestRefusedPairOfKinds(t *testing.T) {
	bubble(t, Limits{}, func(t *testing.T, s *Sender, b *box, w *wire) {
		w.answer = func(d delivery) error {
			if len(d.edus) > 0 {
				return refused{federation.TooLarge("no EDUs")}
			}
			return nil
		}
		b.put(peer, 1, 2)
		b.putEDU(peer, 1, 2, 3)
		s.Wake(peer)
		time.Sleep(time.Hour)
		if len(b.pdus[peer]) != 0 || len(b.edus[peer]) != 0 {
			t.Errorf("left: %v %v", b.pdus[peer], b.edus[peer])
		}
		if got := s.Stats(); got.GivenUp != 3 || got.PDUs != 2 {
			t.Errorf("stats %+v", got)
		}
	})
}

// ordered is an outbox in which events (positive) and EDUs (negative) of one server have one order.
type ordered struct {
	*box
	rows []int
}

func (o *ordered) Next(_ context.Context, _ id.ServerName, maxPDUs, maxEDUs int) (Batch, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	batch := Batch{Upto: int64(100 - len(o.rows))}
	for _, n := range o.rows {
		if text := json.RawMessage(fmt.Sprint(n)); n > 0 && len(batch.PDUs) < maxPDUs {
			batch.PDUs = append(batch.PDUs, text)
		} else if n < 0 && len(batch.EDUs) < maxEDUs {
			batch.EDUs = append(batch.EDUs, federation.EDU{Type: "m.durable", Content: text})
		} else {
			break
		}
	}
	return batch, nil
}

func (o *ordered) Done(_ context.Context, _ id.ServerName, batch Batch) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rows = o.rows[len(batch.PDUs)+len(batch.EDUs):]
	return nil
}

func TestRefusedEDUBeforeAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w := &ordered{box: newBox(), rows: []int{-1, 2, 3, -4, 5}}, &wire{}
		w.answer = func(d delivery) error {
			if len(d.edus) > 0 {
				return refused{federation.BadJSON("no EDUs")}
			}
			return nil
		}
		s := New(Config{Origin: self, Client: w, Outbox: o})
		stop := run(t, s)
		s.Wake(peer)
		time.Sleep(time.Hour)
		if got := s.Stats(); len(o.rows) != 0 || got.PDUs != 3 || got.GivenUp != 2 {
			t.Errorf("left %v, stats %+v", o.rows, got)
		}
		stop()
	})
}

func TestRefusalOfWhoWeAreIsNoVerdictOnEvents(t *testing.T) {
	for _, status := range []int{401, 403, 404, 405, 408, 429, 500, 502} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			bubble(t, Limits{}, func(t *testing.T, s *Sender, b *box, w *wire) {
				w.says(refused{federation.NewError(status, "M_X", "no")})
				b.put(peer, 1)
				s.Wake(peer)
				time.Sleep(24 * time.Hour)
				if got := s.Stats(); got.GivenUp != 0 || got.BackingOff != 1 || len(b.pdus[peer]) != 1 {
					t.Errorf("stats %+v", got)
				}
			})
		})
	}
}

func TestRetryAfterIsKept(t *testing.T) {
	bubble(t, Limits{}, func(t *testing.T, s *Sender, b *box, w *wire) {
		w.says(refused{federation.LimitExceeded(10 * time.Minute)})
		b.put(peer, 1)
		s.Wake(peer)
		time.Sleep(9 * time.Minute)
		s.Retry("other.example")
		if log := w.takeLog(); len(log) != 1 {
			t.Errorf("%d tries", len(log))
		}
		time.Sleep(2 * time.Minute)
		if log := w.takeLog(); len(log) != 1 {
			t.Errorf("%d tries", len(log))
		}
	})
}

func TestEventErrorsAreNotFatal(t *testing.T) {
	bubble(t, Limits{}, func(t *testing.T, s *Sender, b *box, w *wire) {
		w.results = federation.PDUResults{"$a": {Error: "no"}, "$b": {}}
		b.put(peer, 1)
		s.Wake(peer)
		time.Sleep(time.Second)
		if got := s.Stats(); got.Refused != 1 || got.Transactions != 1 || got.Failures != 0 || len(b.pdus[peer]) != 0 {
			t.Errorf("stats %+v", got)
		}
	})
}

func TestParallelSendsAreBounded(t *testing.T) {
	bubble(t, Limits{Parallel: 8}, func(t *testing.T, s *Sender, b *box, w *wire) {
		w.takes = time.Second
		var servers []id.ServerName
		for n := range 100 {
			server := id.ServerName(fmt.Sprintf("s%d.example", n))
			servers = append(servers, server)
			b.put(server, n)
		}
		s.Wake(servers...)
		time.Sleep(time.Minute)
		if len(w.takeLog()) != 100 || w.most != 8 {
			t.Errorf("at most %d at once", w.most)
		}
	})
}

// TestDeadServersDontStarveOthers: however many servers hang, those that work get theirs.
func TestDeadServersDontStarveOthers(t *testing.T) {
	bubble(t, Limits{Parallel: 8}, func(t *testing.T, s *Sender, b *box, w *wire) {
		w.takes = 30 * time.Second
		w.says(errDown)
		for n := range 50 {
			server := id.ServerName(fmt.Sprintf("dead%d.example", n))
			b.put(server, n)
			s.Wake(server)
		}
		time.Sleep(10 * time.Minute) // now all of them have failed, and are tried again and again
		w.mu.Lock()
		w.answer = func(d delivery) error {
			if d.to == peer {
				return nil
			}
			return errDown
		}
		w.log = nil
		w.mu.Unlock()
		b.put(peer, 1)
		s.Wake(peer)
		time.Sleep(31 * time.Second)
		if len(b.pdus[peer]) != 0 {
			t.Error("the server that works had to wait")
		}
	})
}

func TestOutboxTrouble(t *testing.T) {
	bubble(t, Limits{}, func(t *testing.T, s *Sender, b *box, w *wire) {
		b.nextErr = errors.New("disk")
		b.put(peer, 1)
		s.Wake(peer)
		time.Sleep(12 * time.Second)
		b.mu.Lock()
		b.nextErr, b.doneErr = nil, errors.New("disk")
		b.mu.Unlock()
		time.Sleep(12 * time.Second)
		log := w.takeLog()
		if len(log) < 2 || log[0].txnID != log[1].txnID {
			t.Errorf("what may be unknown to be sent goes again under its ID: %+v", log)
		}
		b.mu.Lock()
		b.doneErr = nil
		b.mu.Unlock()
		time.Sleep(12 * time.Second)
		if len(b.pdus[peer]) != 0 || len(b.backoff) != 0 || len(s.queues) != 0 {
			t.Errorf("left: %v %v", b.pdus, b.backoff)
		}
	})
}

func TestStopWhileSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w := newBox(), &wire{takes: time.Hour}
		s := New(Config{Origin: self, Client: w, Outbox: b})
		b.put(peer, 1)
		s.Wake(peer) // before Run
		stop := run(t, s)
		stop()
		if log := w.takeLog(); len(log) != 1 || log[0].err == nil {
			t.Errorf("got %+v", log)
		}
		if len(b.backoff) != 0 || len(b.pdus[peer]) != 1 {
			t.Errorf("being stopped counts as a failure: %v", b.backoff)
		}
		s.Wake(peer) // after the end: nothing
		s.EDU(federation.EDU{Type: "m.typing"}, peer)
		s.Retry(peer)
	})
}

func TestRunFailsWithoutOutbox(t *testing.T) {
	s := New(Config{Origin: self, Client: &wire{}, Outbox: broken{newBox()}})
	if err := s.Run(t.Context()); err == nil {
		t.Error("Run did not say that the outbox can't be read")
	}
}

type broken struct{ *box }

func (broken) Backoff(context.Context) (map[id.ServerName]Backoff, error) {
	return nil, errors.New("no database")
}

func TestSavedBackoffOfAnOddClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w := newBox(), &wire{}
		b.put(peer, 1)
		b.backoff[peer] = Backoff{Failures: 3, Until: time.Now().AddDate(50, 0, 0)}
		stop := run(t, New(Config{Origin: self, Client: w, Outbox: b}))
		time.Sleep(time.Hour + time.Second)
		if log := w.takeLog(); len(log) != 1 {
			t.Errorf("%d tries", len(log))
		}
		stop()
	})
}

func BenchmarkWake(b *testing.B) {
	box, w := newBox(), &wire{}
	s := New(Config{Origin: self, Client: w, Outbox: box})
	servers := make([]id.ServerName, 100)
	for i := range servers {
		servers[i] = id.ServerName(fmt.Sprintf("s%d.example", i))
	}
	b.ReportAllocs()
	for b.Loop() {
		s.Wake(servers...)
	}
}
