package bench

import (
	"context"
	"fmt"
	"time"
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
	sessions, alone, err := t.roomful(ctx, 1)
	if err != nil {
		return err
	}
	for _, s := range servers {
		visitor := s.user("visitor")
		if _, err := t.handIn(ctx, s, alone, visitor, 0); err != nil {
			return err
		}
		if err := t.handOut(ctx, s, alone, visitor); err != nil {
			return err
		}
	}
	many, err := t.makeRoom(ctx, sessions[0])
	if err != nil {
		return err
	}
	if err := t.bringAll(ctx, servers, many); err != nil {
		return err
	}
	inMany, inAlone := &turns{room: many, servers: servers}, &turns{room: alone}
	for range t.scaled(12, 2) {
		for _, one := range []*turns{inAlone, inMany} {
			if err := t.turn(ctx, sessions[0], one, sharedPause(len(servers))); err != nil {
				return err
			}
		}
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
	_, _, wrong := t.inbox.judge(t.target.name, t.target.keys, servers, inMany.said)
	return wrong
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
