package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"hanse/federation/id"
)

const (
	// syncTimeline is how many events a client takes in one answer: one that missed some is no measure.
	syncTimeline = 500
	// syncWindow is how many messages may be under way at full speed, sent and not yet with every client.
	syncWindow = 64
	// syncSenders is how many clients send at full speed.
	syncSenders = 32
	// syncRate is how many messages a second are sent at a rate: with 50 clients, 1,000 deliveries a second.
	syncRate = 20
)

// waiter is a client that waits in /sync all the time. Its lists are read when it has ended.
type waiter struct {
	session *session
	since   string
	index   int
	got     []delivery
	texts   []string
	senders []string
	wrong   error
}

// audience is the clients that wait in one room.
type audience struct {
	roomID  string
	waiters []*waiter
	stop    context.CancelFunc
	ended   sync.WaitGroup

	mu     sync.Mutex
	counts []int      // guarded by mu; what each client has got
	behind *sync.Cond // of mu; when the slowest client got something, or one failed
	failed bool       // guarded by mu
}

// fanOut measures how what is said reaches clients that wait.
func fanOut(ctx context.Context, t *trial) error {
	if _, err := t.boot(ctx); err != nil {
		return err
	}
	t.say("%s: registering %d clients", t.target.label(), t.Clients)
	sessions, roomID, err := t.roomful(ctx, t.Clients)
	if err != nil {
		return err
	}
	waiters := make([]*waiter, len(sessions))
	for i, s := range sessions {
		waiters[i] = &waiter{session: s, index: i}
	}
	t.part("at full speed", func() error {
		a, err := listen(ctx, waiters, roomID)
		if err != nil {
			return err
		}
		w, sending := t.window(), 0
		said, err := t.talk(ctx, sessions, roomID, syncSenders, t.scaled(10_000, 200), t.patience(), func() bool {
			return a.let(ctx, &sending)
		})
		return t.heard(ctx, "at full speed", a, slices.Concat(said...), w, err, true)
	})
	t.part("at a rate", func() error {
		a, err := listen(ctx, waiters, roomID)
		if err != nil {
			return err
		}
		w := t.window()
		said, err := t.steady(ctx, sessions, roomID, syncRate, t.scaled(6*syncRate, 20))
		return t.heard(ctx, fmt.Sprintf("at %d deliveries/s", syncRate*t.Clients), a, said, w, err, false)
	})
	return nil
}

// listen lets every client take what is there already, and wait for news of the room.
func listen(ctx context.Context, waiters []*waiter, roomID string) (*audience, error) {
	ctx, cancel := context.WithCancel(ctx)
	a := &audience{roomID: roomID, stop: cancel, counts: make([]int, len(waiters)), waiters: waiters}
	a.behind = sync.NewCond(&a.mu)
	if err := parallel(len(waiters), 8, func(i int) error { return waiters[i].drain(ctx, roomID) }); err != nil {
		cancel()
		return nil, err
	}
	for _, w := range a.waiters {
		a.ended.Go(func() { a.wait(ctx, w) })
	}
	return a, nil
}

func (a *audience) wait(ctx context.Context, w *waiter) {
	for {
		limited, err := w.sync(ctx, a.roomID, 20*time.Second)
		if ctx.Err() != nil {
			return
		}
		if err == nil && limited {
			err = fmt.Errorf("an answer of /sync leaves out events")
		}
		a.mu.Lock()
		a.counts[w.index], a.failed = len(w.got), a.failed || err != nil
		a.behind.Broadcast()
		a.mu.Unlock()
		if err != nil {
			w.wrong = err
			return
		}
	}
}

// drain takes what is there before a measurement, and forgets it.
func (w *waiter) drain(ctx context.Context, roomID string) error {
	for more := true; more; more = len(w.got) > 0 {
		w.got, w.texts, w.senders, w.wrong = nil, nil, nil, nil
		first := w.since == ""
		if _, err := w.sync(ctx, roomID, 0); err != nil {
			return err
		}
		if first {
			w.got = nil // a room's first answer holds its last messages
		}
	}
	w.texts, w.senders = nil, nil
	return nil
}

// let holds a sender back while too much is under way; sending is how many were let through.
func (a *audience) let(ctx context.Context, sending *int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for *sending-slices.Min(a.counts) >= syncWindow && !a.failed && ctx.Err() == nil {
		a.behind.Wait()
	}
	*sending++
	return !a.failed && ctx.Err() == nil
}

