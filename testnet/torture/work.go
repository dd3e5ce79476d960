package torture

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"

	"hanse/testnet/user"
)

// work is what the users do in a generation, and what they were told.
type work struct {
	campaign *campaign
	shared   string // the room of both servers
	own      string // a room of the victim's alone
	talkers  []*talker

	outage atomic.Bool // the victim's database server crashes: the victim may refuse

	mu     sync.Mutex
	data   int      // guarded by mu: the newest account data acknowledged
	topic  int      // guarded by mu: the newest topic acknowledged
	joined []string // guarded by mu: rooms whose join by the victim's user was acknowledged
	told   int      // guarded by mu
	next   int      // owned by the one who sets data and topics: over kills
	rooms  int      // owned by the one who joins rooms: over kills
}

// talker sends numbered messages to a room; a message that was cut off is sent again, as the same transaction.
type talker struct {
	name, room string
	at         *server
	sent       []string // event IDs, by number; those acknowledged
	cutOff     bool     // the next one was sent before
	retried    int
}

// newWork makes the rooms of a generation.
func (c *campaign) newWork(ctx context.Context) (*work, error) {
	g := &work{campaign: c, data: c.data, next: c.next}
	options := map[string]any{"preset": "public_chat"}
	var err error
	if g.shared, err = c.victim.user.CreateRoom(ctx, options); err != nil {
		return nil, err
	}
	if g.own, err = c.victim.user.CreateRoom(ctx, options); err != nil {
		return nil, err
	}
	if _, err = c.peer.user.Join(ctx, g.shared, c.victim.name); err != nil {
		return nil, err
	}
	prefix := fmt.Sprintf("g%d-", c.report.Generations)
	for _, t := range []*talker{
		{name: "a", room: g.shared, at: c.victim}, {name: "b", room: g.shared, at: c.victim}, {name: "c", room: g.own, at: c.victim},
		{name: "d", room: g.own, at: c.victim}, {name: "p", room: g.shared, at: c.peer}, {name: "q", room: g.shared, at: c.peer},
	} {
		t.name = prefix + t.name
		g.talkers = append(g.talkers, t)
	}
	return g, nil
}

// begin has everybody work until ctx ends or their server does; ended waits for them.
func (g *work) begin(ctx context.Context) (ended func() error) {
	var working sync.WaitGroup
	var mu sync.Mutex
	var failures []error
	spawn := func(f func(context.Context) error) {
		working.Go(func() {
			if err := f(ctx); err != nil && !(g.outage.Load() && temporary(err)) {
				mu.Lock()
				defer mu.Unlock()
				failures = append(failures, err)
			}
		})
	}
	for _, t := range g.talkers {
		spawn(t.talk)
	}
	told := 0
	for _, m := range g.campaign.mails {
		spawn(m.send)
		spawn(m.receive)
		told += m.sent
	}
	spawn(g.campaign.keys.upload)
	spawn(g.campaign.keys.claim(g.campaign.victim))
	spawn(g.campaign.keys.claim(g.campaign.peer))
	spawn(g.change)
	spawn(g.join)
	before := 0
	for _, t := range g.talkers {
		before += len(t.sent)
	}
	return func() error {
		working.Wait()
		c := g.campaign
		c.report.Acknowledged += g.told - before - told
		g.told, c.data, c.next = 0, g.data, g.next
		for _, t := range g.talkers {
			g.campaign.report.Acknowledged += len(t.sent)
			g.campaign.report.Retried += t.retried
			t.retried = 0
		}
		for _, m := range c.mails {
			c.report.Acknowledged += m.sent
			c.report.Retried += m.retried
			m.retried = 0
		}
		return errors.Join(failures...)
	}
}

// refused is an error if a server answered with one: the victim may only be gone, never say no.
func refused(err error) error {
	if refusal, ok := errors.AsType[*user.Error](err); ok && refusal.Status != http.StatusBadGateway {
		return refusal
	}
	return nil
}

// temporary tells a refusal for now from others.
func temporary(err error) bool {
	refusal, ok := errors.AsType[*user.Error](err)
	return ok && (refusal.Status >= 500 || refusal.Status == http.StatusTooManyRequests)
}

func (t *talker) talk(ctx context.Context) error {
	for end := len(t.sent) + spell; ctx.Err() == nil && len(t.sent) < end; {
		number := strconv.Itoa(len(t.sent))
		var answer struct {
			EventID string `json:"event_id"`
		}
		if t.cutOff {
			t.retried++
		}
		err := t.at.user.Call(ctx, http.MethodPut, roomPath(t.room)+"/send/m.room.message/"+t.name+"-"+number, nil,
			map[string]any{"msgtype": "m.text", "body": t.name + " " + number}, &answer)
		if t.cutOff = err != nil; t.cutOff {
			return refused(err)
		}
		t.sent = append(t.sent, answer.EventID)
		if len(t.sent)%receiptEvery == 0 { // receipts travel as EDUs
			path := roomPath(t.room) + "/receipt/m.read/" + url.PathEscape(answer.EventID)
			if err := t.at.user.Call(ctx, http.MethodPost, path, nil, map[string]any{}, nil); err != nil {
				return refused(err)
			}
		}
	}
	return nil
}

// receiptEvery is after how many messages a talker sends a receipt.
const receiptEvery = 5

// change sets account data and the topic to the next number.
func (g *work) change(ctx context.Context) error {
	u := g.campaign.victim.user
	for ctx.Err() == nil {
		g.next++
		path := "/_matrix/client/v3/user/" + url.PathEscape(u.ID) + "/account_data/torture"
		if err := u.Call(ctx, http.MethodPut, path, nil, map[string]any{"n": g.next}, nil); err != nil {
			return refused(err)
		}
		g.acknowledged(func() { g.data = g.next })
		if _, err := u.SetState(ctx, g.shared, "m.room.topic", "", map[string]any{"topic": strconv.Itoa(g.next)}); err != nil {
			return refused(err)
		}
		g.acknowledged(func() { g.topic = g.next })
	}
	return nil
}

// join has the victim's user join new rooms of the peer's, and the peer's user new rooms of the victim's.
func (g *work) join(ctx context.Context) error {
	victim, peer := g.campaign.victim, g.campaign.peer
	for ctx.Err() == nil {
		g.rooms++
		from, to := peer, victim
		if g.rooms%2 == 0 {
			from, to = to, from
		}
		room, err := from.user.CreateRoom(ctx, map[string]any{"preset": "public_chat"})
		if err == nil {
			_, err = to.user.Join(ctx, room, from.name)
		}
		if refusal, ok := errors.AsType[*user.Error](err); ok && to == peer {
			err = fmt.Errorf("not the victim's word: %s", refusal) // it went away while it was asked
		}
		if err != nil {
			return refused(err)
		}
		g.acknowledged(func() { g.joined = append(g.joined, room) })
	}
	return nil
}

func (g *work) acknowledged(note func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	note()
	g.told++
}

func roomPath(roomID string) string { return "/_matrix/client/v3/rooms/" + url.PathEscape(roomID) }
