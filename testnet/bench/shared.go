package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"hanse/federation/id"
)

// shared measures what other servers cost a client that says something: in a room that they are in, and in one with the same members that
// all of them have left, in turns and at a rate at which the machine is not busy.
func shared(ctx context.Context, t *trial) error {
	servers, err := t.firstServers(t.Destinations)
	if err != nil {
		return err
	}
	if _, err := t.boot(ctx); err != nil {
		return err
	}
	sessions, err := t.target.newSessions(ctx, "user", 1)
	if err != nil {
		return err
	}
	alone, err := t.deserted(ctx, servers, sessions)
	if err != nil {
		return err
	}
	many, err := t.crowd(ctx, servers, sessions)
	if err != nil {
		return err
	}
	if _, _, err := t.inTurns(ctx, sessions[0], alone, many, servers, 1); err != nil { // so that connections are open
		return err
	}
	if err := t.quiet(ctx); err != nil {
		return err
	}
	inAlone, inMany, err := t.inTurns(ctx, sessions[0], alone, many, servers, t.scaled(12, 2))
	if err != nil {
		return err
	}
	many50, _, _ := spread(latencies(inMany.said))
	alone50, _, _ := spread(latencies(inAlone.said))
	t.seconds(fmt.Sprintf("a send in a room with %d other servers, median", len(servers)), many50, alone50, "a send in a room that they have left, in turns")
	if usageKnown {
		each := inAlone.used / time.Duration(len(inAlone.said))
		t.seconds("CPU time of the server a send without them", each, 0, "")
		delivery := (inMany.used/time.Duration(len(inMany.said)) - each) / time.Duration(len(servers))
		t.seconds("CPU time of the server for each other one that a send goes to", max(0, delivery), 0, "")
		t.amount("CPU of all, meanwhile", "cores", inMany.cores())
	}
	if usageKnown {
		_, peak := t.target.process.Memory()
		t.amount("peak memory", "MB", megabytes(peak))
	}
	deliveries, _, wrong := t.inbox.judge(t.target.name, t.target.keys, servers, inMany.said)
	t.rate("deliveries of one event, median", "deliveries", median(rates(deliveries, inMany.said)), 0, "")
	return wrong
}

// rates are of each event how many servers a second got it, from the send to the last of them.
func rates(deliveries []delivery, said []sent) []float64 {
	count, last := map[id.EventID]int{}, map[id.EventID]time.Time{}
	for _, d := range deliveries {
		count[d.event]++
		last[d.event] = later(last[d.event], d.at)
	}
	perSecond := make([]float64, 0, len(said))
	for _, s := range said {
		if count[s.id] > 0 {
			perSecond = append(perSecond, float64(count[s.id])/last[s.id].Sub(s.at).Seconds())
		}
	}
	return perSecond
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func median(of []float64) float64 {
	slices.Sort(of)
	if len(of) == 0 {
		return 0
	}
	return of[len(of)/2]
}

// turns is what was said in a room, and what that cost the server.
type turns struct {
	room          string
	servers       []*server
	said          []sent
	used, machine time.Duration
	took          time.Duration
}

func (r *turns) cores() float64 { return r.machine.Seconds() / max(r.took.Seconds(), 0.001) }

// sendsATurn is how many messages are said in one room before it is the other's turn.
const sendsATurn = 5

// sharedPause is how long a client waits between two sends: long enough for all servers to be sent the first one.
func sharedPause(servers int) time.Duration {
	return 20*time.Millisecond + time.Duration(servers)*500*time.Microsecond
}

// inTurns has a client say some messages in a room where nobody else is, then in one with many servers, and so on.
func (t *trial) inTurns(ctx context.Context, s *session, alone, many *room, servers []*server, count int) (inAlone, inMany *turns, err error) {
	inAlone, inMany = &turns{room: string(alone.id)}, &turns{room: string(many.id), servers: servers}
	for range count {
		for _, one := range []*turns{inAlone, inMany} {
			if err := t.turn(ctx, s, one, sharedPause(len(servers))); err != nil {
				return nil, nil, err
			}
		}
	}
	return inAlone, inMany, nil
}

// turn has a client say some messages in a room, one after the other, and waits until they have arrived.
func (t *trial) turn(ctx context.Context, s *session, r *turns, pause time.Duration) error {
	w := t.window()
	for range sendsATurn {
		said, err := s.say(ctx, r.room, t.words(len(r.said)), 0)
		if err != nil {
			return err
		}
		r.said = append(r.said, said)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if len(r.servers) > 0 {
		t.arrived(ctx, r.servers, len(r.said))
	}
	now := t.window()
	r.used += now.server - w.server
	r.machine += now.machine - w.machine
	r.took += now.began.Sub(w.began)
	return nil
}
