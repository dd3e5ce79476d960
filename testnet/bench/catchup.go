package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/testnet/user"
)

const (
	// outage is how long a peer is away.
	outage = 20 * time.Second
	// noMorePushed is how long a peer that is back waits for more before it asks for what is missing.
	noMorePushed = 500 * time.Millisecond
)

// catchUp measures what becomes of events that a peer missed, and of those that the server missed.
func catchUp(ctx context.Context, t *trial) error {
	if _, err := t.boot(ctx); err != nil {
		return err
	}
	t.part("a peer that was away", func() error { return t.peerAway(ctx) })
	t.part("the server missed events", func() error { return t.serverMissed(ctx) })
	return nil
}

// peerAway lets a peer vanish while people talk. Back again it says something, takes what it is sent, and asks for the
// events between, as homeservers do.
func (t *trial) peerAway(ctx context.Context) error {
	servers, err := t.firstServers(2)
	if err != nil {
		return err
	}
	sessions, roomID, err := t.roomful(ctx, 2)
	if err != nil {
		return err
	}
	away := servers[1]
	if _, err := t.bring(ctx, servers[0], roomID); err != nil {
		return err
	}
	r, err := t.bring(ctx, away, roomID)
	if err != nil {
		return err
	}
	if err := t.quiet(ctx); err != nil {
		return err
	}
	duration, missed := outage, t.missed()
	if t.Quick {
		duration = outage / 10
	}
	away.down()
	said, err := t.steady(ctx, sessions, roomID, max(1, int(float64(missed)/duration.Seconds())), missed)
	if err != nil {
		return err
	}
	if err := away.up(); err != nil {
		return err
	}
	back := time.Now()
	hello, err := r.put(away, messageDraft(away.user("visitor"), "I am back"))
	if err != nil {
		return err
	}
	b, err := newBatch(away, t.target.name, "back", []*event.Event{hello})
	if err != nil {
		return err
	}
	if err := away.send(ctx, t.target.name, b.call); err != nil {
		return err
	}
	pushed, err := t.fill(ctx, away, r, said)
	if err != nil {
		return err
	}
	t.seconds(fmt.Sprintf("a peer was away: all %d events there after", missed), time.Since(back), 0, "")
	t.figure(Figure{Name: "a peer was away: events sent without being asked for", Value: float64(pushed), Unit: "events", More: true})
	_, _, err = t.inbox.judge(t.target.name, t.target.keys, servers[:1], said)
	return err
}

// fill collects what comes to the server that was away, and asks for what is missing between once no more comes. It
// tells how many came by themselves.
func (t *trial) fill(ctx context.Context, away *server, r *room, said []sent) (pushed int, err error) {
	c := collector{trial: t, wanted: map[id.EventID]sent{}, known: map[id.EventID]*event.Event{}, read: map[string]bool{}}
	for _, s := range said {
		c.wanted[s.id] = s
	}
	deadline, last := time.Now().Add(settleTimeout), time.Now()
	for len(c.wanted) > 0 {
		if err := ctx.Err(); err != nil {
			return pushed, err
		}
		if time.Now().After(deadline) {
			return pushed, fmt.Errorf("%d of %d events are missing %s after the peer is back", len(c.wanted), len(said), settleTimeout)
		}
		n, err := c.arrivals(away)
		if err != nil {
			return pushed, err
		}
		if pushed += n; n > 0 {
			last = time.Now()
		}
		if len(c.known) > 0 && time.Since(last) > noMorePushed {
			if err := c.ask(ctx, away, r.id); err != nil {
				return pushed, err
			}
			last = time.Now() // more may be there, or come
		}
		time.Sleep(10 * time.Millisecond)
	}
	return pushed, nil
}

// collector is what a peer knows of the events it missed.
type collector struct {
	*trial
	wanted map[id.EventID]sent // not yet there
	known  map[id.EventID]*event.Event
	read   map[string]bool // transactions
}

func (c *collector) arrivals(away *server) (n int, err error) {
	for _, a := range c.inbox.all() {
		if a.server != away.index || c.read[a.txn] {
			continue
		}
		c.read[a.txn] = true
		var body struct {
			PDUs []json.RawMessage `json:"pdus"`
		}
		if err := json.Unmarshal(a.body, &body); err != nil {
			return n, err
		}
		before := len(c.wanted)
		if err := c.take(body.PDUs); err != nil {
			return n, err
		}
		n += before - len(c.wanted)
	}
	return n, nil
}

