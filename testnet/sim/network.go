package sim

import (
	"errors"
	"slices"
	"time"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
)

// flight is a fetch under way.
type flight struct {
	server *server // who asks
	fetch  room.Fetch
}

// weather changes what the network does.
func (n *network) weather() {
	if n.chance(n.cfg.Faults.Partition) {
		if n.parted = !n.parted; n.parted {
			n.report.Partitions++
			for _, s := range n.servers {
				n.side[s.name] = n.rand.IntN(2) == 0
			}
		}
		n.trace("partition %v: %v", n.parted, n.side)
	}
	for _, s := range n.servers {
		for _, to := range n.servers {
			if waiting := s.store.outbox[to.name]; len(waiting) > 1 && !n.reach(s, to) && n.chance(n.cfg.Faults.Forget) {
				n.trace("%s forgets %d events for %s", s.name, len(waiting)-1, to.name)
				s.store.outbox[to.name] = waiting[len(waiting)-1:]
			}
		}
	}
}

// pair is a way with something on it.
type pair struct{ from, to *server }

func (n *network) ways() []pair {
	var ways []pair
	for _, from := range n.servers {
		for _, to := range n.servers {
			if len(from.store.outbox[to.name]) > 0 && n.reach(from, to) {
				ways = append(ways, pair{from, to})
			}
		}
	}
	return ways
}

// deliverOne has one transaction or the answer to one fetch arrive, whichever chance picks.
func (n *network) deliverOne() error {
	ways := n.ways()
	if len(ways)+len(n.flying) == 0 {
		return nil
	}
	if i := n.rand.IntN(len(ways) + len(n.flying)); i < len(ways) {
		return n.transaction(ways[i])
	} else {
		f := n.flying[i-len(ways)]
		n.flying = slices.Delete(n.flying, i-len(ways), i-len(ways)+1)
		return n.fetched(f)
	}
}

// deliverAll has everything arrive.
func (n *network) deliverAll() error {
	for range 20_000 {
		if len(n.ways())+len(n.flying) == 0 {
			return nil
		}
		if err := n.deliverOne(); err != nil {
			return err
		}
	}
	return n.fail("the network never comes to rest", "%d ways, %d fetches", len(n.ways()), len(n.flying))
}

// transaction sends the oldest events of an outbox, or some of them too early.
func (n *network) transaction(way pair) error {
	waiting := way.from.store.outbox[way.to.name]
	count := 1 + n.rand.IntN(min(5, len(waiting)))
	first := 0
	if n.chance(20) {
		first = n.rand.IntN(len(waiting) - count + 1)
	}
	events := slices.Clone(waiting[first : first+count])
	arrives, acknowledged := !n.chance(n.cfg.Faults.Lost/2), !n.chance(n.cfg.Faults.Lost/2)
	if !arrives {
		return nil
	}
	n.rand.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
	if way.to.m != nil {
		n.trace("%s gets %d events from %s", way.to.name, len(events), way.from.name)
		_, durable, err := way.to.step(room.Receive{Origin: way.from.name, Events: events})
		if err != nil || !durable {
			return err
		}
	}
	if acknowledged {
		left := way.from.store.outbox[way.to.name]
		way.from.store.outbox[way.to.name] = slices.DeleteFunc(slices.Clone(left), func(e *event.Event) bool {
			return slices.ContainsFunc(events, func(x *event.Event) bool { return x.ID() == e.ID() })
		})
	}
	return nil
}

// fetched answers a fetch by the first server that can.
func (n *network) fetched(f flight) error {
	switch f.fetch.Kind {
	case room.FetchMissing:
		n.report.FetchedMissing++
	case room.FetchAuth:
		n.report.FetchedAuth++
	case room.FetchState:
		n.report.FetchedState++
	}
	in := room.Provide{Fetch: f.fetch, Err: errors.New("no answer")}
	for _, name := range f.fetch.From {
		from := n.byName(name)
		if from == nil || !n.reach(f.server, from) || n.chance(n.cfg.Faults.Fetch) {
			continue
		}
		if answer, ok := from.answer(f.fetch); ok {
			in = answer
			n.lie(from, f, in.Events)
			break
		}
	}
	if in.Err != nil {
		n.report.FailedFetches++
	}
	n.trace("%s gets %s answered by %q: %d events, %v", f.server.name, f.fetch.Kind, in.From, len(in.Events), in.Err)
	if f.server.m == nil {
		return nil
	}
	_, _, err := f.server.step(in)
	return err
}

