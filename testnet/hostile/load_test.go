package hostile

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// caller is one connection's worth of load.
type caller interface {
	// connect makes its connection.
	connect() (*wire, error)
	// request is the next request; after a refusal it is the same again.
	request() []byte
	// accepted says that the last request was.
	accepted()
}

// outcome is what became of the requests of a load.
type outcome struct {
	lasted   time.Duration
	times    []time.Duration // of accepted ones
	refused  map[int]int     // by status
	unhinted int             // refusals with 429 or 503 that don't say when to come again
	broken   map[string]int  // connections that ended, by reason
	last     string          // an answer that is neither accepted nor 429 or 503
	offered  int
}

// rate is how many were accepted a second.
func (o *outcome) rate() float64 { return float64(len(o.times)) / o.lasted.Seconds() }

// each is the part of each accepted request of what was spent on all.
func (o *outcome) each(spent time.Duration) time.Duration {
	return (spent / time.Duration(max(1, len(o.times)))).Round(time.Microsecond)
}

func (o *outcome) String() string {
	return fmt.Sprintf("%.0f/s offered, %.0f/s accepted (p50 %v, p99 %v, max %v), refused %v, broken %v",
		float64(o.offered)/o.lasted.Seconds(), o.rate(), quantile(o.times, .5), quantile(o.times, .99), quantile(o.times, 1), o.refused, o.broken)
}

func (o *outcome) add(p outcome) {
	o.times = append(o.times, p.times...)
	o.offered += p.offered
	o.unhinted += p.unhinted
	for status, count := range p.refused {
		o.refused[status] += count
	}
	for why, count := range p.broken {
		o.broken[why] += count
	}
	if p.last != "" {
		o.last = p.last
	}
}

// load has callers call for a time: each goes on at once after an answer, or, with a pace, so often at most. None heeds
// a request to come again later: these are not polite ones.
func load(ctx context.Context, callers []caller, lasts, pace time.Duration) *outcome {
	all := &outcome{refused: map[int]int{}, broken: map[string]int{}}
	var mu sync.Mutex
	var ended sync.WaitGroup
	until := time.Now().Add(lasts)
	started := time.Now()
	for i, c := range callers {
		ended.Go(func() {
			one := call(ctx, c, started.Add(pace*time.Duration(i)/time.Duration(len(callers))), until, pace)
			mu.Lock()
			defer mu.Unlock()
			all.add(one)
		})
	}
	ended.Wait()
	all.lasted = time.Since(started)
	return all
}

// call is one connection's part of a load.
func call(ctx context.Context, c caller, from, until time.Time, pace time.Duration) outcome {
	one := outcome{refused: map[int]int{}, broken: map[string]int{}}
	var w *wire
	defer func() {
		if w != nil {
			_ = w.Close() // it is over
		}
	}()
	for next := from; ctx.Err() == nil && next.Before(until) && time.Now().Before(until); {
		if pace > 0 {
			time.Sleep(time.Until(next))
			next = later(next.Add(pace), time.Now())
		}
		if w == nil {
			var err error
			if w, err = c.connect(); err != nil {
				one.broken["connecting"]++
				time.Sleep(10 * time.Millisecond)
				continue
			}
		}
		request := c.request() // to make and sign it takes its time, which isn't the node's
		started := time.Now()
		answer, err := w.do(request)
		one.offered++
		switch {
		case err != nil:
			one.broken[why(err)]++
		case answer.status == http.StatusOK:
			one.times = append(one.times, time.Since(started))
			c.accepted()
		default:
			one.refused[answer.status]++
			if (answer.status == http.StatusTooManyRequests || answer.status == http.StatusServiceUnavailable) && answer.retryAfter == 0 {
				one.unhinted++
			}
			if answer.status != http.StatusTooManyRequests && answer.status != http.StatusServiceUnavailable {
				one.last = fmt.Sprintf("%d %.300s", answer.status, answer.body)
			}
		}
		if err != nil || answer.closed {
			_ = w.Close() // nothing is lost
			w = nil
		}
	}
	return one
}

func why(err error) string {
	text := err.Error()
	return text[strings.LastIndex(text, ": ")+1:]
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// overloaded measures the node's best rate with a few callers and then what is left of it when ten times as much is
// asked, and what that costs.
func overloaded(ctx context.Context, n *node, few, many []caller) {
	GinkgoHelper()
	rest := n.use()
	load(ctx, few, time.Second, 0) // what is slow at first shall not count
	spent := n.spent()
	best := load(ctx, few, max(2*time.Second, *overloadTime/4), 0)
	AddReportEntry("best", fmt.Sprintf("%v; %v of the node's processor time for each accepted", best, best.each(n.spent()-spent)))
	Expect(best.last).To(BeEmpty())
	stop := n.peak()
	spent = n.spent()
	under := load(ctx, many, *overloadTime, time.Duration(float64(len(many))/best.rate()/10*float64(time.Second)))
	peak := stop()
	AddReportEntry("overload", fmt.Sprintf("%v; %v of the node's processor time for each accepted", under, under.each(n.spent()-spent)))
	AddReportEntry("ratio", fmt.Sprintf("%.0f %% of the best rate is still served; peak memory %.1f MB, before %v", 100*under.rate()/best.rate(), float64(peak)/1e6, rest))

	Expect(under.last).To(BeEmpty(), "neither served nor told to come later")
	Expect(under.unhinted).To(BeZero(), "told to come later, but not when")
	Expect(under.broken).To(BeEmpty())
	Expect(under.rate()).To(BeNumerically(">=", .8*best.rate()))
	Expect(quantile(under.times, .99)).To(BeNumerically("<=", 2*time.Second))
	Expect(peak).To(BeNumerically("<", 400e6))
	Eventually(func() int { return n.use().goroutines }, 5*time.Second, 50*time.Millisecond).Should(BeNumerically("<", rest.goroutines+30), "at rest again")
}

// slicesOf makes n of something.
func slicesOf[T any](n int, make func(i int) T) []T {
	made := slices.Grow([]T(nil), n)
	for i := range n {
		made = append(made, make(i))
	}
	return made
}
