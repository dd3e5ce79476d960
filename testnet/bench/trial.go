package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"time"
)

// Figure is something that was measured.
type Figure struct {
	Scenario string  `json:"scenario"`
	Name     string  `json:"name"`
	Value    float64 `json:"value"`
	Unit     string  `json:"unit"`
	// More tells that more is better.
	More bool `json:"more_is_better"`
	// Floor is the same figure of the machine alone, measured just before; 0 if there is none. FloorOf says of what.
	Floor   float64 `json:"floor,omitempty"`
	FloorOf string  `json:"floor_of,omitempty"`
	// Void says why the figure doesn't count; "" if it does.
	Void string `json:"void,omitempty"`
	// Order says where events were shown in another order than they stand in, though all and whole; "" if they weren't.
	Order string `json:"order,omitempty"`
}

// trial is one scenario on one server.
type trial struct {
	*bench
	scenario string
	target   *target
	inbox    *inbox
	rand     *rand.Rand
	figures  []Figure
}

// trial runs a scenario on a server that starts with nothing.
func (b *bench) trial(ctx context.Context, scenario Scenario, c candidate) []Figure {
	if ctx.Err() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, scenarioTimeout)
	defer cancel()
	b.say("%s: %s", c.name, scenario.Name)
	t := &trial{bench: b, scenario: scenario.Name, inbox: b.world.reset(), rand: b.random(scenario.Name)}
	for _, s := range b.servers {
		s.client.CloseIdleConnections() // they lead to the last server under test
	}
	orders, name := b.orders(c.name + "-" + scenario.Name)
	err := os.RemoveAll(orders.DataDir)
	if err == nil {
		t.target, err = newTarget(c, name, orders)
	}
	if err == nil {
		err = scenario.run(ctx, t)
		t.target.kill()
	}
	if err != nil {
		t.void(0, scenario.Name, err)
	}
	if b.Dir == "" {
		_ = os.RemoveAll(orders.DataDir) // all of it goes at the end anyway
	}
	return t.figures
}

// boot starts the server.
func (t *trial) boot(ctx context.Context) (time.Duration, error) {
	s, err := t.server(0)
	if err != nil {
		return 0, err
	}
	took, err := t.target.start(ctx)
	if err != nil {
		return 0, err
	}
	return took, t.target.fetchKeys(ctx, s)
}

// again kills the server (kill -9) and starts it: what it acknowledged must be there.
func (t *trial) again(ctx context.Context) error {
	t.target.kill()
	for _, s := range t.servers {
		s.client.CloseIdleConnections()
	}
	_, err := t.target.start(ctx)
	return err
}

// part is a part of a scenario: what is wrong in it makes its own figures void, but for another order, and the next part
// goes on.
func (t *trial) part(name string, run func() error) {
	first := len(t.figures)
	err := run()
	if order := anotherOrder(""); errors.As(err, &order) {
		t.say("%s: %s: out of order: %v", t.target.label(), name, err)
		for i := range t.figures[first:] {
			t.figures[first+i].Order = err.Error()
		}
	} else if err != nil {
		t.void(first, name, err)
	}
}

func (t *trial) void(first int, name string, err error) {
	t.say("%s: %s: void: %v", t.target.label(), name, err)
	if len(t.figures) == first {
		t.figures = append(t.figures, Figure{Scenario: t.scenario, Name: name})
	}
	for i := first; i < len(t.figures); i++ {
		t.figures[i].Void = err.Error()
	}
}

func (t *target) label() string {
	if t == nil {
		return "?"
	}
	return t.candidate.name
}

// figure notes something measured.
func (t *trial) figure(f Figure) {
	f.Scenario = t.scenario
	t.figures = append(t.figures, f)
	t.say("%s: %s: %s", t.target.label(), f.Name, f.text())
}

// add notes several.
func (t *trial) add(figures []Figure) {
	for _, f := range figures {
		t.figure(f)
	}
}

// rate, seconds and amount are the usual figures.
func (t *trial) rate(name, unit string, value, floor float64, floorOf string) {
	t.figure(Figure{Name: name, Value: value, Unit: unit + "/s", More: true, Floor: floor, FloorOf: floorOf})
}

func (t *trial) seconds(name string, value time.Duration, floor time.Duration, floorOf string) {
	t.figure(Figure{Name: name, Value: value.Seconds(), Unit: "s", Floor: floor.Seconds(), FloorOf: floorOf})
}

func (t *trial) amount(name, unit string, value float64) {
	t.figure(Figure{Name: name, Value: value, Unit: unit})
}

// window is a stretch of time in which CPU is counted.
type window struct {
	began                  time.Time
	server, bench, machine time.Duration
}

func (t *trial) window() window {
	return window{time.Now(), cpuTime(t.target.process), ownTime(), machineTime()}
}

// spent notes how many cores the server and the bench used in a window: where both together have the machine, the
// bench is part of what is measured; and what others use meanwhile, both lack.
func (t *trial) spent(name string, w window, ended time.Time) {
	t.add(t.spentFigures(name, w, ended))
}

