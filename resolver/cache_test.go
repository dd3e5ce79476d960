package resolver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestCacheKeepsAnswersAndFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache[int]()
		asked := 0
		next := answer[int]{value: 7, keep: time.Minute}
		get := func() (int, error) {
			return c.get(t.Context(), "x", func(context.Context, previous[int]) answer[int] { asked++; return next })
		}
		expect := func(what string, value int, failed bool, times int) {
			t.Helper()
			v, err := get()
			if v != value || (err != nil) != failed || asked != times {
				t.Errorf("%s: %d, %v after %d look-ups; want %d after %d", what, v, err, asked, value, times)
			}
		}
		expect("first", 7, false, 1)
		time.Sleep(59 * time.Second)
		expect("within its time", 7, false, 1)
		time.Sleep(time.Second)
		next = answer[int]{err: errors.New("no"), keep: time.Minute}
		expect("after its time: a failure", 0, true, 2)
		expect("the failure counts too, without the old value", 0, true, 2)
		c.forget("x")
		expect("forgotten, but just asked", 0, true, 2)
		time.Sleep(forgottenRetry)
		next = answer[int]{value: 8, keep: time.Minute}
		expect("asked again", 8, false, 3)
		c.forget("x")
		expect("forgotten", 8, false, 4)
		if v, ok := c.peek("x"); v != 8 || !ok {
			t.Errorf("peek: %d, %v", v, ok)
		}
	})
}

func TestCacheTellsTheLookupOfThePast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache[int]()
		for i, fails := range []bool{false, true, true, false, true} {
			_, _ = c.get(t.Context(), "x", func(_ context.Context, before previous[int]) answer[int] {
				if want := []previous[int]{{}, {value: 1}, {value: 1, failures: 1}, {value: 1, failures: 2}, {value: 4}}[i]; before.value != want.value || before.failures != want.failures {
					t.Errorf("look-up %d: %+v, want %+v", i, before, want)
				}
				if fails {
					return answer[int]{err: errors.New("no"), keep: time.Second}
				}
				return answer[int]{value: i + 1, keep: time.Second}
			})
			time.Sleep(time.Second)
		}
	})
}

// deaf is a network whose DNS servers don't answer to questions for SRV records.
type deaf struct {
	Network
	asked int
}

func (d *deaf) Services(context.Context, string) ([]Service, time.Duration, error) {
	d.asked++
	return nil, 0, errors.New("no answer")
}

func TestServicesWithoutAnswerAreAskedForEverMoreSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := &deaf{}
		ask := asker{New(Config{Network: network})}
		for second := range 300 {
			if _, err := ask.services(t.Context(), "_matrix._tcp.a.test"); err == nil {
				t.Fatal("no failure")
			}
			if want := map[int]int{0: 1, 4: 1, 5: 2, 14: 2, 15: 3, 34: 3, 35: 4, 74: 4, 75: 5, 134: 5, 135: 6, 299: 8}[second]; want > 0 && network.asked != want {
				t.Errorf("after %d s it was asked for %d times, want %d", second, network.asked, want)
			}
			time.Sleep(time.Second)
		}
	})
}

// flaky is a network whose DNS servers answer now and then.
type flaky struct {
	Network
	down  bool
	asked int
}

func (f *flaky) Services(context.Context, string) ([]Service, time.Duration, error) {
	f.asked++
	if f.down {
		return nil, 0, errors.New("no answer")
	}
	return []Service{{Host: "b.test", Port: 443}}, time.Minute, nil
}

func (f *flaky) Addresses(context.Context, string) ([]netip.Addr, time.Duration, error) {
	f.asked++
	if f.down {
		return nil, 0, errors.New("no answer")
	}
	return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, time.Minute, nil
}

// Without DNS servers other servers are where they were, rather than at port 8448 of their name, or nowhere.
func TestWhatWasToldCountsOnWhileNobodyAnswers(t *testing.T) {
	for name, ask := range map[string]func(context.Context, asker) (int, error){
		"services": func(ctx context.Context, a asker) (int, error) {
			list, err := a.services(ctx, "_matrix-fed._tcp.a.test")
			return len(list), err
		},
		"addresses": func(ctx context.Context, a asker) (int, error) {
			list, err := a.addresses(ctx, "b.test")
			return len(list), err
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			network := &flaky{}
			a := asker{New(Config{Network: network})}
			expect := func(when string, want int) {
				t.Helper()
				if n, err := ask(t.Context(), a); n != want || (err == nil) != (want > 0) {
					t.Errorf("%s, %s: %d, %v", name, when, n, err)
				}
			}
			expect("at first", 1)
			network.down = true
			for range 47 {
				time.Sleep(time.Hour)
				expect("while nobody answers", 1)
				expect("while nobody answers", 1)
			}
			if network.asked != 48 {
				t.Errorf("%s: asked for %d times", name, network.asked)
			}
			time.Sleep(2 * time.Hour)
			expect("two days later", 0)
			network.down = false
			time.Sleep(absentTTL)
			expect("once they answer", 1)
			network.down = true
			a.r.services.forget("_matrix-fed._tcp.a.test")
			a.r.addresses.forget("b.test")
			asked := network.asked
			for range 3 {
				expect("once nobody was found there", 1)
				a.r.services.forget("_matrix-fed._tcp.a.test")
				a.r.addresses.forget("b.test")
			}
			if network.asked != asked+1 {
				t.Errorf("%s: asked for %d times at once", name, network.asked-asked)
			}
			time.Sleep(forgottenRetry)
			expect("once nobody was found there", 1)
			if network.asked != asked+2 {
				t.Errorf("%s: not asked for again", name)
			}
		})
	}
}

func TestWhatIsDroppedDoesNotCountOn(t *testing.T) {
	c := newCache[int]()
	for name, drop := range map[string]func(string){"forgotten": c.forget, "dropped": c.drop} {
		get := func(a answer[int]) (before previous[int]) {
			_, _ = c.get(t.Context(), name, func(_ context.Context, b previous[int]) answer[int] { before = b; return a })
			return before
		}
		get(answer[int]{value: 7, keep: time.Hour})
		drop(name)
		if before := get(answer[int]{err: errors.New("no")}); before.told.IsZero() != (name == "dropped") {
			t.Errorf("%s: %+v", name, before)
		}
	}
}

func TestCacheCoalesces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache[int]()
		asked := 0
		slow := func(ctx context.Context, _ previous[int]) answer[int] {
			asked++
			select {
			case <-time.After(10 * time.Second):
				return answer[int]{value: asked, keep: time.Minute}
			case <-ctx.Done():
				return answer[int]{err: ctx.Err(), keep: time.Minute}
			}
		}
		hasty, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var group sync.WaitGroup
		group.Go(func() {
			if _, err := c.get(hasty, "x", slow); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("who gave up: %v", err)
			}
		})
		synctest.Wait()
		for range 10 {
			group.Go(func() {
				if v, err := c.get(t.Context(), "x", slow); v != 2 || err != nil {
					t.Errorf("who waits: %d, %v", v, err)
				}
			})
		}
		group.Wait()
		if asked != 2 {
			t.Errorf("%d look-ups", asked)
		}
	})
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache[int]()
	for i := range maxCached + 100 {
		_, _ = c.get(t.Context(), fmt.Sprint(i), func(context.Context, previous[int]) answer[int] { return answer[int]{keep: time.Hour} })
	}
	if n := len(c.items); n > maxCached {
		t.Errorf("%d items", n)
	}
}