func (c *collector) take(raws []json.RawMessage) error {
	for _, raw := range raws {
		e, err := checkedEvent(raw, c.target.name, c.target.keys)
		if err != nil {
			return err
		}
		c.known[e.ID()] = e
		if want, ok := c.wanted[e.ID()]; ok {
			if textOf(e.Content()) != want.text || e.Sender() != want.user {
				return fmt.Errorf("%s is not what was sent", e.ID())
			}
			delete(c.wanted, e.ID())
		}
	}
	return nil
}

// ask backfills from the events whose prev events are missing, until there is nothing new.
func (c *collector) ask(ctx context.Context, away *server, roomID id.RoomID) error {
	for len(c.wanted) > 0 {
		query := url.Values{"limit": {strconv.Itoa(missedPerAnswer)}}
		for _, e := range c.known {
			for _, prev := range e.PrevEvents() {
				if _, missing := c.wanted[prev]; missing && len(query["v"]) < 10 {
					query.Add("v", string(prev))
				}
			}
		}
		if len(query["v"]) == 0 {
			return nil
		}
		var answer struct {
			PDUs []json.RawMessage `json:"pdus"`
		}
		if err := away.ask(ctx, c.target.name, http.MethodGet, "/_matrix/federation/v1/backfill/"+url.PathEscape(string(roomID))+"?"+query.Encode(), nil, &answer); err != nil {
			return err
		}
		before := len(c.wanted)
		if err := c.take(answer.PDUs); err != nil {
			return err
		}
		if len(c.wanted) == before {
			return nil
		}
	}
	return nil
}

// serverMissed lets the server learn of an event that is on top of many that it never got.
func (t *trial) serverMissed(ctx context.Context) error {
	s, err := t.server(0)
	if err != nil {
		return err
	}
	r, err := newRoom(s, "gap")
	if err != nil {
		return err
	}
	t.world.add(r)
	reader, err := t.target.newSession(ctx, "reader")
	if err != nil {
		return err
	}
	if err := reader.joinRoom(ctx, r); err != nil {
		return err
	}
	missed := t.missed()
	chain, err := r.talk(s, missed+1, t.words)
	if err != nil {
		return err
	}
	b, err := newBatch(s, t.target.name, "gap", chain[missed:])
	if err != nil {
		return err
	}
	began := time.Now()
	if err := s.send(ctx, t.target.name, b.call); err != nil {
		return err
	}
	if err := reader.visible(ctx, string(r.id), chain[missed].ID()); err != nil {
		return err
	}
	t.seconds("the server missed events: the newest is there after", time.Since(began), 0, "")
	readable, err := t.pageBack(ctx, reader, r, chain)
	t.seconds(fmt.Sprintf("the server missed events: all %d can be read after", missed), time.Since(began), 0, "")
	t.rate("the server missed events: fetched", "events", float64(readable)/time.Since(began).Seconds(), 0, "")
	t.figure(Figure{Name: "the server missed events: can be read", Value: float64(readable), Unit: "events", More: true})
	return err
}

// missed is how many events are missed.
func (t *trial) missed() int {
	if t.tiny {
		return 50
	}
	return t.Missed
}

// pageBack reads back, as a client does, until all is there; a server may fetch what it lacks meanwhile.
func (t *trial) pageBack(ctx context.Context, reader *session, r *room, chain []*event.Event) (readable int, err error) {
	deadline := time.Now().Add(settleTimeout / 3)
	for {
		err = reader.hasChain(ctx, r, chain)
		if err == nil {
			return len(chain) - 1, nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return reader.count(ctx, r, chain), err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// count is how many events of a chain, but for its last, are in the history.
func (s *session) count(ctx context.Context, r *room, chain []*event.Event) int {
	history, err := s.history(ctx, string(r.id), nil)
	if err != nil {
		return 0
	}
	return countOf(history, chain[:len(chain)-1])
}

func countOf(history []user.Event, events []*event.Event) int {
	there := map[string]bool{}
	for _, e := range history {
		there[e.ID] = true
	}
	n := 0
	for _, e := range events {
		if there[string(e.ID())] {
			n++
		}
	}
	return n
}
