package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"hanse/federation/event"
	"hanse/federation/id"
)

const (
	// overloadServers is how many servers send at once in an overload, ten times those that a server is measured at its
	// best with; overloadClients the same for clients.
	overloadServers = 100
	overloadClients = 640
	// overloadPDUs is how many events a transaction of the overload has.
	overloadPDUs = 10
	// bestSupply is how many events each server has signed for each second in which the best rate is measured, and
	// overloadSupply how many, for each second of the overload, all have signed for each that was accepted a second at the
	// best rate; but no more than maxSupply, which is some 600 MB. Who has sent all signs more under way, which takes from
	// the machine.
	bestSupply     = 1000
	overloadSupply = 1.25
	maxSupply      = 200_000
	// bestFor is how long the best rate is measured at most.
	bestFor = 4 * time.Second
	// atRest is how much of a core a server may use that is at rest again.
	atRest = 0.1
	// restTimeout is how long the bench waits for that.
	restTimeout = 60 * time.Second
	// shortestRetry and longestRetry bound what the bench makes of a time to retry.
	shortestRetry, longestRetry = 20 * time.Millisecond, 5 * time.Second
)

// tally is what came of the requests of a phase. Safe for concurrent use.
type tally struct {
	until    time.Time     // when the load ended; immutable
	lasted   time.Duration // until the last answer; set at the end
	mu       sync.Mutex
	took     []time.Duration // guarded by mu; of requests that were accepted
	events   int             // guarded by mu
	servers  int             // events of servers among them; set at the end
	refused  int             // guarded by mu; 429 and 503
	untimed  int             // guarded by mu; of them, those without a time to retry
	failures int             // guarded by mu; anything else
	failure  error           // guarded by mu; the first
}

// rate is how many events were accepted a second. Not to be called in a phase.
func (y *tally) rate() float64 { return float64(y.events) / y.lasted.Seconds() }

// note tells whether the request was accepted, and how long to wait before the next one.
func (y *tally) note(began time.Time, events int, err error) (accepted bool, wait time.Duration) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if err == nil {
		y.took, y.events = append(y.took, time.Since(began)), y.events+events
		return true, 0
	}
	if refused, ok := asRefusal(err); ok && refused.temporary() {
		y.refused++
		if refused.retryAfter == 0 {
			y.untimed++
		}
		return false, min(max(refused.retryAfter, shortestRetry), longestRetry)
	}
	y.failures++
	if y.failure == nil {
		y.failure = err
	}
	return false, shortestRetry
}

// crowd is who asks the server for too much.
type crowd struct {
	trial    *trial
	sessions []*session
	roomID   string
	rooms    []*room
	events   [][]*event.Event
	random   []*rand.Rand // for the words of each server; as lanes
	lanes    []lane       // what each server has signed; owned by the server's goroutine in a phase
	sent     []int        // transactions of each lane that were accepted; as lanes

	mu   sync.Mutex
	said []sent // guarded by mu
}

// overload measures the best rate of clients and servers together, lets ten times as many ask at once, and measures the best
// rate again.
//
// A database that grows makes every event dearer, however few ask: an index by event IDs, which are hashes, is a page an event
// once it is large. Under the clock of the overload the database becomes several times as large as it was at the best rate
// before. So the overload is compared with the mean of the best rates before and after it, which is the one at the size between.
// Both are figures of their own: a server that an overload leaves slower than a larger database explains is seen in them.
func overload(ctx context.Context, t *trial) error {
	c, err := t.newCrowd(ctx)
	if err != nil {
		return err
	}
	const few, many, again = "64 clients and a tenth of the servers", "ten times as many", "as few as before"
	best, used, err := c.best(ctx, few)
	if err != nil {
		return err
	}
	t.rate(few+": accepted", "events", best.rate(), 0, "")
	t.add(used)
	if err := c.supply(float64(best.servers) / best.lasted.Seconds()); err != nil {
		return err
	}
	process := t.target.process
	calm, _ := process.Memory()
	process.ResetPeak()
	much, usedByMany := c.measure(ctx, many, overloadClients, len(c.lanes), t.Duration)
	rest := t.restAgain(ctx, c, much.until)
	_, p99, most := spread(much.took)
	t.seconds(many+": an accepted request, 99 % within", p99, 0, "")
	t.seconds(many+": an accepted request, the slowest", most, 0, "")
	t.amount(many+": refused with 429 or 503", "requests", float64(much.refused))
	t.amount(many+": of them without a time to retry", "requests", float64(much.untimed))
	t.amount(many+": other failures", "requests", float64(much.failures))
	if much.failure != nil {
		t.say("%s: %s: the first failure: %v", t.target.label(), many, much.failure)
	}
	t.add(usedByMany)
	if usageKnown {
		_, peak := process.Memory()
		t.amount("memory before", "MB", megabytes(calm))
		t.amount("peak memory", "MB", megabytes(peak))
	}
	if rest != nil {
		return rest
	}
	after, used, err := c.best(ctx, again)
	if err != nil {
		return err
	}
	t.rate(again+": accepted", "events", after.rate(), best.rate(), "its best rate before")
	t.add(used)
	t.rate(many+": accepted", "events", much.rate(), (best.rate()+after.rate())/2, "its own best rate, the mean of before and after")
	return c.check(ctx)
}

