package sender

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"hanse/federation"
	"hanse/federation/id"
)

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
		sleep(10 * time.Second)
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

// late is an outbox into which an event comes just after Next has looked.
type late struct {
	*box
	come func()
}

func (l *late) Next(ctx context.Context, server id.ServerName, maxPDUs, maxEDUs int) (Batch, error) {
	batch, err := l.box.Next(ctx, server, maxPDUs, maxEDUs)
	if come := l.come; batch.Empty() && come != nil {
		l.come = nil
		come()
	}
	return batch, err
}

func TestNothingIsOverlooked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w := &late{box: newBox()}, &wire{}
		s := New(Config{Origin: self, Client: w, Outbox: b})
		b.come = func() {
			b.put(peer, 2)
			s.Wake(peer)
		}
		stop := run(t, s)
		b.put(peer, 1)
		s.Wake(peer)
		sleep(time.Second)
		if log := w.takeLog(); len(log) != 2 {
			t.Errorf("got %+v", log)
		}
		stop()
	})
}

func TestDurableEDUs(t *testing.T) {
	bubble(t, Limits{}, func(t *testing.T, s *Sender, b *box, w *wire) {
		b.put(peer, 1)
		b.putEDU(peer, numbers(0, 130)...)
		s.Wake(peer)
		sleep(time.Second)
		log := w.takeLog()
		if len(log) != 2 || len(log[0].edus) != 100 || len(log[1].edus) != 30 || len(log[0].pdus) != 1 {
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
		sleep(5 * time.Second)
		log := slices.DeleteFunc(w.takeLog(), func(d delivery) bool { return d.to != peer })
		if len(log) != 2 || !slices.Equal(log[1].edus, []string{"m.typing 3", "m.typing 4", "m.typing 5"}) || !slices.Equal(log[1].pdus, []int{1}) {
			t.Errorf("got %+v", log)
		}
		s.EDU(typing(9), peer)
		sleep(5 * time.Second)
		s.EDU(typing(9), peer)
		sleep(5 * time.Second)
		if log := w.takeLog(); len(log) != 2 || log[0].txnID == log[1].txnID {
			t.Errorf("two that are alike must go under two IDs: %+v", log)
		}
		w.says(errDown)
		b.put(peer, 2)
		s.Wake(peer)
		s.EDU(typing(10), peer)
		sleep(1100 * time.Millisecond)
		s.EDU(typing(11), peer) // in back-off: worth nothing later
		w.says(nil)
		sleep(time.Minute)
		log = w.takeLog()
		if last := log[len(log)-1]; last.err != nil || len(last.edus) != 0 || !slices.Equal(last.pdus, []int{2}) {
			t.Errorf("got %+v", log)
		}
		if got := s.Stats(); got.Volatile != 0 || got.Dropped != 4 {
			t.Errorf("stats %+v", got)
		}
	})
}

// TestWhatIsSentAgainAfterAStartIsAlone: a server that took a batch from the process before reads nothing of it the second time.
func TestWhatIsSentAgainAfterAStartIsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w := newBox(), &wire{}
		s := New(Config{Origin: self, Client: w, Outbox: b})
		b.put(peer, 1)
		s.EDU(federation.EDU{Type: "m.receipt"}, peer) // before Run
		stop := run(t, s)
		sleep(time.Second)
		log := w.takeLog()
		if len(log) != 2 || len(log[0].pdus) != 1 || len(log[0].edus) != 0 || len(log[1].pdus) != 0 || len(log[1].edus) != 1 {
			t.Errorf("got %+v", log)
		}
		b.put(peer, 2)
		s.EDU(federation.EDU{Type: "m.receipt"}, peer)
		sleep(time.Second)
		stop()
		if log := w.takeLog(); len(log) != 1 || len(log[0].pdus) != 1 || len(log[0].edus) != 1 {
			t.Errorf("later they go together: got %+v", log)
		}
	})
}

// TestAllThatIsSentAgainAfterAStartIsAlone: several full batches may have gone out without its being noted. But who gets full batches for
// ever isn't kept from the rest.
func TestAllThatIsSentAgainAfterAStartIsAlone(t *testing.T) {
	for waiting, alone := range map[int]int{120: 3, 10_000: maxAgain} {
		synctest.Test(t, func(t *testing.T) {
			b, w := newBox(), &wire{}
			s := New(Config{Origin: self, Client: w, Outbox: b})
			b.put(peer, numbers(0, waiting)...)
			s.EDU(federation.EDU{Type: "m.receipt"}, peer) // before Run
			stop := run(t, s)
			sleep(time.Second)
			stop()
			for i, d := range w.takeLog() {
				if want := i == alone; len(d.edus) > 0 != want {
					t.Errorf("of %d events: the transaction %d has %d EDUs", waiting, i, len(d.edus))
				}
			}
		})
	}
}

// TestWhatIsSentAgainUnnotedIsAlone: nor does a server that took a batch which couldn't be noted as sent.
func TestWhatIsSentAgainUnnotedIsAlone(t *testing.T) {
	bubble(t, Limits{}, func(t *testing.T, s *Sender, b *box, w *wire) {
		out := func(err error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.doneErr = err
		}
		out(errors.New("no database"))
		b.put(peer, 1)
		s.Wake(peer)
		sleep(time.Second)
		out(nil)
		s.EDU(federation.EDU{Type: "m.receipt"}, peer)
		sleep(outboxPause)
		log := w.takeLog()
		if len(log) != 3 || log[0].txnID != log[1].txnID || len(log[1].edus) != 0 || len(log[2].pdus) != 0 || len(log[2].edus) != 1 {
			t.Errorf("got %+v", log)
		}
	})
}

func TestEventErrorsAreNotFatal(t *testing.T) {
	bubble(t, Limits{}, func(t *testing.T, s *Sender, b *box, w *wire) {
		w.results = federation.PDUResults{"$a": {Error: "no"}, "$b": {}}
		b.put(peer, 1)
		s.Wake(peer)
		sleep(time.Second)
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
		sleep(time.Minute)
		if len(w.takeLog()) != 100 || w.most != 8 {
			t.Errorf("at most %d at once", w.most)
		}
	})
}

func TestDeadServersDontStarveOthers(t *testing.T) {
	bubble(t, Limits{Parallel: 8}, func(t *testing.T, s *Sender, b *box, w *wire) {
		w.takes = 30 * time.Second
		w.says(errDown)
		for n := range 50 {
			server := id.ServerName(fmt.Sprintf("dead%d.example", n))
			b.put(server, n)
			s.Wake(server)
		}
		sleep(10 * time.Minute) // now all of them have failed, and are tried again and again
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
		sleep(31 * time.Second)
		if len(b.pdus[peer]) != 0 {
			t.Error("the server that works had to wait")
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
