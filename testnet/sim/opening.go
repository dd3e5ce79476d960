package sim

import (
	"maps"
	"slices"
	"time"

	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
)

// sharedBy is how many seeds in a row share a beginning: making one costs as much as several short runs.
const sharedBy = 64

// Runner makes runs one after another. Short runs of neighbouring seeds begin alike, and it keeps the beginning made last. A run is the
// same as if [Run] had made it. The zero value is ready; it is not safe for concurrent use.
type Runner struct{ last *opening }

// Run makes one run, see [Run].
func (r *Runner) Run(cfg Config) (Report, error) {
	n, err := r.network(cfg)
	if err != nil {
		return Report{}, err
	}
	return n.run()
}

func (r *Runner) network(cfg Config) (*network, error) {
	if cfg.Shape == BySeed {
		if cfg.Shape = Short; cfg.Seed%longEvery == 0 {
			cfg.Shape = Long
		}
	}
	if cfg.Shape == Long {
		return newNetwork(cfg)
	}
	of := openingOf{seed: cfg.Seed / sharedBy, version: cfg.Version, servers: cfg.Servers}
	told := cfg.Trace != nil || cfg.record > 0 // of the beginning too
	if !told && r.last != nil && r.last.of == of {
		return r.last.n.fork(cfg), nil
	}
	made, err := open(cfg, of)
	if err != nil {
		return nil, err
	}
	if !told {
		r.last = made
	}
	return made.n.fork(cfg), nil
}

// openingOf names a beginning.
type openingOf struct {
	seed    uint64
	version roomversion.Version
	servers int // 0: by the seed
}

// opening is a room with most users in it, in which nothing is under way.
type opening struct {
	of openingOf
	n  *network
}

// open makes a beginning: the room is founded, servers and users join, and something is done, all without a fault.
func open(cfg Config, of openingOf) (*opening, error) {
	n, err := bare(cfg, seeded(of.seed))
	if err != nil {
		return nil, err
	}
	n.healed = true
	if more := n.rand.IntN(16); n.cfg.Servers == 0 {
		n.cfg.Servers = 3 + max(0, more-13)
	}
	n.populate()
	if n.rand.IntN(2) == 0 {
		for _, s := range n.servers {
			s.skew = 0
		}
	}
	if err := n.found(); err != nil {
		return nil, err
	}
	late := n.rand.IntN(2) == 0 // the last server isn't in the room yet
	for i, s := range n.servers[1:] {
		if late && i == len(n.servers)-2 {
			continue
		}
		if err := n.join(s, n.servers[0], s.steward()); err != nil {
			return nil, err
		}
		if err := n.deliverAll(); err != nil {
			return nil, err
		}
	}
	for _, s := range n.servers {
		for _, user := range s.users[1:] {
			if !s.resident() || n.rand.IntN(3) == 0 {
				continue
			}
			if err := s.propose(s.joining(user, "")); err != nil {
				return nil, err
			}
		}
	}
	for range n.rand.IntN(4) {
		if err := n.act(); err != nil {
			return nil, err
		}
		if err := n.deliverAll(); err != nil {
			return nil, err
		}
		n.now = n.now.Add(time.Second)
	}
	return &opening{of: of, n: n}, n.deliverAll()
}

// fork is a run that begins where this one stands. Nothing is under way, and all servers start anew.
func (n *network) fork(cfg Config) *network {
	f := &network{
		cfg: cfg, rules: n.rules, rand: seeded(cfg.Seed), key: n.key, now: n.now, side: make(map[id.ServerName]bool),
		messages: n.messages, events: n.events, told: n.told,
	}
	f.cfg.Servers = len(n.servers)
	for _, s := range n.servers {
		f.servers = append(f.servers, s.fork(f))
	}
	f.complete()
	return f
}

// fork is a server of another run, with what this one has stored.
func (s *server) fork(n *network) *server {
	f := &server{
		n: n, name: s.name, store: s.store.clone(), skew: s.skew, users: s.users,
		acked: maps.Clone(s.acked), dropped: maps.Clone(s.dropped), leave: s.leave,
	}
	if t := n.told; t != nil && t.of == s {
		t.n, t.of = n, f
	}
	if f.store.roomID != "" {
		n.told.restarts(f)
		f.m = room.Load(f.name, f.store.snapshot())
	}
	return f
}

// clone is a store that goes its own way from now on. Nothing is under way in it.
func (s *store) clone() *store {
	c := *s
	c.events, c.lacking, c.judged, c.servers = maps.Clone(s.events), maps.Clone(s.lacking), maps.Clone(s.judged), maps.Clone(s.servers)
	c.been, c.redactions = maps.Clone(s.been), maps.Clone(s.redactions)
	for e, by := range c.redactions {
		c.redactions[e] = slices.Clip(by)
	}
	c.order, c.staged = slices.Clone(s.order), slices.Clone(s.staged)
	c.children, c.outbox = maps.Clone(s.children), maps.Clone(s.outbox)
	for e, children := range c.children {
		c.children[e] = slices.Clip(children)
	}
	for to, waiting := range c.outbox {
		c.outbox[to] = slices.Clip(waiting)
	}
	c.partial = s.partialState()
	return &c
}
