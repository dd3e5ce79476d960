package server

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hanse/federation/id"
)

func origin(i int) id.ServerName { return id.ServerName(fmt.Sprintf("s%d.example", i)) }

// TestTransactionsHaveTheirTurns: so many at once, then in the order in which they came, each not long.
func TestTransactionsHaveTheirTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(Limits{Transactions: 2})
		first, second := a.enter(t.Context(), origin(0), 1), a.enter(t.Context(), origin(1), 1)
		if first == nil || second == nil {
			t.Fatal("the first two have to wait")
		}
		var order []int
		refused := 0
		for i := range a.queue + 3 {
			go func() {
				turn := a.enter(t.Context(), origin(2+i), 1)
				if turn == nil {
					refused++
					return
				}
				order = append(order, i)
				time.Sleep(time.Millisecond)
				turn.leave()
			}()
			synctest.Wait()
		}
		if refused != 3 || !a.crowded(origin(99), 1) {
			t.Errorf("%d were refused, want those that are too many, 3", refused)
		}
		first.leave()
		time.Sleep(time.Millisecond * time.Duration(a.queue+1))
		synctest.Wait()
		if len(order) != a.queue || !slices.IsSorted(order) {
			t.Errorf("the order of the turns is %v", order)
		}
		second.leave()
		if a.running != 0 || len(a.origins) != 0 || a.waiting != 0 {
			t.Errorf("%d run, %d wait and %v are counted at the end", a.running, a.waiting, a.origins)
		}
	})
}

// TestTransactionsDontWaitLong: who has no turn in time, or goes away, is refused and leaves no trace.
func TestTransactionsDontWaitLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(Limits{Transactions: 1})
		only := a.enter(t.Context(), origin(0), 1)
		began := time.Now()
		if a.enter(t.Context(), origin(1), 1) != nil || time.Since(began) != transactionPatience {
			t.Errorf("a second one got its turn, or waited %s", time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if a.enter(ctx, origin(1), 1) != nil || time.Since(began) != transactionPatience+time.Millisecond {
			t.Error("one that was given up got its turn, or waited on")
		}
		only.leave()
		if a.running != 0 || len(a.origins) != 0 || a.waiting != 0 {
			t.Errorf("%d run, %d wait and %v are counted at the end", a.running, a.waiting, a.origins)
		}
	})
}

// TestASlowMachineAnswersInTime: what is let in has its answer in time also where a processor does a full transaction a second, and
// the processor is never idle.
func TestASlowMachineAnswersInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const weight, rate, lasts = 35, 40, 5 * time.Minute
		a := newAdmission(Limits{Transactions: 256})
		processor := make(chan struct{}, 1)
		var done atomic.Int64
		var slow atomic.Int64
		for i := range 40 {
			go func() {
				for began := time.Now(); time.Since(began) < lasts; {
					came := time.Now()
					if a.hopeless(t.Context(), origin(i), weight) {
						continue
					}
					turn := a.enter(t.Context(), origin(i), weight)
					if turn == nil {
						continue
					}
					for range weight { // all that are worked on share it
						processor <- struct{}{}
						time.Sleep(time.Second / rate)
						<-processor
					}
					turn.leave()
					if done.Add(1); time.Since(came) > 2500*time.Millisecond {
						slow.Add(1)
					}
				}
			}()
		}
		time.Sleep(lasts + time.Minute)
		synctest.Wait()
		if all := int64(lasts.Seconds() * rate / weight); done.Load() < all*9/10 || slow.Load() > 20 {
			t.Errorf("%d done of %d, %d of them late", done.Load(), all, slow.Load())
		}
	})
}

// TestWhoWaitsForOthersIsNotCounted: a transaction that pauses makes place, and comes back without waiting.
func TestWhoWaitsForOthersIsNotCounted(t *testing.T) {
	a := newAdmission(Limits{Transactions: 1})
	first := a.enter(t.Context(), origin(0), 1)
	ctx := context.WithValue(t.Context(), turnKey{}, first)
	resume := Pause(ctx)
	inner := Pause(ctx)
	second := a.enter(t.Context(), origin(1), 1)
	if second == nil {
		t.Fatal("there is no turn while the first one pauses")
	}
	inner()
	if a.running != 1 {
		t.Errorf("%d run while one pauses", a.running)
	}
	resume()
	if a.running != 2 {
		t.Errorf("%d run when it is back", a.running)
	}
	lost := Pause(ctx)
	first.leave() // its peer went away
	lost()
	second.leave()
	if a.running != 0 || len(a.origins) != 0 {
		t.Errorf("%d run and %v are counted at the end", a.running, a.origins)
	}
	Pause(t.Context())() // of no transaction
}

// TestOneServerDoesntTakeAllTurns holds the bound of one server's transactions.
func TestOneServerDoesntTakeAllTurns(t *testing.T) {
	a := newAdmission(Limits{Transactions: 40})
	for range a.perOrigin {
		turn := a.enter(t.Context(), origin(0), 1)
		if turn == nil {
			t.Fatal("it is refused too early")
		}
		turn.pause()
	}
	if !a.crowded(origin(0), 1) || a.enter(t.Context(), origin(0), 1) != nil {
		t.Error("it is let in again")
	}
	if a.crowded(origin(1), 1) || a.enter(t.Context(), origin(1), 1) == nil {
		t.Error("another server has no turn")
	}
}

