package hostile

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// usage is what a process holds at a moment.
type usage struct {
	resident    int64 // bytes
	goroutines  int
	descriptors int
	disk        int64 // bytes of the data folder
}

func (u usage) String() string {
	return fmt.Sprintf("%.1f MB resident, %d goroutines, %d descriptors, %.1f MB on disk",
		float64(u.resident)/1e6, u.goroutines, u.descriptors, float64(u.disk)/1e6)
}

// use reads what the node holds now.
func (n *node) use() usage {
	GinkgoHelper()
	var u usage
	u.resident = n.resident()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.process.PID()))
	Expect(err).NotTo(HaveOccurred())
	u.descriptors = len(files)
	u.goroutines = int(n.metric("go_goroutines"))
	paths, _ := filepath.Glob(filepath.Join(n.orders.DataDir, "*")) // the pattern is good
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			u.disk += info.Size()
		}
	}
	return u
}

// resident is the node's resident memory in bytes.
func (n *node) resident() int64 {
	now, _ := n.process.Memory()
	return now
}

// spent is the processor time that the node has used since it was started.
func (n *node) spent() time.Duration {
	return time.Duration(n.metric("process_cpu_seconds_total") * float64(time.Second))
}

// metric reads one of the node's metrics, summed over its labels.
func (n *node) metric(name string) float64 {
	GinkgoHelper()
	client := http.Client{Timeout: patience}
	defer client.CloseIdleConnections()
	response, err := client.Get("http://" + n.monitor + "/metrics")
	Expect(err).NotTo(HaveOccurred())
	defer response.Body.Close()
	sum := 0.0
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		key, text, _ := strings.Cut(lines.Text(), " ")
		if key == name || strings.HasPrefix(key, name+"{") {
			value, err := strconv.ParseFloat(text, 64)
			Expect(err).NotTo(HaveOccurred())
			sum += value
		}
	}
	return sum
}

// peak samples the node's memory until stop is called, which returns the greatest.
func (n *node) peak() (stop func() int64) {
	var most int64
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			most = max(most, n.resident())
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() int64 {
		close(done)
		<-ended
		return most
	}
}

// bystander is who wants nothing but to be served meanwhile: a client who sends to a room and reads it, and a server
// that sends transactions.
type bystander struct {
	cancel context.CancelFunc
	ended  sync.WaitGroup

	mu       sync.Mutex
	times    map[string][]time.Duration // guarded by mu; by what was done
	failures []error                    // guarded by mu
}

// newBystander starts one. It goes on until end.
func newBystander(ctx context.Context, n *node) *bystander {
	GinkgoHelper()
	client := n.newUser(ctx)
	roomID, err := client.CreateRoom(ctx, map[string]any{"preset": "public_chat"})
	Expect(err).NotTo(HaveOccurred())
	p := newPeer()
	joined, err := p.Join(ctx, n.name, id2room(roomID), p.User("bystander"))
	Expect(err).NotTo(HaveOccurred())
	_, err = client.Sync(ctx, 0)
	Expect(err).NotTo(HaveOccurred())

	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	b := &bystander{cancel: cancel, times: map[string][]time.Duration{}}
	b.repeat(ctx, "send", 50*time.Millisecond, func() error {
		_, err := client.Say(ctx, roomID, "still there")
		return err
	})
	b.repeat(ctx, "sync", 50*time.Millisecond, func() error {
		_, err := client.Sync(ctx, 0)
		return err
	})
	b.repeat(ctx, "transaction", 100*time.Millisecond, func() error {
		_, err := joined.Room.Say(ctx, p.User("bystander"), "still here")
		return err
	})
	return b
}

func (b *bystander) repeat(ctx context.Context, what string, pause time.Duration, do func() error) {
	b.ended.Go(func() {
		for ctx.Err() == nil {
			started := time.Now()
			err := do()
			if ctx.Err() != nil {
				return
			}
			b.mu.Lock()
			b.times[what] = append(b.times[what], time.Since(started))
			if err != nil {
				b.failures = append(b.failures, fmt.Errorf("%s: %w", what, err))
			}
			b.mu.Unlock()
			time.Sleep(pause)
		}
	})
}

// end stops the bystander, who must have been served all the time, and, when measuring, almost always within
// the given time.
func (b *bystander) end(within time.Duration) {
	GinkgoHelper()
	b.cancel()
	b.ended.Wait()
	Expect(b.failures).To(BeEmpty())
	for _, what := range []string{"send", "sync", "transaction"} {
		times := b.times[what]
		Expect(times).NotTo(BeEmpty(), what)
		AddReportEntry("the bystander's "+what, fmt.Sprintf("%d, p50 %v, p95 %v, max %v", len(times), quantile(times, .5), quantile(times, .95), quantile(times, 1)))
		if measuring() {
			Expect(quantile(times, .95)).To(BeNumerically("<", within), what)
		}
	}
}

// quantile of durations, in any order.
func quantile(times []time.Duration, q float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(times))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