// sync asks once and notes the messages that came.
func (w *waiter) sync(ctx context.Context, roomID string, timeout time.Duration) (limited bool, err error) {
	filter := fmt.Sprintf(`{"presence":{"types":[]},"room":{"timeline":{"limit":%d},"ephemeral":{"types":[]}}}`, syncTimeline)
	query := url.Values{"timeout": {fmt.Sprint(timeout.Milliseconds())}, "filter": {filter}, "set_presence": {"offline"}}
	if w.since != "" {
		query.Set("since", w.since)
	}
	raw, err := w.session.call(ctx, http.MethodGet, "/_matrix/client/v3/sync?"+query.Encode(), nil)
	if err != nil {
		return false, err
	}
	at := time.Now()
	var answer syncAnswer
	if err := json.Unmarshal(raw, &answer); err != nil {
		return false, fmt.Errorf("an answer of /sync: %w", err)
	}
	first := w.since == ""
	w.since = answer.NextBatch
	timeline := answer.Rooms.Join[roomID].Timeline
	for _, e := range timeline.Events {
		if e.Type != "m.room.message" {
			continue
		}
		w.got = append(w.got, delivery{e.ID, w.index, at})
		w.texts, w.senders = append(w.texts, e.Content.Body), append(w.senders, e.Sender)
	}
	return timeline.Limited && !first, nil
}

// syncAnswer is what the bench reads of an answer: little, since its CPU time is the server's too.
type syncAnswer struct {
	NextBatch string `json:"next_batch"`
	Rooms     struct {
		Join map[string]struct {
			Timeline struct {
				Events []struct {
					ID      id.EventID `json:"event_id"`
					Type    string     `json:"type"`
					Sender  string     `json:"sender"`
					Content struct {
						Body string `json:"body"`
					} `json:"content"`
				} `json:"events"`
				Limited bool `json:"limited"`
			} `json:"timeline"`
		} `json:"join"`
	} `json:"rooms"`
}

// heard waits until every client has what was said, checks it and notes the figures.
func (t *trial) heard(ctx context.Context, name string, a *audience, said []sent, w window, failed error, fullSpeed bool) error {
	if failed == nil {
		failed = a.until(ctx, len(said))
	}
	used := t.spentFigures(name, w, time.Now())
	time.Sleep(50 * time.Millisecond) // for what comes too much
	a.stop()
	a.ended.Wait()
	deliveries, wrong := a.judge(said)
	d := describe(deliveries, said)
	if fullSpeed {
		t.rate(name+": deliveries", "events", float64(len(deliveries))/d.last.Sub(w.began).Seconds(), 0, "")
	}
	t.seconds(name+": from send to arrival, median", d.p50, 0, "")
	t.seconds(name+": from send to arrival, 99 % within", d.p99, 0, "")
	t.add(used)
	if failed != nil {
		return failed
	}
	return wrong
}

// until waits until every client has n messages, one fails, or nothing comes any more.
func (a *audience) until(ctx context.Context, n int) error {
	deadline := time.Now().Add(settleTimeout / 3)
	for last := -1; ctx.Err() == nil; time.Sleep(2 * time.Millisecond) {
		a.mu.Lock()
		least, failed := slices.Min(a.counts), a.failed
		a.mu.Unlock()
		if least >= n || failed || time.Now().After(deadline) {
			return nil // judging tells what is missing
		}
		if least != last {
			last, deadline = least, time.Now().Add(settleTimeout/3)
		}
	}
	return ctx.Err()
}

// judge checks that every client got every message, once, whole, and all in the same order.
func (a *audience) judge(said []sent) ([]delivery, error) {
	wanted := make(map[id.EventID]sent, len(said))
	for _, s := range said {
		wanted[s.id] = s
	}
	var deliveries []delivery
	var wrong error
	for _, w := range a.waiters {
		deliveries = append(deliveries, w.got...)
		if wrong == nil {
			wrong = w.judge(wanted, a.waiters[0])
		}
	}
	return deliveries, wrong
}

func (w *waiter) judge(wanted map[id.EventID]sent, first *waiter) error {
	if w.wrong != nil {
		return fmt.Errorf("%s: %w", w.session.id, w.wrong)
	}
	found := make(map[id.EventID]bool, len(w.got))
	for i, d := range w.got {
		want, ok := wanted[d.event]
		switch {
		case !ok:
			return fmt.Errorf("%s got %s, which nobody sent", w.session.id, d.event)
		case found[d.event]:
			return fmt.Errorf("%s got %s twice", w.session.id, d.event)
		case w.texts[i] != want.text || w.senders[i] != string(want.user):
			return fmt.Errorf("%s got %s, and it is not what was sent", w.session.id, d.event)
		case i < len(first.got) && first.got[i].event != d.event:
			return fmt.Errorf("%s and %s got event %d in another order", w.session.id, first.session.id, i)
		}
		found[d.event] = true
	}
	if missing := len(wanted) - len(found); missing > 0 {
		return fmt.Errorf("%s lacks %d of %d events", w.session.id, missing, len(wanted))
	}
	return nil
}
