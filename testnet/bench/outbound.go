package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"hanse/federation/id"
)

// steadyRate is how many sends a second the scenarios at a rate make: 1,000 deliveries/s to 20 servers, or to 50 clients
// at 20 sends/s.
const steadyRate = 50

// outbound measures how what clients say reaches the other servers of a room.
func outbound(ctx context.Context, t *trial) error {
	servers, err := t.firstServers(t.Destinations)
	if err != nil {
		return err
	}
	if _, err := t.boot(ctx); err != nil {
		return err
	}
	sessions, err := t.target.newSessions(ctx, "user", 8)
	if err != nil {
		return err
	}
	r, err := t.crowd(ctx, servers, sessions)
	if err != nil {
		return err
	}
	roomID := string(r.id)
	t.part("at a rate", func() error {
		w := t.window()
		said, err := t.steady(ctx, sessions, roomID, steadyRate, t.scaled(6*steadyRate, 20))
		if err != nil {
			return err
		}
		return t.delivered(ctx, fmt.Sprintf("at %d sends/s", steadyRate), servers, said, w, false)
	})
	if err := t.quiet(ctx); err != nil {
		return err
	}
	t.part("at full speed", func() error {
		w := t.window()
		said, err := t.talk(ctx, sessions, roomID, atOnce, t.scaled(10_000, 300), t.patience(), nil)
		if err != nil {
			return err
		}
		return t.delivered(ctx, "64 clients at once", servers, slices.Concat(said...), w, true)
	})
	return nil
}

// steady sends at a rate, whether the answers come or not.
func (t *trial) steady(ctx context.Context, sessions []*session, roomID string, perSecond, count int) ([]sent, error) {
	said := make([]sent, count)
	began := time.Now()
	err := parallel(count, count, func(i int) (err error) {
		text := fmt.Sprintf("steady %d of seed %d, a message of the usual length", i, t.Seed)
		select {
		case <-time.After(time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(perSecond)))):
		case <-ctx.Done():
			return ctx.Err()
		}
		said[i], err = sessions[i%len(sessions)].say(ctx, roomID, text, 0)
		return err
	})
	return said, err
}

// delivered waits for what was said, checks it and notes the figures.
func (t *trial) delivered(ctx context.Context, name string, servers []*server, said []sent, w window, fullSpeed bool) error {
	t.arrived(ctx, servers, len(said))
	used := t.spentFigures(name, w, time.Now())
	if err := t.quietly(ctx, servers, len(said)); err != nil {
		return err
	}
	deliveries, transactions, wrong := t.inbox.judge(t.target.name, t.target.keys, servers, said)
	d := describe(deliveries, said)
	if fullSpeed {
		t.rate(name+": deliveries", "events", float64(len(deliveries))/d.last.Sub(w.began).Seconds(), 0, "")
		t.seconds(name+": the last server behind the first", d.behind, 0, "")
	}
	t.seconds(name+": from send to arrival, median", d.p50, 0, "")
	t.seconds(name+": from send to arrival, 99 % within", d.p99, 0, "")
	if transactions > 0 {
		t.amount(name+": events in a transaction", "events", float64(len(deliveries))/float64(transactions))
	}
	t.add(used)
	return wrong
}

// quietly waits a moment for what comes too much.
func (t *trial) quietly(ctx context.Context, servers []*server, n int) error {
	if t.inbox.fewest(servers) < n {
		return nil // judging tells what is missing
	}
	select {
	case <-time.After(100 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// description is what deliveries were like.
type description struct {
	p50, p99 time.Duration // from the send to the arrival
	behind   time.Duration // the most that the last server got an event after the first
	last     time.Time
}

func describe(deliveries []delivery, said []sent) description {
	var d description
	began := make(map[id.EventID]time.Time, len(said))
	for _, s := range said {
		began[s.id] = s.at
		d.last = s.ack
	}
	first, last := map[id.EventID]time.Time{}, map[id.EventID]time.Time{}
	took := make([]time.Duration, 0, len(deliveries))
	for _, one := range deliveries {
		at, known := began[one.event]
		if !known {
			continue // what nobody sent is judged elsewhere
		}
		took = append(took, one.at.Sub(at))
		if at, ok := first[one.event]; !ok || one.at.Before(at) {
			first[one.event] = one.at
		}
		if one.at.After(last[one.event]) {
			last[one.event] = one.at
		}
		if one.at.After(d.last) {
			d.last = one.at
		}
	}
	for eventID, at := range first {
		d.behind = max(d.behind, last[eventID].Sub(at))
	}
	d.p50, d.p99, _ = spread(took)
	return d
}