// best measures the best rate.
func (c *crowd) best(ctx context.Context, name string) (*tally, []Figure, error) {
	servers, each := len(c.lanes)/10, int(bestSupply*c.trial.bestFor().Seconds())/overloadPDUs
	if err := c.signUpTo(servers, each); err != nil {
		return nil, nil, err
	}
	y, used := c.measure(ctx, name, atOnce, servers, c.trial.bestFor())
	if y.failure != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, y.failure)
	}
	return y, used, nil
}

// bestFor is how long the best rate is measured.
func (t *trial) bestFor() time.Duration { return min(bestFor, t.Duration) }

// newCrowd boots the server and makes everybody ready.
func (t *trial) newCrowd(ctx context.Context) (*crowd, error) {
	n := t.scaled(overloadServers, 20)
	servers, err := t.firstServers(n)
	if err != nil {
		return nil, err
	}
	c := &crowd{trial: t, lanes: make([]lane, n), events: make([][]*event.Event, n), rooms: make([]*room, n), random: make([]*rand.Rand, n), sent: make([]int, n)}
	for i, s := range servers {
		c.random[i] = t.random("overload" + strconv.Itoa(i))
		if c.rooms[i], err = newRoom(s, "overload"+strconv.Itoa(i)); err != nil {
			return nil, err
		}
	}
	t.world.add(c.rooms...)
	if _, err := t.boot(ctx); err != nil {
		return nil, err
	}
	if c.sessions, c.roomID, err = t.roomful(ctx, 8); err != nil {
		return nil, err
	}
	if err := parallel(n, 4, func(i int) error { return c.sessions[0].joinRoom(ctx, c.rooms[i]) }); err != nil {
		return nil, err
	}
	return c, nil
}

// supply lets every server have signed what it will send in the overload, by how many events a second all took at the best
// rate: nothing of that takes from the machine under the clock.
func (c *crowd) supply(rate float64) error {
	n := len(c.lanes)
	each := int(min(overloadSupply*rate*c.trial.Duration.Seconds(), maxSupply))/n/overloadPDUs + 1
	return c.signUpTo(n, each)
}

// signUpTo lets the first servers sign until each has so many transactions to send.
func (c *crowd) signUpTo(servers, each int) error {
	c.trial.say("%s: signing events of %d servers", c.trial.target.label(), servers)
	return parallel(servers, 2, func(i int) error { return c.sign(i, each-(len(c.lanes[i])-c.sent[i])) })
}

// sign lets a server have so many transactions more to send; none if there are fewer.
func (c *crowd) sign(index, transactions int) error {
	r := c.rooms[index]
	for range transactions {
		first := len(c.events[index])
		made, err := r.talk(r.owner, overloadPDUs, func(n int) string { return words(c.random[index], strconv.Itoa(first+n)) })
		if err != nil {
			return err
		}
		b, err := newBatch(r.owner, c.trial.target.name, "o"+strconv.Itoa(first), made)
		if err != nil {
			return err
		}
		c.events[index], c.lanes[index] = append(c.events[index], made...), append(c.lanes[index], b)
	}
	return nil
}

// measure is a phase, and beside it what it took of the machine.
func (c *crowd) measure(ctx context.Context, name string, clients, servers int, duration time.Duration) (*tally, []Figure) {
	w := c.trial.window()
	y := c.phase(ctx, clients, servers, duration)
	figures := []Figure{{
		Name: name + ": accepted of servers", Value: float64(y.servers) / y.lasted.Seconds(), Unit: "events/s", More: true,
	}}
	if usageKnown {
		each := (cpuTime(c.trial.target.process) - w.server).Seconds() / float64(max(y.events, 1))
		figures = append(figures, Figure{Name: name + ": CPU time of the server an event", Value: each, Unit: "s"})
	}
	return y, append(figures, c.trial.spentFigures(name, w, time.Now())...)
}

// phase lets clients and servers ask for a while.
func (c *crowd) phase(ctx context.Context, clients, servers int, duration time.Duration) *tally {
	ctx, cancel := context.WithTimeout(ctx, duration+requestTimeout)
	defer cancel()
	began := time.Now()
	y := &tally{until: began.Add(duration)}
	before := c.transactions()
	var wait sync.WaitGroup
	for i := range clients {
		wait.Go(func() { c.client(ctx, i, y, y.until) })
	}
	for i := range servers {
		wait.Go(func() { c.server(ctx, i, y, y.until) })
	}
	wait.Wait()
	y.lasted = time.Since(began)
	y.servers = (c.transactions() - before) * overloadPDUs
	return y
}

