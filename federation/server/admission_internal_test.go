package server

import (
	"context"
	"fmt"
	"slices"
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
		first, second := a.enter(t.Context(), origin(0)), a.enter(t.Context(), origin(1))
		if first == nil || second == nil {
			t.Fatal("the first two have to wait")
		}
		var order []int
		refused := 0
		for i := range a.queue + 3 {
			go func() {
				turn := a.enter(t.Context(), origin(2+i))
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
		if refused != 3 || !a.crowded(origin(99)) {
			t.Errorf("%d were refused, want those that are too many, 3", refused)
		}
		first.leave()
		time.Sleep(time.Millisecond * time.Duration(a.queue+1))
		synctest.Wait()
		if len(order) != a.queue || !slices.IsSorted(order) {
			t.Errorf("the order of the turns is %v", order)
		}
		second.leave()
		if a.running != 0 || len(a.origins) != 0 || a.waiting.Len() != 0 {
			t.Errorf("%d run, %d wait and %v are counted at the end", a.running, a.waiting.Len(), a.origins)
		}
	})
}

// TestTransactionsDontWaitLong: who has no turn in time, or goes away, is refused and leaves no trace.
func TestTransactionsDontWaitLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(Limits{Transactions: 1})
		only := a.enter(t.Context(), origin(0))
		began := time.Now()
		if a.enter(t.Context(), origin(1)) != nil || time.Since(began) != transactionPatience {
			t.Errorf("a second one got its turn, or waited %s", time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if a.enter(ctx, origin(1)) != nil || time.Since(began) != transactionPatience+time.Millisecond {
			t.Error("one that was given up got its turn, or waited on")
		}
		only.leave()
		if a.running != 0 || len(a.origins) != 0 || a.waiting.Len() != 0 {
			t.Errorf("%d run, %d wait and %v are counted at the end", a.running, a.waiting.Len(), a.origins)
		}
	})
}

// TestWhoWaitsForOthersIsNotCounted: a transaction that pauses makes place, and comes back without waiting.
func TestWhoWaitsForOthersIsNotCounted(t *testing.T) {
	a := newAdmission(Limits{Transactions: 1})
	first := a.enter(t.Context(), origin(0))
	ctx := context.WithValue(t.Context(), turnKey{}, first)
	resume := Pause(ctx)
	inner := Pause(ctx)
	second := a.enter(t.Context(), origin(1))
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
	a := newAdmission(Limits{Transactions: 4})
	for range a.perOrigin {
		turn := a.enter(t.Context(), origin(0))
		if turn == nil {
			t.Fatal("it is refused too early")
		}
		turn.pause()
	}
	if !a.crowded(origin(0)) || a.enter(t.Context(), origin(0)) != nil {
		t.Error("it is let in again")
	}
	if a.crowded(origin(1)) || a.enter(t.Context(), origin(1)) == nil {
		t.Error("another server has no turn")
	}
}
