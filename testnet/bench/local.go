package bench

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"hanse/federation/event"
	"hanse/testnet/user"
)

// atOnce is how many clients send at a time.
const atOnce = 64

// local measures sends of clients, each of which is answered when the event is on disk.
func local(ctx context.Context, t *trial) error {
	count := t.scaled(20_000, 500)
	floor, err := t.localFloor(ctx)
	if err != nil {
		return err
	}
	if _, err := t.boot(ctx); err != nil {
		return err
	}
	sessions, roomID, err := t.roomful(ctx, 8)
	if err != nil {
		return err
	}
	w := t.window()
	said, err := t.talk(ctx, sessions, roomID, atOnce, count, t.patience(), nil)
	ended := time.Now()
	if err != nil {
		return err
	}
	used := t.spentFigures("sends", w, ended)
	each := (cpuTime(t.target.process) - w.server) / time.Duration(len(slices.Concat(said...)))
	all := slices.Concat(said...)
	p50, p99, _ := spread(latencies(all))
	t.rate("sends of 64 clients at once", "events", float64(len(all))/ended.Sub(w.began).Seconds(), floor.rate, "rows committed by the database alone, 64 at a time")
	t.seconds("a send, median", p50, 0, "")
	t.seconds("a send, 99 % within", p99, 0, "")
	if usageKnown {
		t.seconds("CPU time of the server a send", each, floor.cpu, "CPU time of a row")
	}
	t.add(used)
	if err := t.again(ctx); err != nil {
		return err
	}
	if err := t.remembers(ctx, sessions[0], roomID, all); err != nil {
		return err
	}
	history, err := sessions[0].history(ctx, roomID, nil)
	if err != nil {
		return err
	}
	return inOrder(history, said)
}

// localFloor commits events of the same size.
func (t *trial) localFloor(ctx context.Context) (pace, error) {
	events, _, err := t.chain("floor", t.scaled(6000, 500))
	if err != nil {
		return pace{}, err
	}
	return t.floors.commit(ctx, events, atOnce)
}

// chain is a room of a server's with messages, for the floors.
func (t *trial) chain(name string, n int) ([]*event.Event, *room, error) {
	s, err := t.server(0)
	if err != nil {
		return nil, nil, err
	}
	r, err := newRoom(s, name)
	if err != nil {
		return nil, nil, err
	}
	events, err := r.talk(s, n, t.words)
	return events, r, err
}

func (t *trial) words(n int) string { return words(t.rand, strconv.Itoa(n)) }

// talk makes messages of the room's creator, each on top of the one before.
func (r *room) talk(s *server, n int, text func(n int) string) ([]*event.Event, error) {
	events := make([]*event.Event, n)
	for i := range events {
		var err error
		if events[i], err = r.put(s, messageDraft(s.user("creator"), text(i))); err != nil {
			return nil, err
		}
	}
	return events, nil
}

// roomful is users of the server in one room.
func (t *trial) roomful(ctx context.Context, n int) ([]*session, string, error) {
	sessions, err := t.target.newSessions(ctx, "user", n)
	if err != nil {
		return nil, "", err
	}
	roomID, err := t.makeRoom(ctx, sessions[0])
	if err != nil {
		return nil, "", err
	}
	for _, s := range sessions[1:] {
		if _, err := s.user.Join(ctx, roomID); err != nil {
			return nil, "", err
		}
	}
	return sessions, roomID, nil
}

// inOrder checks that what one client sent after another's answer stands after it in the history.
func inOrder(history []user.Event, said [][]sent) error {
	place := map[string]int{}
	for i, e := range history {
		place[e.ID] = i
	}
	for _, messages := range said {
		for i := 1; i < len(messages); i++ {
			if place[string(messages[i].id)] < place[string(messages[i-1].id)] {
				return fmt.Errorf("the history has %s before %s, which was acknowledged before it was sent", messages[i].id, messages[i-1].id)
			}
		}
	}
	return nil
}