func (t *trial) spentFigures(name string, w window, ended time.Time) []Figure {
	if !usageKnown {
		return nil
	}
	wall, now := max(ended.Sub(w.began).Seconds(), 0.001), t.window()
	ours := now.server - w.server + now.bench - w.bench
	return []Figure{
		{Name: name + ": CPU of others", Unit: "cores", Value: max(0, (now.machine-w.machine-ours).Seconds()/wall)},
		{Name: name + ": CPU of the server", Unit: "cores", Value: (now.server - w.server).Seconds() / wall},
		{Name: name + ": CPU of the bench", Unit: "cores", Value: (now.bench - w.bench).Seconds() / wall},
	}
}

// joinRoom lets a user of the server join a room of the bench.
func (s *session) joinRoom(ctx context.Context, r *room) error {
	query := url.Values{"via": {string(r.owner.name)}, "server_name": {string(r.owner.name)}}
	_, err := s.call(ctx, http.MethodPost, "/_matrix/client/v3/join/"+url.PathEscape(string(r.id))+"?"+query.Encode(), []byte("{}"))
	if err != nil {
		return fmt.Errorf("join %s: %w", r.id, err)
	}
	return nil
}

// acquaint lets a user join a small room with a member from each of the servers, so that the server knows their keys and
// has connections to them: what follows measures rooms, not strangers.
func (t *trial) acquaint(ctx context.Context, s *session, servers []*server) error {
	r, err := newRoom(servers[0], "acquaintance")
	if err != nil {
		return err
	}
	if err := populate(r, servers, len(servers), t.rand); err != nil {
		return err
	}
	t.world.add(r)
	return s.joinRoom(ctx, r)
}

// populate lets n users of the servers join a room, in turn.
func populate(r *room, servers []*server, n int, random *rand.Rand) error {
	for i := range n {
		signer := servers[i%len(servers)]
		user := signer.user("member" + strconv.Itoa(i))
		content := map[string]any{"membership": "join", "displayname": "Member " + strconv.Itoa(i)}
		if random.IntN(3) > 0 {
			content["avatar_url"] = fmt.Sprintf("mxc://%s/%016x%08x", signer.name, random.Uint64(), random.Uint32())
		}
		if _, err := r.put(signer, stateDraft(user, "m.room.member", string(user), content)); err != nil {
			return err
		}
	}
	return nil
}

// makeRoom lets a user make a public room.
func (t *trial) makeRoom(ctx context.Context, s *session) (string, error) {
	return s.user.CreateRoom(ctx, map[string]any{"preset": "public_chat", "room_version": string(roomVersion), "name": "The bench's room"})
}

// bring lets a server of the bench come into a room by way of the server under test.
func (t *trial) bring(ctx context.Context, s *server, roomID string) (*room, error) {
	user := s.user("visitor")
	joined, err := t.handIn(ctx, s, roomID, user, 0)
	if err != nil {
		return nil, err
	}
	r := adopt(s, joined.join, joined.state, joined.authChain)
	t.world.add(r)
	return r, nil
}

// quiet waits until nothing more comes, and begins a new inbox.
func (t *trial) quiet(ctx context.Context) error {
	for last, since := -1, time.Now(); time.Since(since) < 500*time.Millisecond; {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if now := len(t.inbox.all()); now != last {
			last, since = now, time.Now()
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.inbox = newInbox()
	t.world.mu.Lock()
	defer t.world.mu.Unlock()
	t.world.inbox = t.inbox
	return nil
}

// arrived waits until every server has got n events, or too much time passes: judging tells what is missing.
func (t *trial) arrived(ctx context.Context, servers []*server, n int) {
	deadline := time.Now().Add(settleTimeout)
	for last := -1; t.inbox.fewest(servers) < n && ctx.Err() == nil && time.Now().Before(deadline); {
		if now := t.inbox.fewest(servers); now != last {
			last, deadline = now, time.Now().Add(settleTimeout/3)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// talk lets workers of the sessions send messages, one after the other each, until count are sent or patience ends.
// A nil gate doesn't hold them back.
func (t *trial) talk(ctx context.Context, sessions []*session, roomID string, workers, count int, patience time.Duration, gate func() bool) ([][]sent, error) {
	texts := make([]string, count)
	for i := range texts {
		texts[i] = words(t.rand, strconv.Itoa(i))
	}
	said := make([][]sent, workers)
	deadline := time.Now().Add(patience)
	next := make(chan string, count)
	for _, text := range texts {
		next <- text
	}
	close(next)
	err := parallel(workers, workers, func(w int) error {
		for text := range next {
			if gate != nil && !gate() || time.Now().After(deadline) {
				return nil
			}
			s, err := sessions[w%len(sessions)].say(ctx, roomID, text, 0)
			if err != nil {
				return fmt.Errorf("a send failed: %w", err)
			}
			said[w] = append(said[w], s)
		}
		return nil
	})
	if err == nil && len(slices.Concat(said...)) == 0 {
		err = errors.New("nothing was sent")
	}
	return said, err
}

// spread is quantiles of durations.
func spread(durations []time.Duration) (p50, p99, most time.Duration) {
	if len(durations) == 0 {
		return 0, 0, 0
	}
	slices.Sort(durations)
	at := func(q float64) time.Duration { return durations[int(q*float64(len(durations)-1))] }
	return at(0.5), at(0.99), at(1)
}

func latencies(said []sent) []time.Duration {
	took := make([]time.Duration, len(said))
	for i, s := range said {
		took[i] = s.ack.Sub(s.at)
	}
	return took
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func megabytes(n int64) float64 { return float64(n) / 1e6 }
