package sender

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hanse/federation"
	"hanse/federation/id"
)

func TestBackoffGrowsToItsCap(t *testing.T) {
	bubble(t, Limits{}, func(t *testing.T, s *Sender, b *box, w *wire) {
		w.says(errDown)
		b.put(peer, 1)
		s.Wake(peer)
		sleep(12 * time.Hour)
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
		sleep(2 * time.Hour)
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
			sleep(100 * time.Millisecond)
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
		sleep(10 * time.Second)
		w.takeLog()
		s.Retry(peer)
		synctest.Wait()
		if log := w.takeLog(); len(log) != 1 {
			t.Fatalf("%d tries at once", len(log))
		}
		for range 100 { // it speaks, but can't be reached
			s.Retry(peer)
			sleep(100 * time.Millisecond)
		}
		if log := w.takeLog(); len(log) < 4 || len(log) > 6 {
			t.Errorf("%d tries in ten seconds, want one each two", len(log))
		}
		w.says(nil)
		s.Retry(peer)
		sleep(3 * time.Second)
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
		sleep(10 * time.Second)
		s.Retry(peer) // it is up now
		w.mu.Lock()
		w.answer, w.takes = func(d delivery) error {
			if time.Since(d.at) > time.Second {
				return errDown
			}
			return nil
		}, 0
		w.mu.Unlock()
		sleep(30 * time.Second)
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
		sleep(time.Hour + time.Second)
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
		sleep(time.Minute)
		log := w.takeLog()
		if len(log) != 3 || !slices.Equal(log[1].pdus, []int{1, 2}) || log[1].txnID != log[0].txnID || log[1].ts != log[0].ts || !slices.Equal(log[2].pdus, []int{3, 4}) {
			t.Errorf("got %+v", log)
		}
	})
}

func TestRetryAfterIsKept(t *testing.T) {
	bubble(t, Limits{}, func(t *testing.T, s *Sender, b *box, w *wire) {
		w.says(refused{federation.LimitExceeded(10 * time.Minute)})
		b.put(peer, 1)
		s.Wake(peer)
		sleep(9 * time.Minute)
		s.Retry("other.example")
		if log := w.takeLog(); len(log) != 1 {
			t.Errorf("%d tries", len(log))
		}
		sleep(2 * time.Minute)
		if log := w.takeLog(); len(log) != 1 {
			t.Errorf("%d tries", len(log))
		}
	})
}

// A server that has too much to do speaks to us all the same: that doesn't mean that it takes more. One whose proxy said that it is out may
// be back sooner than that.
func TestRetryAfterIsKeptWhileTheServerSpeaks(t *testing.T) {
	for _, c := range []struct{ status, least, most int }{{429, 1, 1}, {503, 100, 300}} {
		bubble(t, Limits{}, func(t *testing.T, s *Sender, b *box, w *wire) {
			w.says(refused{&federation.Error{Status: c.status, Code: federation.CodeUnknown, RetryAfterMS: 600_000}})
			b.put(peer, 1)
			s.Wake(peer)
			for range 9 * 60 {
				sleep(time.Second)
				s.Retry(peer)
			}
			if log := w.takeLog(); len(log) < c.least || len(log) > c.most {
				t.Errorf("%d tries after a %d", len(log), c.status)
			}
			w.says(nil)
			sleep(2 * time.Minute)
			if log := w.takeLog(); len(log) != 1 {
				t.Errorf("%d tries after the time that a %d gave", len(log), c.status)
			}
		})
	}
}

// A server that says when to come again is there: it isn't kept waiting for as long as one that says nothing, once it has mended what
// was wrong.
func TestRetryAfterEndsALongWait(t *testing.T) {
	bubble(t, Limits{}, func(t *testing.T, s *Sender, b *box, w *wire) {
		w.says(refused{&federation.Error{Status: 503, Code: federation.CodeUnknown, RetryAfterMS: 5000}})
		b.put(peer, 1)
		s.Wake(peer)
		sleep(3 * time.Hour)
		if tries := len(w.takeLog()); tries < 3*60 || tries > 3*60*3 {
			t.Errorf("%d tries", tries)
		}
		w.says(nil)
		sleep(time.Minute)
		if log := w.takeLog(); len(log) != 1 {
			t.Errorf("%d tries in the minute after it was back", len(log))
		}
	})
}

func TestOutboxTrouble(t *testing.T) {
	bubble(t, Limits{}, func(t *testing.T, s *Sender, b *box, w *wire) {
		b.nextErr = errors.New("disk")
		b.put(peer, 1)
		s.Wake(peer)
		sleep(12 * time.Second)
		b.mu.Lock()
		b.nextErr, b.doneErr = nil, errors.New("disk")
		b.mu.Unlock()
		sleep(12 * time.Second)
		log := w.takeLog()
		if len(log) < 2 || log[0].txnID != log[1].txnID {
			t.Errorf("what may be unknown to be sent goes again under its ID: %+v", log)
		}
		b.mu.Lock()
		b.doneErr = nil
		b.mu.Unlock()
		sleep(12 * time.Second)
		if len(b.pdus[peer]) != 0 || len(b.backoff) != 0 || len(s.queues) != 0 {
			t.Errorf("left: %v %v", b.pdus, b.backoff)
		}
	})
}

func TestRunWaitsForTheOutbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w := &broken{box: newBox()}, &wire{}
		s := New(Config{Origin: self, Client: w, Outbox: b})
		b.put(peer, 1)
		b.failures.Store(3)
		stop := run(t, s)
		defer stop()
		sleep(2 * outboxPause)
		if log := w.takeLog(); len(log) != 0 {
			t.Errorf("it is sent without the back-off: %+v", log)
		}
		sleep(2 * outboxPause)
		if log := w.takeLog(); len(log) != 1 {
			t.Errorf("got %+v", log)
		}
	})
}

func TestSavedBackoffOfAnOddClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w := newBox(), &wire{}
		b.put(peer, 1)
		b.backoff[peer] = Backoff{Failures: 3, Until: time.Now().AddDate(50, 0, 0)}
		stop := run(t, New(Config{Origin: self, Client: w, Outbox: b}))
		sleep(time.Hour + time.Second)
		if log := w.takeLog(); len(log) != 1 {
			t.Errorf("%d tries", len(log))
		}
		stop()
	})
}

// broken is a box whose back-offs can't be read so many times.
type broken struct {
	*box
	failures atomic.Int64
}

func (b *broken) Backoff(ctx context.Context) (map[id.ServerName]Backoff, error) {
	if b.failures.Add(-1) >= 0 {
		return nil, errors.New("disk")
	}
	return b.box.Backoff(ctx)
}