// liar is the server that gives bad copies: the last one.
func (n *network) liar() *server { return n.servers[len(n.servers)-1] }

// lie makes some of an answer's events redacted copies, as a hostile server may, where an honest one could answer too.
func (n *network) lie(from *server, f flight, events []*event.Event) {
	if from != n.liar() || f.fetch.Kind != room.FetchAuth || !n.chance(n.cfg.Faults.Lie) {
		return
	}
	honest := slices.ContainsFunc(f.fetch.From, func(name id.ServerName) bool {
		other := n.byName(name)
		if other == nil || other == from {
			return false
		}
		return other.resident() && !slices.ContainsFunc(f.fetch.Events, func(e id.EventID) bool {
			c, ok := other.store.events[e]
			return !ok || c.Status == room.Rejected
		})
	})
	if !honest {
		return
	}
	n.report.Lies++
	for i, e := range events {
		if n.rand.IntN(2) == 0 {
			events[i] = e.Redacted()
		}
	}
}

// join has a user of a server that isn't in the room join it through a resident.
func (n *network) join(s, resident *server, user id.UserID) error {
	if !n.reach(s, resident) || !resident.whole() {
		return nil
	}
	n.now = n.now.Add(time.Millisecond) // a leave and the join after it that are of one time change places as chance has it
	made, err := resident.m.Template(n.now.Add(resident.skew), member(user, user, "join", ""), n.key, resident.store)
	if err != nil {
		return n.fail("a machine fails", "%s: template: %v", resident.name, err)
	}
	if made.Refused {
		return nil
	}
	made.Draft.OriginServerTS = n.now.UnixMilli() // see propose
	e, err := made.Draft.Sign(n.rules, s.name, n.key)
	if err != nil {
		return n.fail("a template makes no event", "%v", err)
	}
	n.trace("%s joins %s through %s", s.name, user, resident.name)
	servers := resident.m.Servers()
	result, durable, err := resident.step(room.Accept{Origin: s.name, Event: e})
	if v, ok := result.Verdict(e.ID()); err != nil || !durable || !ok || v.Status != room.Accepted {
		return err
	}
	if n.chance(n.cfg.Faults.Lost) {
		return nil // the answer is lost: the others believe that we are in
	}
	state := stateIDs(result.Before)
	whole := room.Adopt{Event: e, State: resident.some(state), AuthChain: resident.authChain(append(state, e.ID()))}
	in, behind := whole, resident.lacks(s.leave)
	if s.m == nil {
		s.m = room.New(s.name, n.rules)
	}
	if !s.resident() && n.chance(n.cfg.Faults.Partial) {
		part := withoutMembers(result.Before, user)
		in = room.Adopt{Event: e, State: resident.some(part), AuthChain: resident.authChain(append(part, e.ID())), Partial: true, Servers: servers}
		n.report.PartialJoins++
	}
	result, durable, err = s.step(in)
	if v, ok := result.Verdict(e.ID()); ok && durable && v.Reason == room.ReasonBehind {
		result, durable, err = s.step(whole)
	}
	if err != nil || !durable {
		return err
	}
	if v, ok := result.Verdict(e.ID()); !ok || v.Status != room.Accepted {
		return n.failAt(s, "an honest answer to a join is refused", "%s: %+v", s.name, v)
	}
	n.report.Joins++
	if behind {
		n.report.Behind++
	}
	if s.membership(user) != "join" {
		n.report.Outlasted++
	}
	if s.leave != "" {
		n.report.Rejoins++
	}
	return nil
}
