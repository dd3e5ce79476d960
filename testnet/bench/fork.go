package bench

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/federation/stateres"
	"hanse/testnet/wholestate"
)

// forkServers is how many servers the branches come from.
const forkServers = 4

// limb is a branch: a change of the topic that every other branch changes too, a member who changes their name, and a
// message.
type limb struct {
	signer *server
	events []*event.Event
	state  roomstate.Map // after it
}

// fork measures what the server makes of a room that many changed at once: every branch is on top of the same event.
func fork(ctx context.Context, t *trial) error {
	servers, err := t.firstServers(forkServers)
	if err != nil {
		return err
	}
	r, err := newRoom(servers[0], "fork")
	if err != nil {
		return err
	}
	if err := populate(r, servers, max(t.Branches, forkServers), t.rand); err != nil {
		return err
	}
	t.world.add(r)
	if _, err := t.boot(ctx); err != nil {
		return err
	}
	s, err := t.target.newSession(ctx, "onlooker")
	if err != nil {
		return err
	}
	if err := s.joinRoom(ctx, r); err != nil {
		return err
	}
	limbs, err := t.limbs(r, servers)
	if err != nil {
		return err
	}
	expected, err := resolved(r, limbs)
	if err != nil {
		return err
	}
	w := t.window()
	if err := t.grow(ctx, limbs); err != nil {
		return err
	}
	for _, l := range limbs {
		if err := s.visible(ctx, string(r.id), l.events[len(l.events)-1].ID()); err != nil {
			return err
		}
	}
	if err := t.agrees(ctx, s, r, expected); err != nil {
		return err
	}
	ended := time.Now()
	t.seconds(fmt.Sprintf("%d branches, resolved", len(limbs)), ended.Sub(w.began), 0, "")
	t.spent("fork", w, ended)
	began := time.Now()
	if _, err := s.say(ctx, string(r.id), "All of you at once?", 0); err != nil {
		return err
	}
	t.seconds("the first send on top of all branches", time.Since(began), 0, "")
	return t.agrees(ctx, s, r, expected)
}

func (t *trial) limbs(r *room, servers []*server) ([]limb, error) {
	base, _ := r.end()
	limbs := make([]limb, t.Branches)
	for i := range limbs {
		signer := servers[i%len(servers)]
		author := signer.user("member" + strconv.Itoa(i))
		on := base
		for _, d := range []event.Draft{
			stateDraft(author, "m.room.topic", "", map[string]any{"topic": t.words(i)}),
			stateDraft(author, "m.room.member", string(author), map[string]any{"membership": "join", "displayname": fmt.Sprintf("Member %d, renamed", i)}),
			messageDraft(author, t.words(i)),
		} {
			e, err := r.branch(signer, d, on)
			if err != nil {
				return nil, err
			}
			limbs[i].events, on = append(limbs[i].events, e), e
		}
		limbs[i].signer = signer
		r.mu.Lock()
		limbs[i].state = r.after[on.ID()]
		r.mu.Unlock()
	}
	t.rand.Shuffle(len(limbs), func(i, j int) { limbs[i], limbs[j] = limbs[j], limbs[i] })
	return limbs, nil
}

// resolved is the state of the room by the algorithm of its version.
func resolved(r *room, limbs []limb) (roomstate.Map, error) {
	states := make([]roomstate.Map, len(limbs))
	for i, l := range limbs {
		states[i] = l.state
	}
	return stateres.Resolve(r.rules, states, r)
}

// grow sends the branches, a transaction each, all servers at once.
func (t *trial) grow(ctx context.Context, limbs []limb) error {
	batches := map[*server][]batch{}
	for i, l := range limbs {
		b, err := newBatch(l.signer, t.target.name, "branch"+strconv.Itoa(i), l.events)
		if err != nil {
			return err
		}
		batches[l.signer] = append(batches[l.signer], b)
	}
	var lanes [][]batch
	for _, lane := range batches {
		lanes = append(lanes, lane)
	}
	return parallel(len(lanes), len(lanes), func(i int) error {
		for _, b := range lanes[i] {
			if err := b.server.send(ctx, t.target.name, b.call); err != nil {
				return err
			}
		}
		return nil
	})
}

// agrees waits until the server's state is the resolved one; where it isn't after a while, it says in what.
func (t *trial) agrees(ctx context.Context, s *session, r *room, expected roomstate.Map) error {
	deadline := time.Now().Add(settleTimeout / 3)
	for {
		err := sameTopicAndNames(ctx, s, r, expected)
		if err == nil || ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func sameTopicAndNames(ctx context.Context, s *session, r *room, expected roomstate.Map) error {
	topic, _ := wholestate.Get(expected, "m.room.topic", "")
	raw, err := s.call(ctx, http.MethodGet, roomPath(string(r.id), "state/m.room.topic"), nil)
	if err != nil {
		return err
	}
	if want := r.event(topic); !sameJSON(raw, want.Content()) {
		return fmt.Errorf("the topic is %.100s, and by the algorithm it is %.100s of %s", raw, want.Content(), want.Sender())
	}
	for stateKey, eventID := range wholestate.ByType(expected, "m.room.member") {
		e := r.event(eventID)
		if id.UserID(stateKey).Server() == s.id.Server() {
			continue
		}
		raw, err := s.call(ctx, http.MethodGet, roomPath(string(r.id), "state/m.room.member/"+url.PathEscape(stateKey)), nil)
		if err != nil {
			return err
		}
		if !sameJSON(raw, e.Content()) {
			return fmt.Errorf("%s is %.100s, and by the algorithm %.100s", stateKey, raw, e.Content())
		}
	}
	return nil
}