// transactions is how many of the servers were accepted. Not to be called in a phase.
func (c *crowd) transactions() (n int) {
	for _, sent := range c.sent {
		n += sent
	}
	return n
}

// client sends one message after another; one that was refused is sent again after the time the server names.
func (c *crowd) client(ctx context.Context, index int, y *tally, until time.Time) {
	s := c.sessions[index%len(c.sessions)]
	for n := 0; time.Now().Before(until) && ctx.Err() == nil; n++ {
		txn := s.target.txns.Add(1)
		text := fmt.Sprintf("message %d of client %d, of the usual length of a message", txn, index)
		for accepted := false; !accepted && time.Now().Before(until) && ctx.Err() == nil; {
			began := time.Now()
			said, err := s.say(ctx, c.roomID, text, txn)
			var pause time.Duration
			if accepted, pause = y.note(began, 1, err); accepted {
				c.mu.Lock()
				c.said = append(c.said, said)
				c.mu.Unlock()
				break
			}
			time.Sleep(min(pause, max(0, time.Until(until))))
		}
	}
}

// server sends one transaction after another.
func (c *crowd) server(ctx context.Context, index int, y *tally, until time.Time) {
	for time.Now().Before(until) && ctx.Err() == nil {
		if c.sent[index] == len(c.lanes[index]) {
			if err := c.sign(index, 1); err != nil {
				y.note(time.Now(), 0, err)
				return
			}
		}
		b := c.lanes[index][c.sent[index]]
		began := time.Now()
		accepted, pause := y.note(began, len(b.events), b.server.send(ctx, c.trial.target.name, b.call))
		if accepted {
			c.sent[index]++
			continue
		}
		time.Sleep(min(pause, max(0, time.Until(until))))
	}
}

// restAgain waits until the server is at rest after an overload that ended at a time: a bystander is answered at once,
// and no work is left.
func (t *trial) restAgain(ctx context.Context, c *crowd, began time.Time) error {
	for time.Since(began) < restTimeout && ctx.Err() == nil {
		w, call := t.window(), time.Now()
		_, err := c.sessions[0].call(ctx, "GET", roomPath(c.roomID, "state/m.room.name"), nil)
		answered := time.Since(call)
		time.Sleep(250 * time.Millisecond)
		busy := (cpuTime(t.target.process) - w.server).Seconds() / time.Since(w.began).Seconds()
		if err == nil && answered < 100*time.Millisecond && busy < atRest {
			t.seconds("at rest again after", w.began.Sub(began), 0, "")
			return nil
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("the server is not at rest %s after the overload", restTimeout)
}

// check looks whether what was accepted is there.
func (c *crowd) check(ctx context.Context) error {
	history, err := c.sessions[0].history(ctx, c.roomID, nil)
	if err != nil {
		return err
	}
	times := map[string]int{}
	texts := map[string]string{}
	for _, e := range history {
		times[e.ID]++
		texts[e.ID] = e.Body()
	}
	for _, s := range c.said {
		if n := times[string(s.id)]; n != 1 {
			return fmt.Errorf("%s was accepted, and is in the history %d times", s.id, n)
		}
		if texts[string(s.id)] != s.text {
			return fmt.Errorf("%s is not what was sent", s.id)
		}
	}
	// Every room's newest event that was accepted is there, and some rooms are read as a whole.
	for i, r := range c.rooms {
		chain := c.events[i][:c.sent[i]*overloadPDUs]
		if len(chain) == 0 {
			continue
		}
		if err := c.sessions[0].visible(ctx, string(r.id), chain[len(chain)-1].ID()); err != nil {
			return err
		}
		if i%10 == 0 {
			if err := c.sessions[0].hasAll(ctx, r, chain); err != nil {
				return err
			}
		}
	}
	return nil
}

// hasAll is hasChain for a room in which the transaction after the last accepted one may have arrived too: nobody
// waited for its answer.
func (s *session) hasAll(ctx context.Context, r *room, chain []*event.Event) error {
	history, err := s.history(ctx, string(r.id), nil)
	if err != nil {
		return err
	}
	there := map[id.EventID]int{}
	var order []id.EventID
	for _, e := range history {
		there[id.EventID(e.ID)]++
		order = append(order, id.EventID(e.ID))
	}
	at := -1
	for _, e := range chain {
		place := slices.Index(order, e.ID())
		if there[e.ID()] != 1 || place < at {
			return fmt.Errorf("%s was accepted, and is in the history of %s %d times, or out of order", e.ID(), r.id, there[e.ID()])
		}
		at = place
	}
	return nil
}