// TestTransactionsCountByTheirSize: many small ones are worked on at once, or few large ones, and the largest too.
func TestTransactionsCountByTheirSize(t *testing.T) {
	a := newAdmission(Limits{Transactions: 10})
	for _, c := range []struct {
		body         int64
		weight, runs int
	}{{-1, 1, 10}, {0, 1, 10}, {1 << 10, 1, 10}, {5 << 10, 5, 2}, {6 << 10, 6, 2}, {13 << 20, 10, 1}} {
		if got := a.weigh(c.body); got != c.weight {
			t.Errorf("a body of %d bytes weighs %d, want %d", c.body, got, c.weight)
		}
		var turns []*turn
		for i := range c.runs {
			turn := a.arrive(origin(i), c.weight)
			if turn.called != nil {
				t.Fatalf("of weight %d, number %d has to wait", c.weight, i)
			}
			turns = append(turns, turn)
		}
		waits := a.arrive(origin(99), c.weight)
		if waits.called == nil {
			t.Errorf("of weight %d, %d are worked on", c.weight, c.runs+1)
		}
		for _, turn := range turns {
			turn.leave()
		}
		<-waits.called
		waits.leave()
		if a.running != 0 || a.waiting != 0 || a.turns.Len() != 0 || len(a.origins) != 0 {
			t.Errorf("%d run, %d wait and %v are counted at the end", a.running, a.waiting, a.origins)
		}
	}
}

// TestOriginsHaveTurns: who has many that wait keeps nobody out, and nobody waiting for long.
func TestOriginsHaveTurns(t *testing.T) {
	a := newAdmission(Limits{Transactions: 1})
	only := a.arrive(origin(0), 1)
	for range 4 { // half of the queue
		if a.arrive(origin(1), 1) == nil {
			t.Fatal("it has less than its share")
		}
	}
	if !a.crowded(origin(1), 1) || a.arrive(origin(1), 1) != nil {
		t.Error("it has more than its share")
	}
	if a.crowded(origin(2), 1) {
		t.Error("another is kept out")
	}
	late := a.arrive(origin(2), 1)
	only.leave()
	if got := a.origins[origin(1)].weight; got != 3 {
		t.Errorf("of the first, %d wait", got)
	}
	a.mu.Lock()
	a.next(1)
	a.mu.Unlock()
	select {
	case <-late.called:
	default:
		t.Error("who came late to a long line of another waits for all of it")
	}
}

// TestFullTransactionsHaveTurns: those of others that wait don't keep out a large one, which its server can't make smaller.
func TestFullTransactionsHaveTurns(t *testing.T) {
	a := newAdmission(Limits{Transactions: 10})
	a.pace = 1 // so that no more may wait than is worked on
	runs := a.arrive(origin(0), 10)
	a.arrive(origin(1), 1)
	if a.crowded(origin(2), 10) {
		t.Error("it is refused, as a small one waits")
	}
	large := a.arrive(origin(2), 10)
	if large == nil {
		t.Fatal("it has no place")
	}
	if !a.crowded(origin(2), 1) || !a.crowded(origin(3), 1) {
		t.Error("more may wait, although the queue is full")
	}
	runs.leave()
	<-large.called
}

// TestRefusalsTakeAMoment: in which there may be room again; but not too many are held.
func TestRefusalsTakeAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(Limits{Transactions: 1})
		if a.hopeless(t.Context(), origin(0), 1) {
			t.Error("the first is refused")
		}
		a.arrive(origin(0), 1)
		for i := range a.queue {
			a.arrive(origin(1+i), 1)
		}
		began := time.Now()
		var refused atomic.Int64
		for range refusalsHeld {
			go func() {
				if a.hopeless(t.Context(), origin(99), 1) {
					refused.Add(1)
				}
			}()
		}
		synctest.Wait()
		if !a.hopeless(t.Context(), origin(99), 1) || time.Since(began) != 0 || refused.Load() != 0 {
			t.Errorf("%d were refused at once, and one too many after %s", refused.Load(), time.Since(began))
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if !a.hopeless(gone, origin(99), 1) {
			t.Error("one that went away is let in")
		}
		time.Sleep(refusalPause)
		synctest.Wait()
		if refused.Load() != refusalsHeld || a.held.Load() != 0 {
			t.Errorf("%d were refused after a moment, %d are still held", refused.Load(), a.held.Load())
		}
		go func() {
			time.Sleep(refusalPause / 2)
			a.mu.Lock()
			defer a.mu.Unlock()
			a.next(1)
		}()
		if a.hopeless(t.Context(), origin(99), 1) {
			t.Error("it is refused, although there is room a moment later")
		}
	})
}

// TestNobodyWaitsInVain: at a slow pace, fewer are let wait; at a fast one, more again.
func TestNobodyWaitsInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(Limits{Transactions: 4})
		n := 0
		arrive := func() bool {
			n++
			return a.arrive(origin(n), 1) != nil
		}
		fill := func() (waiting int) {
			for arrive() {
			}
			return a.waiting
		}
		work := func(each time.Duration, turns int) {
			for range turns {
				time.Sleep(each)
				a.mu.Lock()
				a.learn(1)
				a.next(1)
				a.mu.Unlock()
				arrive()
			}
		}
		if got := fill(); got != a.queue {
			t.Errorf("%d may wait as long as the pace isn't known, want %d", got, a.queue)
		}
		work(50*time.Millisecond, 40) // 20 a second
		work(50*time.Millisecond, 40)
		if got := fill(); got != 10 {
			t.Errorf("at 20 a second %d may wait, want those of half a second", got)
		}
		work(time.Second, 40)
		if got := fill(); got != a.atOnce {
			t.Errorf("at the slowest pace %d may wait, want %d", got, a.atOnce)
		}
		work(time.Millisecond, 4000)
		if got := fill(); got != a.queue {
			t.Errorf("at a fast pace %d may wait, want %d", got, a.queue)
		}
	})
}
